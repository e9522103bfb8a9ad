"""Whether samples that are much longer than the training trials stay where the data is.

Legend: T bins, X bins of all trials laid end to end, C channels (latents or units).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from ldns_ray.evaluation.statistics import Floats

Traces = Sequence[NDArray[Any]]


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
