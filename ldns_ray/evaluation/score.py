"""`realism`: how close samples are to the data, in units of how close the data is to itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.measurement import Measurement, measured
from ldns_ray.evaluation.metrics import kl_psc, rmse_corr, rmse_mean_isi, rmse_std_isi
from ldns_ray.evaluation.statistics import Floats, Pooled, Spikes, TrialStatistics, summarise

SMALLEST = {"kl_psc": 1e-6, "rmse_corr": 1e-5, "rmse_mean_isi": 1e-3, "rmse_std_isi": 1e-3}
"""Distances are raised to these before their ratio is taken (intervals: in bins), so that a ratio
of two zeros is 1. They lie a hundred times or more below the floors of real recordings."""


@dataclass(frozen=True)
class Realism:
    """1 means as close as the data is to itself, 2 twice as far. Medians over random splits."""

    score: float
    """Geometric mean of the four ratios."""
    interval: tuple[float, float] | None
    """Of the score, by bootstrap over trials; None where no resamples were asked for."""
    ratios: dict[str, float]
    """Per metric: distance of the samples over distance of real trials, to the same trials."""
    distances: dict[str, float]
    """Per metric: distance of the samples to a half of the reference trials."""
    floors: dict[str, float]
    """Per metric: distance of as many other reference trials to that half."""


def realism(
    reference: Spikes | TrialStatistics,
    sampled: Spikes | TrialStatistics,
    bin_width_s: float,
    seed: int = 0,
    n_splits: int = 20,
    n_resamples: int = 0,
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
        n_resamples: bootstrap resamples for the interval of the score; 0 for none.
    """
    real, fake = summarise(reference), summarise(sampled)
    check_sets(real.n_trials, real.n_units, fake.n_units)

    def distances(a: Pooled, candidate: Pooled) -> dict[str, float]:
        return scored_distances(a, candidate, bin_width_s)

    (found,) = measured(
        real, [fake], distances, seed=seed, n_splits=n_splits, n_resamples=n_resamples
    )
    score = found.estimate(score_of)

    def medians(of_metric: Callable[[str], Floats]) -> dict[str, float]:
        return {metric.name: float(np.median(of_metric(metric.name))) for metric in SCORED}

    return Realism(
        score=score.value,
        interval=score.interval,
        ratios=medians(found.ratios),
        distances=medians(found.distances.__getitem__),
        floors=medians(found.floors.__getitem__),
    )


def check_sets(n_reference: int, n_units: int, n_sampled_units: int) -> None:
    """Raise ValueError for a reference that has no two halves, or samples of other units."""
    if n_reference < 2:
        raise ValueError(
            f"realism needs at least 2 reference trials to split, got {n_reference}. "
            "Give a larger reference split."
        )
    if n_units != n_sampled_units:
        raise ValueError(
            f"reference and sampled must have the same units, got {n_units} and "
            f"{n_sampled_units}. Select the same units on both sides, in the same order."
        )


def score_of(found: Measurement) -> Floats:
    """Median over halvings of the geometric mean of the ratios of the metrics in `SCORED`: a number, or (Q,)."""
    log_ratios = [np.log(found.ratios(metric.name)) for metric in SCORED]
    return np.asarray(np.median(np.exp(np.mean(log_ratios, axis=0)), axis=-1))


def scored_distances(a: Pooled, candidate: Pooled, bin_width_s: float) -> dict[str, float]:
    """The four distances, in the order of `SCORED`, never below `SMALLEST`."""
    values = {
        "kl_psc": kl_psc(a, candidate),
        "rmse_corr": rmse_corr(a, candidate),
        "rmse_mean_isi": rmse_mean_isi(a, candidate, bin_width_s, penalise_silent=True),
        "rmse_std_isi": rmse_std_isi(a, candidate, bin_width_s, penalise_silent=True),
    }
    scale = {"rmse_mean_isi": bin_width_s, "rmse_std_isi": bin_width_s}
    return {key: max(x, SMALLEST[key] * scale.get(key, 1.0)) for key, x in values.items()}
