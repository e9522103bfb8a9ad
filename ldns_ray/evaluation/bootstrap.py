"""Intervals by bootstrap over trials (Efron & Tibshirani 1993, chapters 6 and 13).

Trials are resampled, not bins: the bins of a trial are not independent of one another. What has been fitted,
decoders and models, stays as it is, so an interval says how far a figure depends on which trials it was
measured on, and not how it would differ had something been trained again.

Legend: S trials, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ldns_ray.evaluation.rows import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_RESAMPLES = 1000
LEVEL = 0.95
_KEY = 2**20  # no other stream of random numbers of a seed has this key


def trial_weights(
    n_trials: int, n_resamples: int = N_RESAMPLES, *, seed: int, stream: int = 0
) -> Ints:
    """(R, S) how often each trial is in each resample: as many trials as there are, with replacement.

    Figures with the same weights are paired: they rise and fall with the same trials. Sets of trials that are
    independent of one another need a `stream` each.
    """
    if n_trials < 1 or n_resamples < 1:
        raise ValueError(
            f"A bootstrap needs at least 1 trial and 1 resample, got {n_trials} and {n_resamples}. "
            f"The usual choice is n_resamples={N_RESAMPLES}."
        )
    rng = np.random.default_rng([seed, _KEY, stream])
    draws = (rng.integers(n_trials, size=n_trials) for _ in range(n_resamples))
    return np.stack([np.bincount(drawn, minlength=n_trials) for drawn in draws])


def resampled(
    figure: Callable[[Ints], Floats], n_trials: int, *, seed: int, stream: int = 0
) -> Floats:
    """(R,) values of a figure, a function of `trial_weights`; NaN of fewer than two trials.

    A single trial could only be drawn again and again, and the interval would have no width.
    """
    if n_trials < 2:
        return np.full(N_RESAMPLES, np.nan)
    return figure(trial_weights(n_trials, seed=seed, stream=stream))


def interval(values_R: Floats, level: float = LEVEL) -> Interval | None:
    """The percentiles between which the middle `level` of the values lie.

    NaN is a resample of which the figure has no value, and is left out; None where no resample has one.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}. The usual choice is 0.95.")
    values = values_R[~np.isnan(values_R)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def as_list(bounds: Interval | None) -> list[float] | None:
    """As JSON values."""
    return None if bounds is None else list(bounds)
