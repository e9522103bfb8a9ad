"""Settings and their values in few words, for lines and tables."""

import re
from typing import Any

from ray.tune.search.sample import Domain

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Escape sequences, as in Ray's errors."""


def short(name: str) -> str:
    """A setting's name as short as it is clear: optimisation levels are left out."""
    return name.replace(".optimisation.", ".")


def as_text(value: Any) -> str:
    """A setting's value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def domain(searched: Domain) -> str:
    """A Tune domain in words."""
    return f"{type(searched).__name__.lower()} {searched.domain_str}"


def last_line(error: str) -> str:
    """The last line of an error that says something, of printable characters alone."""
    plain = COLOUR.sub("", error)
    lines = ["".join(c if c.isprintable() else " " for c in line) for line in plain.splitlines()]
    said = [" ".join(line.split()) for line in lines if line.strip()]
    return said[-1] if said else ""
