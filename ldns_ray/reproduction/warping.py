"""Movements that were never made: those that were, faster, slower, and in a mirror.

Legend: T bins, K channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ldns_ray.data.resampling import resampled

Trace = NDArray[np.floating]


def warped(velocity_TK: Trace, factor: float) -> Trace:
    """The same path in `factor` times the time: (round(factor T), K), at least one bin.

    A bin holds the velocity at its middle, which is interpolated linearly between those of the original; the ends
    keep their velocity. Velocities are divided by the factor, so that the path ends where it did, but for rounding.
    """
    if not factor > 0:
        raise ValueError(f"factor must be positive, got {factor}. 2 is half as fast.")
    n_bins = len(velocity_TK)
    n_new = max(1, round(factor * n_bins))
    factor = n_new / n_bins  # of whole bins
    return (resampled(velocity_TK, n_new) / factor).astype(velocity_TK.dtype)


def mirrored(velocity_TK: Trace) -> Trace:
    """The same movement with left and right exchanged: the first channel changes its sign."""
    return velocity_TK * np.array([-1.0, *[1.0] * (velocity_TK.shape[1] - 1)], velocity_TK.dtype)


NEW_MOVEMENTS: dict[str, Callable[[Trace], Trace]] = {
    "slower, 1.25 times the time": lambda trace: warped(trace, 1.25),
    "faster, 0.8 times the time": lambda trace: warped(trace, 0.8),
    "mirrored": mirrored,
    "mirrored and slower": lambda trace: warped(mirrored(trace), 1.25),
}
"""What trials are asked for that no recording has, made of the velocities of held-out trials."""
