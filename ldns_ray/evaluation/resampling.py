"""Random halves of the reference trials, and bootstrap resamples of them, as how often each trial counts.

A distance is measured at equal sizes: from a subset of the samples to a half A of the reference, and, as its noise
floor, from as many trials of the other half, B, to A.

Legend: S trials, I halvings, Q resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ldns_ray.evaluation.statistics import Floats, Ints

HALVINGS_PER_RESAMPLE = 5
"""Halvings of each bootstrap resample, of which the median is taken."""
# Keys of the streams of random numbers of a seed.
_REFERENCE, _RESAMPLED_REFERENCE, _SAMPLES, _RESAMPLED_SAMPLES = 1, 2, 3, 4


@dataclass(frozen=True)
class Halves:
    """How often each reference trial counts in A and in B."""

    a_S: Floats
    b_S: Floats


def splits(n_trials: int, seed: int, n_splits: int) -> list[Ints]:
    """Random orders of the trials, one per split, each drawn from its own (seed, split)."""
    if n_splits < 1:
        raise ValueError(f"n_splits must be at least 1, got {n_splits}. The usual choice is 20.")
    return [
        np.random.default_rng([seed, _REFERENCE, i]).permutation(n_trials) for i in range(n_splits)
    ]


def common_size(n_reference: int, n_sampled: int) -> int:
    """Trials in B and in a subset of the samples: half the reference, or all samples where they are fewer.

    A is a whole half in any case, and both distances to it carry the same sampling noise.
    """
    return min(n_reference // 2, n_sampled)


def halvings(n_trials: int, size: int, seed: int, n_splits: int) -> list[Halves]:
    """Random disjoint halves of the reference trials, B cut down to `size` trials."""
    once_S = np.ones(n_trials)
    return [_halves(order_S, size, once_S) for order_S in splits(n_trials, seed, n_splits)]


def subsets(n_trials: int, size: int, seed: int, n_splits: int) -> list[Floats]:
    """(S,) how often each sampled trial counts in random subsets of `size` trials, one per halving."""
    orders = (
        np.random.default_rng([seed, _SAMPLES, i]).permutation(n_trials) for i in range(n_splits)
    )
    return [_weights(order_S[:size], np.ones(n_trials)) for order_S in orders]


def resampled_halvings(n_trials: int, size: int, seed: int, n_resamples: int) -> list[Halves]:
    """`HALVINGS_PER_RESAMPLE` halvings of each bootstrap resample of the reference trials.

    A trial that a resample holds twice is in one half twice, never in both: else the halves would be closer to each
    other than two sets of trials are. Resample q depends on (seed, q) and the reference alone: it is the same for all
    candidates, so that their scores in it are paired.
    """
    draws = _resamples(n_trials, [seed, _RESAMPLED_REFERENCE], n_resamples)
    return [_halves(order_S, size, times_S) for order_S, times_S in draws]


def resampled_subsets(n_trials: int, size: int, seed: int, n_resamples: int) -> list[Floats]:
    """Subsets of bootstrap resamples of the sampled trials, one for each of `resampled_halvings`."""
    draws = _resamples(n_trials, [seed, _RESAMPLED_SAMPLES], n_resamples)
    return [_weights(order_S[:size], times_S) for order_S, times_S in draws]


def _resamples(n_trials: int, key: list[int], n_resamples: int) -> Iterator[tuple[Ints, Floats]]:
    """`HALVINGS_PER_RESAMPLE` random orders of the trials for each resample, and how often it holds each trial."""
    for q in range(n_resamples):
        rng = np.random.default_rng([*key, q])
        times_S = rng.multinomial(n_trials, np.full(n_trials, 1 / n_trials)).astype(np.float64)
        for _ in range(HALVINGS_PER_RESAMPLE):
            yield rng.permutation(n_trials), times_S


def _halves(order_S: Ints, size: int, times_S: Floats) -> Halves:
    half = len(order_S) // 2
    return Halves(_weights(order_S[:half], times_S), _weights(order_S[half : half + size], times_S))


def _weights(chosen: Ints, times_S: Floats) -> Floats:
    """The times of the chosen trials; once each where a resample has none of them, as happens with two or three."""
    weights_S = np.zeros(len(times_S))
    weights_S[chosen] = times_S[chosen]
    if not weights_S.any():
        weights_S[chosen] = 1
    return weights_S
