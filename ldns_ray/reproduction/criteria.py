"""Whether a result is what the method promises, criterion by criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ldns_ray.evaluation.catalogue import METRICS
from ldns_ray.evaluation.reporting.results import rows_of
from ldns_ray.evaluation.reporting.tables import NONE, significant
from ldns_ray.evaluation.rows import Row, rivals
from ldns_ray.reproduction.found import Table

DIGITS = 3


@dataclass(frozen=True)
class Criterion:
    """A value and what it may be.

    met: None where there is no value to judge.
    """

    what: str
    value: float | None
    bound: float | None
    """The least it may be, or the most."""
    at_least: bool

    @property
    def met(self) -> bool | None:
        if self.value is None or self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "met": self.met}


def at_least(what: str, value: float | None, bound: float | None) -> Criterion:
    return Criterion(what, value, bound, at_least=True)


def at_most(what: str, value: float | None, bound: float | None) -> Criterion:
    return Criterion(what, value, bound, at_least=False)


def beside_baselines(summary: Mapping[str, Any]) -> list[Criterion]:
    """The first candidate against every baseline at its size.

    Population counts, correlations and score must be closer to the data than those of the best baseline. So must the
    intervals between spikes, or their distance's interval must reach down to the best baseline's distance: independent
    Poisson spikes are at the floor there where units hardly fire.
    """
    first, *others = rows_of(summary)
    baselines = [row for row in rivals([first, *others]) if row.kind == "baseline"]

    def best(value: Any) -> float | None:
        return min((value(row) for row in baselines), default=None)

    found = [at_most("score, best baseline's", first.score, best(lambda row: row.score))]
    for name in ("kl_psc", "rmse_corr"):
        label = METRICS[name].label
        found.append(at_most(f"{label}, best baseline's", _distance(first, name), best(lambda r, n=name: _distance(r, n))))  # fmt: skip
    for name in ("rmse_mean_isi", "rmse_std_isi"):
        interval = first.metrics[name].interval
        low = _distance(first, name) if interval is None else interval[0]
        what = f"{METRICS[name].label}, lower end of the interval, best baseline's"
        found.append(at_most(what, low, best(lambda r, n=name: _distance(r, n))))
    return found


def _distance(row: Row, name: str) -> float:
    return row.metrics[name].distance


def criteria_table(criteria: Sequence[Criterion]) -> Table:
    """One row per criterion."""
    rows = []
    for c in criteria:
        sign = "≥" if c.at_least else "≤"
        value, bound = (NONE if x is None else significant(x, DIGITS) for x in (c.value, c.bound))
        met = NONE if c.met is None else "yes" if c.met else "no"
        rows.append([c.what, value, f"{sign} {bound}", met])
    return Table("What a reproduction is to reach.", ["", "found", "asked", "met"], rows)
