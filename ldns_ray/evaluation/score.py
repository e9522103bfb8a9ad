"""`realism`: how close samples are to the data, in units of how close the data is to itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldns_ray.evaluation.metrics import (
    kl_psc,
    rmse_corr,
    rmse_mean_isi,
    rmse_std_isi,
    splits,
)
from ldns_ray.evaluation.statistics import Pooled, Spikes, summarise

METRICS = ("kl_psc", "rmse_corr", "rmse_mean_isi", "rmse_std_isi")
"""The four distances of Kapoor, Schulz et al. 2024, table 1."""

SMALLEST = {"kl_psc": 1e-6, "rmse_corr": 1e-5, "rmse_mean_isi": 1e-3, "rmse_std_isi": 1e-3}
"""Distances are raised to these before their ratio is taken (intervals: in bins), so that a ratio
of two zeros is 1. They lie a hundred times or more below the floors of real recordings."""


@dataclass(frozen=True)
class Realism:
    """1 means as close as the data is to itself, 2 twice as far. Medians over random splits."""

    score: float
    """Geometric mean of the four ratios."""
    ratios: dict[str, float]
    """Per metric: distance of the samples over distance of real trials, to the same trials."""
    distances: dict[str, float]
    """Per metric: distance of the samples to a half of the reference trials."""
    floors: dict[str, float]
    """Per metric: distance of as many other reference trials to that half."""


def realism(
    reference: Spikes, sampled: Spikes, bin_width_s: float, seed: int = 0, n_splits: int = 20
) -> Realism:
    """Score samples against reference trials: d(subset of samples, A) / d(B, A).

    A and B are random disjoint halves of the reference, the subset has as many trials as B. When
    there are fewer samples than half the reference, B is cut down to their number, so both
    distances carry the same sampling noise. The score is the geometric mean of the ratio over
    the four metrics: an arithmetic mean would be the count divergence alone.

    Inter-spike intervals are compared with `penalise_silent`: a unit that is silent in A or in
    the samples, and has at least `metrics.TELLING_INTERVALS` intervals in the other, gets the
    worst possible error, the longest trial's duration (half of it for the standard deviation),
    in numerator and denominator alike. Always finite.

    Args:
        reference: real trials, (S, T, N) or (T_i, N) each, S at least 2.
        sampled: sampled trials of the same units.
        bin_width_s: seconds per bin.
        seed: with the split's number, keys the random halves and subsets.
        n_splits: splits to take the median over.
    """
    real, fake = summarise(reference), summarise(sampled)
    half = real.n_trials // 2
    if half < 1:
        raise ValueError(
            f"realism needs at least 2 reference trials to split, got {real.n_trials}. "
            "Give a larger reference split."
        )
    if real.n_units != fake.n_units:
        raise ValueError(
            f"reference and sampled must have the same units, got {real.n_units} and "
            f"{fake.n_units}. Select the same units on both sides, in the same order."
        )
    size = min(half, fake.n_trials)
    halves_RS = np.zeros((2 * n_splits, real.n_trials))
    subsets_RS = np.zeros((n_splits, fake.n_trials))
    for i, order_S in enumerate(splits(real.n_trials, seed, n_splits)):
        halves_RS[2 * i, order_S[:half]] = 1
        halves_RS[2 * i + 1, order_S[half : half + size]] = 1
        subset_S = np.random.default_rng([seed, 3, i]).permutation(fake.n_trials)[:size]
        subsets_RS[i, subset_S] = 1
    halves, subsets = real.pool(halves_RS), fake.pool(subsets_RS)

    distances_RM = np.array(
        [_distances(a, c, bin_width_s) for a, c in zip(halves[::2], subsets, strict=True)]
    )
    floors_RM = np.array(
        [_distances(a, b, bin_width_s) for a, b in zip(halves[::2], halves[1::2], strict=True)]
    )
    ratios_RM = distances_RM / floors_RM

    def medians(values_RM: np.ndarray) -> dict[str, float]:
        return dict(zip(METRICS, np.median(values_RM, axis=0).tolist(), strict=True))

    return Realism(
        score=float(np.median(np.exp(np.log(ratios_RM).mean(1)))),
        ratios=medians(ratios_RM),
        distances=medians(distances_RM),
        floors=medians(floors_RM),
    )


def _distances(a: Pooled, candidate: Pooled, bin_width_s: float) -> list[float]:
    """The four distances, never below `SMALLEST`."""
    values = {
        "kl_psc": kl_psc(a, candidate),
        "rmse_corr": rmse_corr(a, candidate),
        "rmse_mean_isi": rmse_mean_isi(a, candidate, bin_width_s, penalise_silent=True),
        "rmse_std_isi": rmse_std_isi(a, candidate, bin_width_s, penalise_silent=True),
    }
    scale = {"rmse_mean_isi": bin_width_s, "rmse_std_isi": bin_width_s}
    return [max(values[key], SMALLEST[key] * scale.get(key, 1.0)) for key in METRICS]
