"""What the JSON of a card must look like, field by field: it may come from anywhere."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from ldns_ray.data.schema import SPLITS, check_text

REWRITE = "Write the dataset again, with overwrite=True (--overwrite)."
SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-[0-9]{{5,}}-([0-9a-f]{{16}})\.parquet")
"""Split, number within it, first digits of the content's SHA-256: `train-00000-<16 digits>.parquet`."""
_LARGEST = 2**53 - 1  # JSON carries whole numbers exactly up to here


def check_fields(content: Mapping[str, Any], where: str) -> None:
    """Check the types and ranges of all fields of a card, and that they fit together.

    content: has every field. Raises ValueError, naming `where` and the field.
    """
    for name, check in _CHECKS.items():
        check(content[name], f"{where}: {name}")
    n_units, names = content["n_units"], content["unit_names"]
    _need(len(names) == n_units, f"{where}: unit_names", f"{n_units} names", len(names))
    least, most = content["min_bins"], content["max_bins"]
    _need(least <= most, f"{where}: min_bins", f"at most max_bins, {most}", least)
    splits, shards = content["splits"], content["shards"]
    files = [shard["file"] for shard in shards]
    _need(len(set(files)) == len(files), f"{where}: shards", "files without repetitions", files)
    held = {
        split: {
            n: sum(shard[n] for shard in shards if shard["split"] == split)
            for n in ("n_trials", "n_bins")
        }
        for split in {shard["split"] for shard in shards}
    }
    _need(held == splits, f"{where}: splits", f"what the shards hold, {held}", splits)


def _need(good: bool, field: str, must: str, got: Any) -> None:
    if not good:
        raise ValueError(f"{field} must be {must}, got {reprlib.repr(got)}. {REWRITE}")


def _whole(least: int) -> Callable[[Any, str], None]:
    def check(value: Any, field: str) -> None:
        good = type(value) is int and least <= value <= _LARGEST
        _need(good, field, f"a whole number from {least}", value)

    return check


def _width(value: Any, field: str) -> None:
    # The comparison comes before any conversion: an int may be too large for a float.
    good = type(value) in (int, float) and 0 < value <= _LARGEST
    _need(good, field, "a positive, finite number", value)


def _flag(value: Any, field: str) -> None:
    _need(type(value) is bool, field, "true or false", value)


def _digits(length: int) -> Callable[[Any, str], None]:
    def check(value: Any, field: str) -> None:
        good = isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{length}}}", value)
        _need(bool(good), field, f"{length} hexadecimal digits", value)

    return check


def _texts(value: Any, field: str) -> None:
    _need(isinstance(value, list), field, "a list of strings", value)
    for i, text in enumerate(value):
        check_text(text, f"{field}[{i}]")


def _object(value: Any, field: str) -> None:
    _need(isinstance(value, dict), field, "an object", value)


def _record(fields: Mapping[str, Callable[[Any, str], Any]]) -> Callable[[Any, str], None]:
    """Of an object that has these fields; others are let pass."""

    def check(value: Any, field: str) -> None:
        _need(
            isinstance(value, dict) and fields.keys() <= value.keys(),
            field,
            f"an object with {', '.join(fields)}",
            value,
        )
        for name, inner in fields.items():
            inner(value[name], f"{field}.{name}")

    return check


_channels = _record({"size": _whole(0), "unit": check_text})
_counts = _record({"n_trials": _whole(1), "n_bins": _whole(1)})


def _described(value: Any, field: str) -> None:
    _object(value, field)
    for name, item in value.items():
        _need(name != "", field, "named", name)
        check_text(name, f"{field} name")
        _channels(item, f"{field}[{reprlib.repr(name)}]")


def _splits(value: Any, field: str) -> None:
    good = isinstance(value, dict) and len(value) > 0 and value.keys() <= set(SPLITS)
    _need(good, field, f"an object of some of {', '.join(SPLITS)}", value)
    for name, item in value.items():
        _counts(item, f"{field}.{name}")


_shard = _record(
    {
        "file": check_text,
        "split": check_text,
        "n_trials": _whole(1),
        "n_bins": _whole(1),
        "n_bytes": _whole(1),
        "sha256": _digits(64),
    }
)


def _shards(value: Any, field: str) -> None:
    _need(isinstance(value, list) and len(value) > 0, field, "a list of shards", value)
    for i, shard in enumerate(value):
        _shard(shard, f"{field}[{i}]")
        file, split, start = shard["file"], shard["split"], shard["sha256"][:16]
        # Nothing outside the folder is ever opened, whatever a card says.
        match = SHARD_NAME.fullmatch(file)
        named = match is not None and match.groups() == (split, start)
        must = f"a plain name of its split and checksum, such as {split}-00000-{start}.parquet"
        _need(named, f"{field}[{i}].file", must, file)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "name": check_text,
    "n_units": _whole(1),
    "bin_width_s": _width,
    "covariates": _described,
    "conditions": _described,
    "n_latents": _whole(0),
    "has_rates": _flag,
    "splits": _splits,
    "min_bins": _whole(1),
    "max_bins": _whole(1),
    "shards": _shards,
    "source": check_text,
    "citation": check_text,
    "licence": check_text,
    "fingerprint": _digits(16),
    "provenance": _object,
    "unit_names": _texts,
    "warnings": _texts,
}
