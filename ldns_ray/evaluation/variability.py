"""How much each unit's firing varies: mean rates, their spread over trials, and Fano factors.

Legend: S trials, N units, R weightings of the trials, W windows of all trials end to end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ldns_ray.evaluation.statistics import (
    Floats,
    Ints,
    Spikes,
    TrialStatistics,
    checked_weights,
    rms,
    summarise,
)

WINDOW_S = 0.1
"""Fano factors are of the counts in windows of this length, in seconds: long enough for refractoriness and bursts
to show, and as many windows in long trials as in short ones."""


@dataclass(frozen=True)
class Variability:
    """One weighted set of trials."""

    mean_rate_N: Floats
    """Spikes over bins of all trials together, per bin."""
    sd_rate_N: Floats
    """Standard deviation over trials of a trial's rate, per bin; every trial counts alike, however long."""
    fano_N: Floats
    """Variance over mean of the counts in windows; 0 for units without a spike in any."""


@dataclass(frozen=True)
class TrialVariability:
    """A recording as columns, one row per trial; build it with `trial_variability`."""

    n_bins_S: Ints
    spikes_SN: Floats
    n_windows_S: Ints
    """Whole windows in each trial."""
    window_square_SN: Floats
    """Sum over them of the squared count."""
    window_sum_SN: Floats

    @property
    def n_trials(self) -> int:
        return len(self.n_bins_S)

    def pool(self, weights_RS: ArrayLike | None = None) -> list[Variability]:
        """Pool the trials once for each row of `weights_RS`; once and all, without weights."""
        w_RS = checked_weights(weights_RS, self.n_trials)
        rate_SN = self.spikes_SN / self.n_bins_S[:, None]
        total_R1 = w_RS.sum(1, keepdims=True)
        mean_RN = w_RS @ rate_SN / total_R1
        # Around the mean of all, so that squares of large rates do not swallow small differences.
        centre_N = rate_SN.mean(0)
        square_RN = w_RS @ (rate_SN - centre_N) ** 2 / total_R1
        sd_RN = np.sqrt(np.maximum(square_RN - (mean_RN - centre_N) ** 2, 0.0))
        n_R1 = np.maximum((w_RS @ self.n_windows_S)[:, None], 1)
        count_RN = w_RS @ self.window_sum_SN / n_R1
        variance_RN = np.maximum(w_RS @ self.window_square_SN / n_R1 - count_RN**2, 0.0)
        fano_RN = np.divide(variance_RN, count_RN, out=np.zeros_like(count_RN), where=count_RN > 0)
        pooled_RN = w_RS @ self.spikes_SN / (w_RS @ self.n_bins_S)[:, None]
        return [Variability(*rows) for rows in zip(pooled_RN, sd_RN, fano_RN, strict=True)]


def trial_variability(spikes: Spikes | TrialStatistics, bin_width_s: float) -> TrialVariability:
    """Counts of trials and of the windows in them. A window that a trial does not fill is left out."""
    trials = summarise(spikes)
    width = max(1, round(WINDOW_S / bin_width_s))
    n_windows_S = trials.n_bins_S // width
    counts_WN = _window_counts(trials, width, n_windows_S)
    ends_S = np.cumsum(n_windows_S)

    def per_trial(values_WN: Ints) -> Floats:
        running = np.concatenate([np.zeros((1, trials.n_units), np.int64), values_WN.cumsum(0)])
        return (running[ends_S] - running[ends_S - n_windows_S]).astype(np.float64)

    return TrialVariability(
        trials.n_bins_S,
        trials.spikes_SN,
        n_windows_S,
        window_square_SN=per_trial(counts_WN**2),
        window_sum_SN=per_trial(counts_WN),
    )


def _window_counts(trials: TrialStatistics, width: int, n_windows_S: Ints) -> Ints:
    """(W, N) spikes in each whole window."""
    starts_S = np.cumsum(trials.n_bins_S) - trials.n_bins_S
    first_W = np.cumsum(n_windows_S) - n_windows_S
    within_W = np.arange(n_windows_S.sum()) - np.repeat(first_W, n_windows_S)
    start_W = np.repeat(starts_S, n_windows_S) + within_W * width
    counts_WN = np.zeros((len(start_W), trials.n_units), np.int64)
    for bin_ in range(width):
        counts_WN += trials.counts_XN[start_W + bin_]
    return counts_WN


def rmse_std_rate(real: Variability, sampled: Variability, bin_width_s: float) -> float:
    """RMSE over units of the standard deviation of rates over trials, in spikes per second."""
    return rms(real.sd_rate_N - sampled.sd_rate_N) / bin_width_s


def rmse_fano(real: Variability, sampled: Variability) -> float:
    """RMSE over units of the Fano factor."""
    return rms(real.fano_N - sampled.fano_N)
