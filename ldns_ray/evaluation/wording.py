"""Figures and their intervals as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def with_interval(
    value: float, bounds: Sequence[float] | None, digits: str = ".3f", unit: str = ""
) -> str:
    """`0.887 (0.881–0.893)`; a bound below 0 keeps its sign apart from the dash."""
    if bounds is None:
        return f"{value:{digits}}{unit}"
    dash = "–" if bounds[0] >= 0 else " to "
    low, high = (f"{x:{digits}}" for x in bounds)
    return f"{value:{digits}}{unit} ({low}{dash}{high})"


def told(values: Mapping[str, Any], name: str, digits: str = ".3f", unit: str = "") -> str:
    """A value of a summary with its interval, which stands beside it by its name and `_interval`."""
    return with_interval(values[name], values[f"{name}_interval"], digits, unit)
