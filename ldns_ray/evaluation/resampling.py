"""Random halves of the reference trials, as weights, and what they and bootstrap resamples say of a distance.

A distance is measured at equal sizes: from the samples to a half A of the reference, and, as its noise floor, from
as many trials of the other half, B, to A. All of it is repeated over random halvings, and, for intervals, over
bootstrap resamples of the trials.

Legend: S trials, I halvings, Q resamples, M metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ldns_ray.evaluation.bootstrap import LEVEL
from ldns_ray.evaluation.statistics import Floats, Ints

HALVINGS_PER_RESAMPLE = 5
"""Halvings of each bootstrap resample, of which the median is taken."""
_POOLED_AT_ONCE = 64  # pooled sets hold a matrix of all pairs of units each


class Trials(Protocol):
    """Trials of which any weighting can be pooled, such as `statistics.TrialStatistics`."""

    @property
    def n_trials(self) -> int: ...

    def pool(self, weights_RS: ArrayLike | None = None) -> list[Any]: ...


@dataclass(frozen=True)
class Halving:
    """How often each trial counts: in A and in B, of the reference, and in a subset of the samples as large as B."""

    a_S: Floats
    b_S: Floats
    subset_S: Floats


def splits(n_trials: int, seed: int, n_splits: int) -> list[Ints]:
    """Random orders of the trials, one per split, each drawn from its own (seed, split)."""
    if n_splits < 1:
        raise ValueError(f"n_splits must be at least 1, got {n_splits}. The usual choice is 20.")
    return [np.random.default_rng([seed, 1, i]).permutation(n_trials) for i in range(n_splits)]


def halvings(n_reference: int, n_sampled: int, seed: int, n_splits: int) -> list[Halving]:
    """Random disjoint halves of the reference trials, and subsets of the samples.

    Where there are fewer samples than half the reference, B is cut down to their number, so that both distances to
    A carry the same sampling noise.
    """
    orders = splits(n_reference, seed, n_splits)
    ones = np.ones(n_reference), np.ones(n_sampled)
    return [
        _halving(order_S, np.random.default_rng([seed, 3, i]).permutation(n_sampled), *ones)
        for i, order_S in enumerate(orders)
    ]


def resampled_halvings(
    n_reference: int, n_sampled: int, seed: int, n_resamples: int
) -> Iterator[list[Halving]]:
    """For each bootstrap resample of both sets of trials, `HALVINGS_PER_RESAMPLE` halvings of it.

    A trial that a resample holds twice is in one half twice, never in both: else the halves would be closer to each
    other than two sets of trials are.
    """
    for q in range(n_resamples):
        rng = np.random.default_rng([seed, 2, q])
        reference_S, sampled_S = (
            rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
            for n in (n_reference, n_sampled)
        )
        yield [
            _halving(
                rng.permutation(n_reference), rng.permutation(n_sampled), reference_S, sampled_S
            )
            for _ in range(HALVINGS_PER_RESAMPLE)
        ]


def _halving(
    order_S: Ints, sampled_order_S: Ints, times_S: Floats, sampled_times_S: Floats
) -> Halving:
    half = len(order_S) // 2
    size = min(half, len(sampled_order_S))
    return Halving(
        _weights(order_S[:half], times_S),
        _weights(order_S[half : half + size], times_S),
        _weights(sampled_order_S[:size], sampled_times_S),
    )


def _weights(chosen: Ints, times_S: Floats) -> Floats:
    """The times of the chosen trials; once each where a resample has none of them, as happens with two or three."""
    weights_S = np.zeros(len(times_S))
    weights_S[chosen] = times_S[chosen]
    if not weights_S.any():
        weights_S[chosen] = 1
    return weights_S


Distances = Callable[[Any, Any], list[float]]
"""M distances between two pooled sets, all above 0: first the reference, then what is compared with it."""


def measured(
    reference: Trials, sampled: Trials, distances: Distances, drawn: list[Halving]
) -> tuple[Floats, Floats]:
    """(I, M) distances of the samples and their floors, one row per halving."""
    rows: list[tuple[list[float], list[float]]] = []
    for start in range(0, len(drawn), _POOLED_AT_ONCE):
        part = drawn[start : start + _POOLED_AT_ONCE]
        halves = reference.pool([w for h in part for w in (h.a_S, h.b_S)])
        subsets = sampled.pool([h.subset_S for h in part])
        rows += [
            (distances(a, c), distances(a, b))
            for a, b, c in zip(halves[::2], halves[1::2], subsets, strict=True)
        ]
    distances_IM, floors_IM = np.array(rows).transpose(1, 0, 2)
    return distances_IM, floors_IM


def measured_resamples(
    reference: Trials, sampled: Trials, distances: Distances, seed: int, n_resamples: int
) -> tuple[Floats, Floats]:
    """(Q, I, M) distances and floors in bootstrap resamples."""
    n = reference.n_trials, sampled.n_trials
    drawn = [h for halves in resampled_halvings(*n, seed, n_resamples) for h in halves]
    of_all = measured(reference, sampled, distances, drawn)
    d, f = (x.reshape(n_resamples, HALVINGS_PER_RESAMPLE, -1) for x in of_all)
    return d, f


def interval(value: float, resampled_Q: Floats) -> tuple[float, float]:
    """Interval of a positive value: it has the spread of the resampled values, on a logarithmic scale.

    Resampling adds noise of its own, which moves distances, so the interval is centred on the value itself.
    """
    low, middle, high = np.quantile(
        np.log(resampled_Q), [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]
    ).tolist()
    return float(value * np.exp(low - middle)), float(value * np.exp(high - middle))
