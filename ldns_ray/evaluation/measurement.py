"""Distances of sampled trials to the reference and their noise floors, over random halvings and bootstrap resamples.

Legend: I halvings, Q resamples, H halvings of a resample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ldns_ray.evaluation.bootstrap import interval
from ldns_ray.evaluation.resampling import (
    HALVINGS_PER_RESAMPLE,
    Halves,
    common_size,
    halvings,
    resampled_halvings,
    resampled_subsets,
    subsets,
)
from ldns_ray.evaluation.rows import Interval
from ldns_ray.evaluation.statistics import Floats

_POOLED_AT_ONCE = 64  # pooled sets hold a matrix of all pairs of units each


class Trials(Protocol):
    """Trials of which any weighting can be pooled, such as `statistics.TrialStatistics`."""

    @property
    def n_trials(self) -> int: ...

    def pool(self, weights_RS: ArrayLike | None = None) -> list[Any]: ...


Distances = Callable[[Any, Any], Mapping[str, float]]
"""Distances between two pooled sets by metric, all above 0: first the reference, then what is compared with it."""


@dataclass(frozen=True)
class Measurement:
    """Distances and floors of one candidate by metric, (I,) each; of resamples (Q, H)."""

    distances: dict[str, Floats]
    """Of subsets of the samples to A."""
    floors: dict[str, Floats]
    """Of B to A."""
    resampled: Measurement | None = None
    """The same in bootstrap resamples, where there are some."""

    def ratios(self, metric: str) -> Floats:
        """Distance over floor, halving by halving."""
        return self.distances[metric] / self.floors[metric]

    def estimate(self, figure: Callable[[Measurement], Floats]) -> Estimate:
        """A figure that reduces the last axis, the halvings, such as a median."""
        resampled_Q = None if self.resampled is None else figure(self.resampled)
        return Estimate(float(figure(self)), resampled_Q)


@dataclass(frozen=True)
class Estimate:
    """A positive figure, and its values in bootstrap resamples where there are some."""

    value: float
    resampled_Q: Floats | None

    @property
    def interval(self) -> Interval | None:
        """Of 95 %, `centred_interval`."""
        return None if self.resampled_Q is None else centred_interval(self.value, self.resampled_Q)

    def over(self, other: Estimate) -> Estimate:
        """The ratio of two figures of the same resamples: trials that move both alike do not widen its interval."""
        ratio_Q = None
        if self.resampled_Q is not None and other.resampled_Q is not None:
            ratio_Q = self.resampled_Q / other.resampled_Q
        return Estimate(self.value / other.value, ratio_Q)


def centred_interval(value: float, resampled_Q: Floats) -> Interval | None:
    """Interval of a positive value: it has the spread of the resampled values, on a logarithmic scale.

    Resampling adds noise of its own, which moves distances, so the interval is centred on the value itself.
    """
    log_Q = np.log(resampled_Q)
    bounds = interval(log_Q - np.median(log_Q))
    return bounds and (float(value * np.exp(bounds[0])), float(value * np.exp(bounds[1])))


def measured(
    reference: Trials,
    candidates: Sequence[Trials],
    distances: Distances,
    *,
    seed: int,
    n_splits: int,
    n_resamples: int = 0,
) -> list[Measurement]:
    """Distances and floors of each candidate, in `n_splits` halvings, and in `n_resamples` resamples of both sides.

    Candidates of one size are measured together: halves of the reference are pooled, and floors measured, once.
    """
    n = reference.n_trials
    sizes = [common_size(n, candidate.n_trials) for candidate in candidates]
    found: dict[int, Measurement] = {}
    for size in set(sizes):
        alike = {i: x for i, x in enumerate(candidates) if sizes[i] == size}
        of_halvings = _measured(
            reference, alike, distances, halvings(n, size, seed, n_splits),
            {i: subsets(x.n_trials, size, seed, n_splits) for i, x in alike.items()},
        )  # fmt: skip
        if n_resamples:
            of_resamples = _measured(
                reference, alike, distances, resampled_halvings(n, size, seed, n_resamples),
                {i: resampled_subsets(x.n_trials, size, seed, n_resamples) for i, x in alike.items()},
            )  # fmt: skip
            of_halvings = {
                i: replace(x, resampled=_by_resample(of_resamples[i])) for i, x in of_halvings.items()
            }  # fmt: skip
        found |= of_halvings
    return [found[i] for i in range(len(candidates))]


def _measured(
    reference: Trials,
    candidates: Mapping[int, Trials],
    distances: Distances,
    halves_I: Sequence[Halves],
    subsets_I: Mapping[int, Sequence[Floats]],
) -> dict[int, Measurement]:
    """Of each candidate, by its number, in these halvings and these subsets of it."""
    floors: list[Mapping[str, float]] = []
    found: dict[int, list[Mapping[str, float]]] = {i: [] for i in candidates}
    for start in range(0, len(halves_I), _POOLED_AT_ONCE):
        part = slice(start, start + _POOLED_AT_ONCE)
        pooled = reference.pool([w_S for h in halves_I[part] for w_S in (h.a_S, h.b_S)])
        of_a, of_b = pooled[::2], pooled[1::2]
        floors += map(distances, of_a, of_b)
        for i, candidate in candidates.items():
            found[i] += map(distances, of_a, candidate.pool(subsets_I[i][part]))
    return {i: Measurement(_columns(rows), _columns(floors)) for i, rows in found.items()}


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """(I,) per metric."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _by_resample(found: Measurement) -> Measurement:
    """(Q, H) for (Q·H,)."""

    def folded(values: Mapping[str, Floats]) -> dict[str, Floats]:
        return {name: x_I.reshape(-1, HALVINGS_PER_RESAMPLE) for name, x_I in values.items()}

    return Measurement(folded(found.distances), folded(found.floors))
