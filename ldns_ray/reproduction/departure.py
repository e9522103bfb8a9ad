"""Whether samples that are much longer than the training trials stay where the data is.

Legend: T bins, X bins of all trials laid end to end, C channels (latents or units), W windows, V values of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from ldns_ray.evaluation.statistics import Floats

Traces = Sequence[NDArray[Any]]

BINS, STRIDE = 8, 4
"""Of the short windows that are looked up in training: how long they are, and how far apart they begin."""
_BLOCK_ENTRIES = 2**24


def window(traces: Traces, number: int, of: int) -> list[NDArray[Any]]:
    """Window `number` (from 0) of each trace, cut into `of` windows of equal length; what is left over is dropped."""
    if not 0 <= number < of or min(len(x) for x in traces) < of:
        raise ValueError(
            f"A window must be one of {of} of at least one bin, got number {number} of traces of "
            f"{min(len(x) for x in traces)} bins."
        )
    return [x[number * (len(x) // of) : (number + 1) * (len(x) // of)] for x in traces]


def departure(training: Traces, traces: Traces) -> dict[str, float]:
    """How far the distribution of values over time is from that of the training trials, channel by channel.

    Channels that never vary in training are left out.

    Returns:
        `sd_ratio`, its median over channels, and the smallest and largest, `sd_ratio_low`, `sd_ratio_high`: standard
        deviation over that in training. `mean_shift`: root mean square over channels of the difference of the means,
        in training standard deviations. `ks`: mean over channels of the Kolmogorov-Smirnov distance. `out_of_range`:
        share of values below the smallest or above the largest of the channel in training.
    """
    known_XC, values_XC = (np.concatenate(x).astype(np.float64) for x in (training, traces))
    varies_C = np.ptp(known_XC, 0) > 0
    if not varies_C.any():
        raise ValueError("training traces must vary in some channel, got constants in all.")
    known_XC, values_XC = known_XC[:, varies_C], values_XC[:, varies_C]
    sd_C: Floats = known_XC.std(0)
    ratio_C = values_XC.std(0) / sd_C
    shift_C = (values_XC.mean(0) - known_XC.mean(0)) / sd_C
    outside_XC = (values_XC < known_XC.min(0)) | (values_XC > known_XC.max(0))
    ks_C = [
        ks_2samp(a, b, method="asymp").statistic
        for a, b in zip(known_XC.T, values_XC.T, strict=True)
    ]
    return {
        "sd_ratio": float(np.median(ratio_C)),
        "sd_ratio_low": float(ratio_C.min()),
        "sd_ratio_high": float(ratio_C.max()),
        "mean_shift": float(np.sqrt(np.mean(shift_C**2))),
        "ks": float(np.mean(ks_C)),
        "out_of_range": float(outside_XC.mean()),
    }


def nearest(training: Traces, traces: Traces) -> float:
    """How far short windows of the traces are from anything in training: whether they move as the data does.

    Of windows of `BINS` bins, `STRIDE` apart, the median distance to the nearest window of the training trials, which
    may begin at any bin: root mean square over bins and channels, in standard deviations of training. It is never zero:
    real trials that were held out say how small it can be. Where a trace has fewer bins, so have all windows.
    Raises ValueError where no channel varies in training.
    """
    known_XC = np.concatenate(training).astype(np.float64)
    varies_C = np.ptp(known_XC, 0) > 0
    if not varies_C.any():
        raise ValueError("training traces must vary in some channel, got constants in all.")
    mean_C, sd_C = known_XC[:, varies_C].mean(0), known_XC[:, varies_C].std(0)
    n_bins = min(BINS, *(len(x) for x in (*training, *traces)))
    known_WV, asked_WV = (
        _windows([(x[:, varies_C] - mean_C) / sd_C for x in y], n_bins, stride)
        for y, stride in ((training, 1), (traces, STRIDE))
    )
    squares_W = np.square(known_WV).sum(1)
    n_block = max(1, _BLOCK_ENTRIES // len(known_WV))
    found = []
    for first in range(0, len(asked_WV), n_block):
        block_WV = asked_WV[first : first + n_block]
        at_W = (squares_W - 2 * block_WV @ known_WV.T).argmin(1)
        found.append(np.sqrt(np.square(block_WV - known_WV[at_W]).mean(1)))
    return float(np.median(np.concatenate(found)))


def _windows(traces: Traces, n_bins: int, stride: int) -> NDArray[np.float32]:
    """(W, V) windows of all traces, flat, in the order of the traces."""
    cut = [
        np.lib.stride_tricks.sliding_window_view(x, n_bins, axis=0)[::stride].reshape(-1, x.shape[1] * n_bins)
        for x in traces
    ]  # fmt: skip
    return np.concatenate(cut).astype(np.float32)
