"""What a comparison says of one set of sampled trials, as plain values that go to JSON and come back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Interval = tuple[float, float]
Kind = Literal["sampled", "baseline", "real"]


@dataclass(frozen=True)
class Measured:
    """One metric of one candidate, at the size of half the reference trials; medians over random halvings."""

    distance: float
    """From the sampled trials to a half of the reference trials."""
    floor: float
    """From as many other reference trials to that half."""
    ratio: float
    """Distance over floor: 1 is as close as the data is to itself."""
    interval: Interval | None
    """Of the distance, by bootstrap over trials; None where none was asked for."""
    ratio_interval: Interval | None
    """Of the ratio, likewise."""


@dataclass(frozen=True)
class Row:
    """One candidate beside the reference."""

    name: str
    n_trials: int
    """Sampled trials that there were."""
    score: float
    """Realism: 1 is as close as the data is to itself, larger is worse."""
    score_interval: Interval | None
    metrics: Mapping[str, Measured]
    """By name, in the order of `catalogue.METRICS`; a candidate without latents has none of theirs."""
    n_silent: int
    """Units that spike in the reference and never in the samples."""
    kind: Kind = "sampled"
    """Baselines are made from the training trials; real trials show what a perfect model would score."""
    relative_score: float | None = None
    """Score over that of the first row, above 1 where the first row's candidate is closer. None in the first row, and
    where the two were compared at different sizes."""
    relative_interval: Interval | None = None
    """Of that ratio, by the same resamples for both."""
    size: int | None = None
    """Trials in each of the sets that were compared. Fewer trials tell less: the score of the same samples is nearer to
    1, so scores of different sizes cannot be set side by side."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """What `to_dict` made, also after a way through JSON."""
        metrics = {
            name: Measured(**{**m, **{k: _interval(m[k]) for k in ("interval", "ratio_interval")}})
            for name, m in values["metrics"].items()
        }
        intervals = {k: _interval(values[k]) for k in ("score_interval", "relative_interval")}
        return cls(**{**values, "metrics": metrics, **intervals})


def rivals(rows: Sequence[Row]) -> list[Row]:
    """Rows whose scores can be set beside that of the first: of its size, and not of real trials."""
    return [row for row in rows[1:] if row.kind != "real" and row.size == rows[0].size]


def _interval(value: Any) -> Interval | None:
    return None if value is None else (float(value[0]), float(value[1]))
