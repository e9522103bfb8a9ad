"""How long the paper's four distances take, from raw counts on, at the size of the paper's reaching data."""

# S trials, T bins, N units.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ldns_ray.benchmark.timing import in_turns
from ldns_ray.evaluation.metrics import compare
from ldns_ray.evaluation.score import realism
from ldns_ray.evaluation.statistics import summarise

BIN_WIDTH_S = 0.005
TARGET_S = 1.0
"""One comparison on two cores."""

N_SPLITS = 20


def counts(
    n_trials: int, n_bins: int, n_units: int, *, rate_hz: float = 10.0, seed: int = 0
) -> NDArray[np.uint8]:
    """(S, T, N) Poisson counts. Units differ in their rates, `rate_hz` on average; a wave of 70 bins, whose phase
    differs from trial to trial, makes them correlate."""  # fmt: skip
    rng = np.random.default_rng(seed)
    level_N = rng.gamma(4.0, 0.25, n_units)
    phase_S11 = rng.uniform(0, 2 * np.pi, (n_trials, 1, 1))
    wave_ST1 = 1 + 0.5 * np.sin(2 * np.pi * np.arange(n_bins)[:, None] / 70 + phase_S11)
    drawn = np.empty((n_trials, n_bins, n_units), np.uint8)
    for s, wave_T1 in enumerate(wave_ST1):
        drawn[s] = rng.poisson(rate_hz * BIN_WIDTH_S * level_N * wave_T1)
    return drawn


def metrics(
    n_trials: int = 2008, n_bins: int = 140, n_units: int = 182, *, repeats: int
) -> dict[str, float]:
    """The least seconds over `repeats` rounds, from uint8 counts on both sides.

    Returns `compare_s`, one comparison, and beside it `target_s` and its parts, `summarise_s` and `pool_s`, of
    one side each; `realism_s`, the score by `n_splits` halvings.
    """
    real, sampled = (counts(n_trials, n_bins, n_units, seed=seed) for seed in (0, 1))
    summarised = summarise(real)
    compare_s, summarise_s, pool_s, realism_s = in_turns(
        [
            lambda: compare(real, sampled, BIN_WIDTH_S),
            lambda: summarise(real),
            summarised.pool,
            lambda: realism(real, sampled, BIN_WIDTH_S, n_splits=N_SPLITS),
        ],
        repeats,
    )
    return {
        "n_trials": n_trials, "n_bins": n_bins, "n_units": n_units, "compare_s": compare_s, "target_s": TARGET_S,
        "summarise_s": summarise_s, "pool_s": pool_s, "n_splits": N_SPLITS, "realism_s": realism_s,
    }  # fmt: skip
