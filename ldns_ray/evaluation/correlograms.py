"""Auto- and cross-correlograms of groups of units (Kapoor, Schulz et al. 2024, section 4).

They tell what correlations of counts do not: when a unit, and when two units, fire again. Each
trial's counts, less their mean over time, are correlated with themselves at lags of whole bins,
with the biased estimate (sums over the bins both see, divided by the bins of the trial), in
spikes² per bin²; then averaged over the units, or pairs of units, of a group and over trials.

Legend: S trials, b trials of a block, T bins, N units, G groups of units, n units of one group,
L lags from -n_lags to n_lags, F frequencies, R weightings of the trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft

from ldns_ray.evaluation.ragged import centred_blocks, weighted_means
from ldns_ray.evaluation.statistics import (
    Floats,
    Ints,
    Spikes,
    TrialStatistics,
    flatten_counts,
    rms,
)


@dataclass(frozen=True)
class Correlograms:
    """Means over one weighted set of trials."""

    auto_GL: Floats
    """0 at lag 0, where the variance of the counts would hide all else."""
    cross_GL: Floats
    """At lag k, the first unit of a pair fires k bins after the second; 0 for a group of one."""


@dataclass(frozen=True)
class TrialCorrelograms:
    """Correlograms of every trial; build it with `trial_correlograms`."""

    auto_SGL: Floats
    cross_SGL: Floats

    @property
    def n_trials(self) -> int:
        return len(self.auto_SGL)

    def pool(self, weights_RS: ArrayLike | None = None) -> list[Correlograms]:
        """Average over trials once for each row of `weights_RS` (how often each trial counts).

        Without weights, the one result is that of all trials.
        """
        both_SP = np.concatenate([self.auto_SGL, self.cross_SGL], 1).reshape(self.n_trials, -1)
        pooled_RP = weighted_means(both_SP, weights_RS)
        pooled_R2GL = pooled_RP.reshape(-1, 2, *self.auto_SGL.shape[1:])
        return [Correlograms(auto_GL, cross_GL) for auto_GL, cross_GL in pooled_R2GL]


def unit_groups(correlation_NN: ArrayLike, n_groups: int = 4) -> list[Ints]:
    """Units from the most to the least correlated with the others, cut into groups.

    Ordered by the sum of their squared correlations (`Pooled.correlation`), equals by number.
    Groups differ in size by one unit at most, the first are the larger; with fewer units than
    `n_groups` each is a group. Take the groups from the real data, and use them for the samples
    too: correlograms of other units cannot be compared.
    """
    c_NN = np.asarray(correlation_NN, np.float64)
    if c_NN.ndim != 2 or c_NN.shape[0] != c_NN.shape[1] or not np.isfinite(c_NN).all():
        raise ValueError(
            f"correlation_NN must be a square of finite numbers, got shape {c_NN.shape} with "
            f"{int(np.sum(~np.isfinite(c_NN)))} not finite. Give 0 for units that never spike."
        )
    if n_groups < 1 or len(c_NN) < 1:
        raise ValueError(
            f"n_groups and the number of units must be at least 1, got {n_groups} and "
            f"{len(c_NN)}. The paper has 4 groups."
        )
    order_N = np.argsort(-np.sum(c_NN**2, axis=1), kind="stable")
    return np.array_split(order_N, min(n_groups, len(c_NN)))


def trial_correlograms(
    spikes: Spikes | TrialStatistics, groups: Sequence[Ints], n_lags: int = 20
) -> TrialCorrelograms:
    """Correlograms of each trial at lags of -n_lags … n_lags bins, averaged over groups of units.

    A pair of units counts once, in the order in which its group names them, so a
    cross-correlogram need not be symmetric. Lags that a trial is too short for are 0.

    Raises:
        ValueError: invalid counts, no lag, groups that are empty or name units that are not there.
    """
    counts_XN, n_bins_S = flatten_counts(spikes)
    _check_groups(groups, counts_XN.shape[1])
    if n_lags < 1:
        raise ValueError(f"n_lags must be at least 1, got {n_lags}. The paper has 20.")
    shape = (len(n_bins_S), len(groups), 2 * n_lags + 1)
    auto_SGL, cross_SGL = np.zeros(shape), np.zeros(shape)
    for trials, x_bTN in centred_blocks(counts_XN, n_bins_S):
        n_fft = fft.next_fast_len(x_bTN.shape[1] + n_lags, real=True)  # no lag wraps around
        f_bFN = fft.rfft(x_bTN, n_fft, axis=1)
        for g, units_n in enumerate(groups):
            f_bFn = f_bFN[:, :, units_n]
            auto_bF = np.vecdot(f_bFn, f_bFn)
            auto_SGL[trials, g] = _lags(auto_bF, n_fft, n_lags) / len(units_n)
            n_pairs = len(units_n) * (len(units_n) - 1) // 2
            if n_pairs:
                # Σ_{i<j} f_i f_j* in one pass: f_j* meets the sum of those named before j.
                cross_bF = np.vecdot(f_bFn, np.cumsum(f_bFn, axis=2)) - auto_bF
                cross_SGL[trials, g] = _lags(cross_bF, n_fft, n_lags) / n_pairs
    auto_SGL[:, :, n_lags] = 0
    return TrialCorrelograms(
        auto_SGL / n_bins_S[:, None, None], cross_SGL / n_bins_S[:, None, None]
    )


def rmse_autocorr(a: Correlograms, b: Correlograms) -> float:
    """RMS difference of the autocorrelograms over groups and lags other than 0, spikes²/bin²."""
    difference_GL = _difference(a.auto_GL, b.auto_GL)
    return rms(np.delete(difference_GL, difference_GL.shape[1] // 2, axis=1))


def rmse_crosscorr(a: Correlograms, b: Correlograms) -> float:
    """RMS difference of the cross-correlograms over groups and lags, spikes²/bin²."""
    return rms(_difference(a.cross_GL, b.cross_GL))


def _lags(spectrum_bF: Floats, n_fft: int, n_lags: int) -> Floats:
    """(b, L) from the spectrum of a correlation; its negative lags come last."""
    correlation_bT = fft.irfft(spectrum_bF, n_fft, axis=1)
    return np.concatenate([correlation_bT[:, -n_lags:], correlation_bT[:, : n_lags + 1]], axis=1)


def _check_groups(groups: Sequence[Ints], n_units: int) -> None:
    named = [np.asarray(units_n) for units_n in groups]
    if not named or any(
        len(u) == 0 or u.min() < 0 or u.max() >= n_units or len(np.unique(u)) < len(u)
        for u in named
    ):
        raise ValueError(
            f"groups must each name different units from 0 to {n_units - 1}, got "
            f"{[u.tolist() for u in named][:4]}. Make them with unit_groups."
        )


def _difference(a_GL: Floats, b_GL: Floats) -> Floats:
    if a_GL.shape != b_GL.shape:
        raise ValueError(
            f"Correlograms must have the same groups and lags, got shapes {a_GL.shape} and "
            f"{b_GL.shape}. Use the groups of the real data and one n_lags for both."
        )
    return a_GL - b_GL
