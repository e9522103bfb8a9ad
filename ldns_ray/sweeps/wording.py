"""Settings and their values in few words, for lines and tables."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray.tune.search.sample import Domain

from ldns_ray.text_table import width

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Escape sequences, as in Ray's errors."""


def short(name: str) -> str:
    """A setting's name as short as it is clear: optimisation levels are left out."""
    return name.replace(".optimisation.", ".")


def shortest(names: Sequence[str]) -> list[str]:
    """Settings by their last words, where no two of them have the same."""
    words = [name.rpartition(".")[2] for name in names]
    n_of = Counter(words)
    return [
        word if n_of[word] == 1 else short(name) for name, word in zip(names, words, strict=True)
    ]


def broken(text: str, columns: int) -> str:
    """The text in lines of so many columns where it can be broken, which is after spaces, dots and underscores."""
    lines = [""]
    for part in re.findall(r"[^ ._]+[ ._]*|[ ._]+", text):
        if len((lines[-1] + part).rstrip()) > columns and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


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


def cut(text: str, columns: int) -> str:
    """The text, or as much of it as fits with `…` at its end."""
    if width(text) <= columns:
        return text
    while width(text) > columns - 1:
        text = text[:-1]
    return text.rstrip(" ,") + "…"
