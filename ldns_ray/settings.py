"""Settings by name: dotted overrides of nested dataclasses, their plain form, and their fingerprint."""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

Config = TypeVar("Config")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names what is close to `name` among `known`, or lists it all when nothing is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    # A setting is often remembered by its last word only.
    close += [
        k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2] and k not in close
    ]
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}."


def settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """All settings of a config as {dotted name: value}."""
    flat: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            flat |= settings(value, f"{prefix}{f.name}.")
        else:
            flat[prefix + f.name] = value
    return flat


def override(config: Config, changes: Mapping[str, Any], prefix: str = "") -> Config:
    """`config` with the dotted settings in `changes` replaced; strings are read as the field's type.

    prefix: what the names of all settings of `config` begin with, such as "hardware.".
    """
    if not changes:
        return config
    known = settings(config, prefix)
    for name in changes:
        if name not in known:
            raise ValueError(f"Unknown setting {name!r}. {did_you_mean(name, known)}")
    return _override(config, changes, prefix)


def _override(config: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    new: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value, name = getattr(config, f.name), prefix + f.name
        if dataclasses.is_dataclass(value):
            inner = {k: v for k, v in changes.items() if k.startswith(name + ".")}
            if inner:
                new[f.name] = _override(value, inner, name + ".")
        elif name in changes:
            new[f.name] = _coerce(changes[name], f.type, name)
    return replace(config, **new)


def _coerce(value: Any, kind: Any, name: str) -> Any:
    """`value` as the type `kind` of the setting `name`; accepts strings from a command line."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        options = typing.get_args(kind)
        if value not in options:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}."
            )
        return value
    if origin is tuple:
        if isinstance(value, str):
            value = [v.strip() for v in value.split(",") if v.strip()]
        if not isinstance(value, Iterable):
            raise ValueError(f"{name} must be names separated by commas, got {value!r}.")
        return tuple(str(v) for v in value)
    assert not isinstance(kind, types.UnionType), f"{name} has a type that overrides cannot read"
    try:
        if kind is bool:
            words = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
            return value if isinstance(value, bool) else words[str(value).lower()]
        if kind in (int, float) and isinstance(value, bool):
            raise ValueError
        if kind is int:
            with contextlib.suppress(ValueError):
                if isinstance(value, int | str):
                    return int(value)  # exact also beyond 2^53, where floats are not
            number = float(value)
            if number != int(number):
                raise ValueError
            return int(number)
        if kind is float:
            return float(value)
        return str(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}.") from None


def parse_overrides(words: Iterable[str]) -> dict[str, str]:
    """`["autoencoder.width=64"]` as a dictionary. Raises ValueError for words without `=`."""
    changes: dict[str, str] = {}
    for word in words:
        name, sep, value = word.partition("=")
        if not sep or not name:
            raise ValueError(
                f"Expected a setting as name=value, got {word!r}. Example: autoencoder.width=64"
            )
        changes[name.lstrip("-")] = value
    return changes


def as_word(value: Any) -> str:
    """A setting's value as it is given on a command line: what `parse_overrides` and `override` read back."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def apart(changes: Mapping[str, str], section: str) -> tuple[dict[str, str], dict[str, str]]:
    """The changes of other settings, and those of a section's."""
    own = {k: v for k, v in changes.items() if k.startswith(f"{section}.")}
    return {k: v for k, v in changes.items() if k not in own}, own


def to_dict(config: Any) -> dict[str, Any]:
    """A config as nested dictionaries of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type, values: Mapping[str, Any]) -> Any:
    """The inverse of `to_dict`. Raises ValueError for fields that `kind` does not have."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            raise ValueError(
                f"Unknown field {name!r} of {kind.__name__}. {did_you_mean(name, known)}"
            )
    new: dict[str, Any] = {}
    for name, value in values.items():
        field_type: Any = known[name].type
        if dataclasses.is_dataclass(field_type):
            new[name] = from_dict(typing.cast(type, field_type), value)
        else:
            new[name] = _coerce(value, field_type, name)
    return kind(**new)


def fingerprint(*parts: Any) -> str:
    """Sixteen hexadecimal digits that depend on the values of `parts` alone (configs or JSON values).

    Equal numbers count as equal: 10 and 10.0 give the same digits.
    """
    plain = [
        to_dict(p) if dataclasses.is_dataclass(p) and not isinstance(p, type) else p for p in parts
    ]
    text = json.dumps(_same_numbers(plain), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same_numbers(value: Any) -> Any:
    """`value` with whole floats as integers."""
    if isinstance(value, Mapping):
        return {k: _same_numbers(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_same_numbers(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
