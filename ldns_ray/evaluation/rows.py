"""What a comparison says of one set of sampled trials, as plain values that go to JSON and come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Interval = tuple[float, float]


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

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """What `to_dict` made, also after a way through JSON."""
        metrics = {
            name: Measured(**{**m, **{k: _interval(m[k]) for k in ("interval", "ratio_interval")}})
            for name, m in values["metrics"].items()
        }
        whole = {
            **values,
            "metrics": metrics,
            "score_interval": _interval(values["score_interval"]),
        }
        return cls(**whole)


def _interval(value: Any) -> Interval | None:
    return None if value is None else (float(value[0]), float(value[1]))
