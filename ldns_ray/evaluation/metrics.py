"""Distances between real and sampled spikes (Kapoor, Schulz et al. 2024, section 4 and table 1).

Spikes are counts per bin: one (S, T, N) array, or a list of (T_i, N) arrays. Every function is
finite for every non-empty input; the degenerate cases are stated where they arise.
A distance means nothing without its `noise_floor`: what two halves of the data differ by.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ldns_ray.evaluation.resampling import splits
from ldns_ray.evaluation.statistics import (
    Floats,
    Pooled,
    Spikes,
    TrialStatistics,
    rms,
    summarise,
)

DENSITY_FLOOR = 1e-12
"""Count densities are raised to this, so that a KL divergence is at most about 28 nats."""

_KERNEL_REACH = 10  # bandwidths; all that is farther away adds less than 1e-9 of `DENSITY_FLOOR`

TELLING_INTERVALS = 10
"""A unit with this many intervals in one set of trials and none in the other is called silent;
among trials of the same statistics that happens with probability of about exp(-10)."""


def kl_psc(real: Spikes | Pooled, sampled: Spikes | Pooled) -> float:
    """KL(sampled ‖ real) of the population spike count per bin, in nats.

    Densities by Gaussian KDE (Scott's rule), evaluated at every count from 0 to the largest in
    either set and normalised there. When every bin holds the same count the density is a point.
    """
    p, q = _count_densities(*_pair(real, sampled))
    return float(max(np.sum(q * np.log(q / p)), 0.0))


def tv_psc(real: Spikes | Pooled, sampled: Spikes | Pooled) -> float:
    """Total variation between the distributions of the population spike count per bin, from 0 to 1.

    Of the histograms as they are, without smoothing: the share of bins that would have to change.
    """
    a, b = _pair(real, sampled)
    p, q = np.zeros((2, max(len(a.histogram_K), len(b.histogram_K))))
    p[: len(a.histogram_K)] = a.histogram_K / a.n_bins
    q[: len(b.histogram_K)] = b.histogram_K / b.n_bins
    return float(np.abs(p - q).sum() / 2)


def rmse_corr(real: Spikes | Pooled, sampled: Spikes | Pooled) -> float:
    """RMSE between the spike-count correlations of all pairs of units, over all bins.

    Pairs are the strictly lower triangle. A unit whose count never changes correlates 0 with
    every other. With one unit there are no pairs and the distance is 0.
    """
    a, b = _pair(real, sampled)
    difference_NN = a.correlation() - b.correlation()
    return rms(difference_NN[np.tri(a.n_units, k=-1, dtype=bool)])


def rmse_corr_paper(real: Spikes | Pooled, sampled: Spikes | Pooled) -> float:
    """`rmse_corr` as published: averaged over the full matrix, zeros on and above the diagonal."""
    a, b = _pair(real, sampled)
    return rmse_corr(a, b) * published_share(a.n_units)


def published_share(n_units: int) -> float:
    """Published RMSE of correlations over `rmse_corr`: the root of the share of entries that are pairs."""
    return float(np.sqrt((n_units - 1) / (2 * n_units)))


def rmse_mean_isi(
    real: Spikes | Pooled,
    sampled: Spikes | Pooled,
    bin_width_s: float,
    *,
    penalise_silent: bool = False,
) -> float:
    """RMSE over units of the mean inter-spike interval, in seconds, pooled over trials.

    As published, units without an interval on either side are skipped, so silence goes
    unpunished. With `penalise_silent`, a unit that has none on one side but `TELLING_INTERVALS`
    or more on the other counts with the worst possible error: the longest trial's duration,
    which no interval exceeds. (With fewer, its absence may be chance and it is skipped.)
    If no unit is left, every unit with intervals on one side only counts as silent; if there
    are none of those either, both sides agree and the distance is 0.
    """
    return _rmse_isi(real, sampled, bin_width_s, penalise_silent, moment=0)


def rmse_std_isi(
    real: Spikes | Pooled,
    sampled: Spikes | Pooled,
    bin_width_s: float,
    *,
    penalise_silent: bool = False,
) -> float:
    """RMSE over units of the standard deviation of inter-spike intervals, in seconds.

    Silent units as in `rmse_mean_isi`; the worst possible error is half the longest trial's
    duration, since no spread of intervals between 0 and that duration is larger.
    """
    return _rmse_isi(real, sampled, bin_width_s, penalise_silent, moment=1)


def rmse_mean_rate(real: Spikes | Pooled, sampled: Spikes | Pooled, bin_width_s: float) -> float:
    """RMSE over units of the mean firing rate, in spikes per second."""
    a, b = _pair(real, sampled)
    return rms(a.spikes_N / a.n_bins - b.spikes_N / b.n_bins) / _checked(bin_width_s)


def n_silent(real: Spikes | Pooled, sampled: Spikes | Pooled) -> int:
    """Number of units that spike in the real trials and never in the sampled ones."""
    a, b = _pair(real, sampled)
    return int(np.sum((a.spikes_N > 0) & (b.spikes_N == 0)))


def mean_rate(spikes: Spikes, bin_width_s: float) -> Floats:
    """(N,) mean firing rate of each unit, in spikes per second."""
    pooled = summarise(spikes).pool()[0]
    return pooled.spikes_N / pooled.n_bins / _checked(bin_width_s)


def isi_statistics(spikes: Spikes | TrialStatistics, bin_width_s: float) -> tuple[Floats, Floats]:
    """(N,) mean and (N,) standard deviation of each unit's intervals, in seconds.

    NaN for units without an interval, so that they cannot be mistaken for fast ones.
    """
    pooled = summarise(spikes).pool()[0]
    none_N = pooled.isi_n_N == 0
    mean_N, sd_N = (m * _checked(bin_width_s) for m in pooled.isi_moments())
    mean_N[none_N] = sd_N[none_N] = np.nan
    return mean_N, sd_N


def correlations(spikes: Spikes) -> Floats:
    """(N, N) spike-count correlations over all bins; 0 for units whose count never changes."""
    return summarise(spikes).pool()[0].correlation()


def count_densities(real: Spikes | Pooled, sampled: Spikes | Pooled) -> tuple[Floats, Floats]:
    """The two densities that `kl_psc` compares, real and sampled, at counts 0, 1, 2, …"""
    return _count_densities(*_pair(real, sampled))


def compare(real: Spikes, sampled: Spikes, bin_width_s: float) -> dict[str, float]:
    """Every distance between two sets of trials.

    Returns:
        `kl_psc` (nats), `tv_psc`, `rmse_corr`, `rmse_corr_paper`, `rmse_mean_isi` and `rmse_std_isi`
        (seconds), `rmse_mean_rate` (spikes per second), `n_silent` (units).

    Raises:
        ValueError: empty or invalid counts, different units, a bin width that is not positive.
    """
    return compare_pooled(*_pair(real, sampled), bin_width_s)


def compare_pooled(real: Pooled, sampled: Pooled, bin_width_s: float) -> dict[str, float]:
    """`compare` on trials that are already pooled."""
    return {
        "kl_psc": kl_psc(real, sampled),
        "tv_psc": tv_psc(real, sampled),
        "rmse_corr": rmse_corr(real, sampled),
        "rmse_corr_paper": rmse_corr_paper(real, sampled),
        "rmse_mean_isi": rmse_mean_isi(real, sampled, bin_width_s),
        "rmse_std_isi": rmse_std_isi(real, sampled, bin_width_s),
        "rmse_mean_rate": rmse_mean_rate(real, sampled, bin_width_s),
        "n_silent": float(n_silent(real, sampled)),
    }


def noise_floor(
    real: Spikes,
    bin_width_s: float,
    seed: int = 0,
    n_splits: int = 20,
    size: int | None = None,
) -> dict[str, float]:
    """`compare` between two disjoint random halves of the real trials, median over splits.

    The floor falls with the number of trials, so a model judged on few trials needs a floor of
    the same size: `size` is the number of trials in each of the two sets (default: half).
    """
    statistics = summarise(real)
    half = statistics.n_trials // 2
    n = half if size is None else size
    if not 1 <= n <= half:
        raise ValueError(
            f"A noise floor needs two disjoint sets of trials, got {statistics.n_trials} trials "
            f"and size {n}. Give at least 2 trials and a size of at most half of them."
        )
    weights_RS = np.zeros((2 * n_splits, statistics.n_trials))
    for i, order_S in enumerate(splits(statistics.n_trials, seed, n_splits)):
        weights_RS[2 * i, order_S[:n]] = 1
        weights_RS[2 * i + 1, order_S[n : 2 * n]] = 1
    pooled = statistics.pool(weights_RS)
    pairs = zip(pooled[::2], pooled[1::2], strict=True)
    rows = [compare_pooled(a, b, bin_width_s) for a, b in pairs]
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0]}


def _pair(real: Spikes | Pooled, sampled: Spikes | Pooled) -> tuple[Pooled, Pooled]:
    a, b = real, sampled
    if not (isinstance(a, Pooled) and isinstance(b, Pooled)):
        with ThreadPoolExecutor(2) as two:  # most of it is NumPy's, which lets the other side go on
            a, b = two.map(_pooled, (a, b))
    if a.n_units != b.n_units:
        raise ValueError(
            f"real and sampled must have the same units, got {a.n_units} and {b.n_units}. "
            "Select the same units on both sides, in the same order."
        )
    return a, b


def _pooled(trials: Spikes | Pooled) -> Pooled:
    return trials if isinstance(trials, Pooled) else summarise(trials).pool()[0]


def _count_densities(real: Pooled, sampled: Pooled) -> tuple[Floats, Floats]:
    n_counts = 1 + max(int(np.flatnonzero(x.histogram_K)[-1]) for x in (real, sampled))
    p, q = (_kde_at_counts(x.histogram_K, n_counts) for x in (real, sampled))
    return np.maximum(p, DENSITY_FLOOR), np.maximum(q, DENSITY_FLOOR)


def _kde_at_counts(histogram_K: Floats, n_counts: int) -> Floats:
    """`scipy.stats.gaussian_kde` of the counts behind a histogram, at 0 … n_counts-1.

    Bins with equal counts share a kernel, so the density is the histogram convolved with it.
    """
    h = np.zeros(n_counts)
    h[: min(n_counts, len(histogram_K))] = histogram_K[:n_counts]
    n, counts = h.sum(), np.arange(n_counts)
    mean = h @ counts / n
    variance = h @ (counts - mean) ** 2 / max(n - 1, 1)
    if variance > 0:
        bandwidth = np.sqrt(variance) * n ** (-1 / 5)  # Scott's factor n^(-1/5)
        reach = min(n_counts - 1, int(np.ceil(_KERNEL_REACH * bandwidth)))
        kernel = np.exp(-((np.arange(-reach, reach + 1) / bandwidth) ** 2) / 2)
        there = np.flatnonzero(h)
        low, high = int(there[0]), int(there[-1]) + 1
        around = np.convolve(h[low:high], kernel)  # at counts from low - reach on
        h = np.zeros(n_counts)
        start, stop = max(low - reach, 0), min(high + reach, n_counts)
        h[start:stop] = around[start - low + reach : stop - low + reach]
    return h / h.sum()


def _rmse_isi(
    real: Spikes | Pooled,
    sampled: Spikes | Pooled,
    bin_width_s: float,
    penalise_silent: bool,
    moment: int,
) -> float:
    a, b = _pair(real, sampled)
    error_N = np.abs(a.isi_moments()[moment] - b.isi_moments()[moment])
    has_a_N, has_b_N = a.isi_n_N > 0, b.isi_n_N > 0
    both_N, one_N = has_a_N & has_b_N, has_a_N ^ has_b_N
    error_N[one_N] = max(a.longest_bins, b.longest_bins) / (1 + moment)  # worst mean: 1, sd: 1/2
    counted_N = both_N
    if penalise_silent:
        counted_N = both_N | (np.abs(a.isi_n_N - b.isi_n_N) >= TELLING_INTERVALS) & one_N
    if not counted_N.any():
        counted_N = one_N
    return rms(error_N[counted_N]) * _checked(bin_width_s)


def _checked(bin_width_s: float) -> float:
    if not (np.isfinite(bin_width_s) and bin_width_s > 0):
        raise ValueError(
            f"bin_width_s must be positive and finite, got {bin_width_s}. Give seconds per bin."
        )
    return bin_width_s
