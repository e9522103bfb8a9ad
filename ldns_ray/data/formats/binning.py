"""Times to bins: spike times to counts, samples of a time series to one value per bin.

Shapes: K spikes or samples in order of time, T bins, N units, d channels. Times and widths in seconds.

Bin t of a trial holds `start + t * width <= time < start + (t + 1) * width`, with every edge put
`EDGE_S` earlier. Spike times are ticks of a clock, and edges often fall on ticks, where rounding decides:
1.3 - 1.0 is 0.30000000000000004 but 0.7 - 0.4 is 0.29999999999999993, so of two spikes 0.3 s into their
trials one would be counted a bin too early. `EDGE_S` is larger than the rounding of times (4e-7 s for
seconds since 1970, 5e-7 s where they are written with six decimals) and far smaller than a tick (25 µs or
more), so a spike on an edge is always in the bin that starts there.
"""

from __future__ import annotations

import numpy as np

EDGE_S = 1e-6


def bin_edges(start_s: float, bin_width_s: float, n_bins: int) -> np.ndarray:
    """The (T + 1,) edges of a trial's bins, each computed from the start, so that errors do not add up."""
    return start_s + np.arange(n_bins + 1) * bin_width_s - EDGE_S


def whole_bins(duration_s: np.ndarray | float, bin_width_s: float) -> np.ndarray:
    """How many whole bins fit into each duration; 0 where it is negative or NaN."""
    n_bins = np.floor((np.asarray(duration_s, dtype=np.float64) + EDGE_S) / bin_width_s)
    return np.nan_to_num(np.maximum(n_bins, 0)).astype(np.int64)


def next_multiple(time_s: np.ndarray, bin_width_s: float) -> np.ndarray:
    """Each time, or the first whole multiple of the bin width after it."""
    return np.ceil((time_s - EDGE_S) / bin_width_s) * bin_width_s


def count_spikes(
    times_K: np.ndarray,
    units_K: np.ndarray,
    *,
    start_s: float,
    bin_width_s: float,
    n_bins: int,
    n_units: int,
) -> np.ndarray:
    """Spike counts (T, N) int64 of a trial that starts at `start_s`.

    times_K: spike times of all units together, in order. units_K: the unit of each, 0 … N - 1.
    """
    edges = bin_edges(start_s, bin_width_s, n_bins)
    low, high = np.searchsorted(times_K, edges[[0, -1]])
    bins = np.searchsorted(edges, times_K[low:high], side="right") - 1
    counts = np.bincount(bins * n_units + units_K[low:high], minlength=n_bins * n_units)
    return counts.reshape(n_bins, n_units)


def bin_samples(
    times_K: np.ndarray,
    values_Kd: np.ndarray,
    *,
    start_s: float,
    bin_width_s: float,
    n_bins: int,
    max_gap_s: float,
) -> np.ndarray:
    """A time series in bins, (T, d) float64: the mean of the samples inside each bin.

    A bin without samples takes the value at its centre on the line between the samples around it; it is NaN
    where those are more than `max_gap_s` apart, or where there is none on one side.
    """
    edges = bin_edges(start_s, bin_width_s, n_bins)
    cuts = np.searchsorted(times_K, edges)
    n_T = np.diff(cuts)
    bins = np.repeat(np.arange(n_bins), n_T)
    inside = values_Kd[cuts[0] : cuts[-1]]
    sums = [np.bincount(bins, channel, minlength=n_bins) for channel in inside.T]
    values = np.stack(sums, axis=1) / np.maximum(n_T, 1)[:, None]
    empty = np.flatnonzero(n_T == 0)
    if len(empty):
        centres = start_s + (empty + 0.5) * bin_width_s
        values[empty] = _interpolate(times_K, values_Kd, centres, max_gap_s)
    return values


def _interpolate(
    times_K: np.ndarray, values_Kd: np.ndarray, at: np.ndarray, max_gap_s: float
) -> np.ndarray:
    result = np.full((len(at), values_Kd.shape[1]), np.nan)
    after = np.searchsorted(times_K, at)
    between = (after > 0) & (after < len(times_K))
    after, at = after[between], at[between]
    before = after - 1
    gap = times_K[after] - times_K[before]
    weight = ((at - times_K[before]) / gap)[:, None]
    line = (1 - weight) * values_Kd[before] + weight * values_Kd[after]
    line[gap > max_gap_s + EDGE_S] = np.nan
    result[between] = line
    return result
