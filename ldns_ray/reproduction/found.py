"""What was found for a result: numbers, tables of them, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells of text, as they are told. title: a sentence on what is in it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.header), f"{row} is no row of {self.header}"


@dataclass(frozen=True)
class Found:
    """Of one result."""

    numbers: Mapping[str, Any]
    """All that was found, as JSON values."""
    metrics: Mapping[str, float | None]
    """The few numbers that runs are compared by; None where there is no value."""
    tables: Sequence[Table]
    lines: Sequence[str]
    """What else there is to say, a sentence or two each."""
    pictures: Mapping[str, str]
    """Name of a picture → URI of its PNG file."""
    report: str
    """URI of the HTML report of the evaluation."""
    places: Mapping[str, str] = field(default_factory=dict)
    """What else is where: model, samples."""


def metric_name(text: str) -> str:
    """What MLflow takes for a metric's name: letters, digits and a few signs, of a name that may have others."""
    kept = (c if c.isalnum() or c in "_-./ " else " " for c in text)
    return " ".join("".join(kept).split())
