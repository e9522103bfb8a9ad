"""Rules for settings and arguments, and the one sentence that tells of a broken one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin


@dataclass(frozen=True)
class Rule:
    """What a value must be: in words that follow "must be", and as a condition."""

    words: str
    holds: Callable[[Any], bool]


POSITIVE = Rule("positive", lambda x: x > 0)
NON_NEGATIVE = Rule("non-negative", lambda x: x >= 0)
BELOW_ONE = Rule("in [0, 1)", lambda x: 0 <= x < 1)
DISTINCT = Rule("free of repetitions", lambda names: len(set(names)) == len(names))
SEED = Rule("in [0, 2^48)", lambda x: 0 <= x < 2**48)
"""Seeds that keyed generators can hold beside what else is in their key."""


def at_least(least: int) -> Rule:
    return Rule(f"at least {least}", lambda x: x >= least)


def check(config: Any, prefix: str, /, **rules: Rule | tuple[Rule, ...]) -> None:
    """Raise ValueError for the first field of a dataclass that breaks one of its rules.

    Fields annotated as a Literal must be one of its choices, without a rule of their own. `prefix` stands
    before the field's name in the message.
    """
    assert rules.keys() <= {f.name for f in fields(config)}
    for f in fields(config):
        assert not isinstance(f.type, str), (
            "annotations are read: no `from __future__ import annotations`"
        )
        value, own = getattr(config, f.name), rules.get(f.name, ())
        for rule in (*_choices(f.type), *((own,) if isinstance(own, Rule) else own)):
            if not rule.holds(value):
                raise ValueError(f"{prefix}{f.name} must be {rule.words}, got {value!r}.")


def _choices(kind: Any) -> tuple[Rule, ...]:
    """The rule of a Literal; none for other types. An empty choice stands for nothing chosen, and is not named."""
    if get_origin(kind) is not Literal:
        return ()
    options = get_args(kind)
    return (Rule(one_of(filter(None, options)), lambda x: x in options),)


def check_seed(name: str, seed: int) -> None:
    """Raises ValueError for a seed that is not a `SEED`."""
    if not SEED.holds(seed):
        raise ValueError(f"{name} must be {SEED.words}, got {seed}.")


def one_of(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
