"""Trials of different lengths without a loop over them: laid end to end, padded in blocks, weighted.

Legend: S trials, b trials of a block, T bins, X bins of all trials laid end to end, D latents,
C channels (units or latents), R weightings of the trials, P numbers kept per trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldns_ray.evaluation.statistics import Floats, Ints, checked_weights

Latents = NDArray[Any] | Sequence[NDArray[Any]]
"""Real numbers per bin: one (S, T, D) array, or a sequence of (T_i, D) arrays."""

_CONSTANT = 1e-12  # variance over squared mean of values that differ by float32 rounding alone
_BLOCK_ENTRIES = 2**20  # 8 MB of float64: what is made of a block stays small beside the data


def flatten_latents(latents: Latents, name: str = "latents") -> tuple[NDArray[Any], Ints]:
    """Lay trials end to end: (X, D) real numbers and the (S,) bins per trial, validated.

    Raises:
        ValueError: no trials, an empty one, trials with other numbers of latents, NaN or infinity.
    """
    if not isinstance(latents, Sequence) and np.ndim(latents) != 3:
        raise ValueError(
            f"{name} must be (trials, bins, latents), got shape {np.shape(latents)}. "
            "Add a trial axis with latents[None] for a single trial."
        )
    trials = [np.asarray(trial) for trial in latents]
    if not trials:
        raise ValueError(f"{name} has no trials, got an empty sequence. Give at least one.")
    if len({trial.shape[1:] for trial in trials}) != 1 or trials[0].ndim != 2:
        raise ValueError(
            f"{name} must be (T_i, D) arrays with one D, got trials of shapes "
            f"{sorted({trial.shape for trial in trials})[:4]}. Give time by latents, every trial "
            "with the same latents."
        )
    values_XD = np.concatenate(trials)
    n_bins_S = np.array([len(trial) for trial in trials], np.int64)
    if values_XD.size == 0 or n_bins_S.min() == 0:
        raise ValueError(
            f"{name} must not be empty, got {len(trials)} trials, {len(values_XD)} bins and "
            f"{values_XD.shape[1]} latents, the shortest trial with {n_bins_S.min()} bins. "
            "Drop empty trials."
        )
    if values_XD.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be real numbers, got dtype {values_XD.dtype}. Convert them first."
        )
    wrong = int(np.sum(~np.isfinite(values_XD)))
    if wrong:
        raise ValueError(
            f"{name} must be finite, got {wrong} of {values_XD.size} values NaN or infinite. "
            "Drop the trials that hold them, or find out what made them."
        )
    return values_XD, n_bins_S


def centred_blocks(values_XC: NDArray[Any], n_bins_S: Ints) -> Iterator[tuple[slice, Floats]]:
    """Blocks of successive trials, each less its own mean over time and 0 after its last bin.

    A channel that is constant within a trial is 0 there, exactly, and not what rounding leaves.

    Yields:
        Which trials, and (b, T, C) with the length of the longest of them.
    """
    n_channels = values_XC.shape[1]
    block = max(1, _BLOCK_ENTRIES // (int(n_bins_S.max()) * n_channels))
    ends_S = np.cumsum(n_bins_S)
    for first in range(0, len(n_bins_S), block):
        trials = slice(first, first + block)
        n_b11 = n_bins_S[trials, None, None]
        inside_bT1 = np.arange(n_b11.max())[:, None] < n_b11
        padded_bTC = np.zeros((*inside_bT1.shape[:2], n_channels))
        start = ends_S[first] - n_bins_S[first]
        padded_bTC[inside_bT1[:, :, 0]] = values_XC[start : ends_S[trials][-1]]
        mean_b1C = padded_bTC.sum(1, keepdims=True) / n_b11
        padded_bTC -= mean_b1C
        padded_bTC *= inside_bT1
        variance_bC = np.einsum("btc,btc->bc", padded_bTC, padded_bTC) / n_b11[:, 0]
        padded_bTC *= (variance_bC > _CONSTANT * mean_b1C[:, 0] ** 2)[:, None]
        yield trials, padded_bTC


def weighted_means(columns_SP: NDArray[Any], weights_RS: ArrayLike | None = None) -> Floats:
    """(R, P): the mean over trials of each column, once for each row of `weights_RS`.

    A weight is how often a trial counts. Without weights, one mean over all trials.
    """
    w_RS = checked_weights(weights_RS, len(columns_SP))
    means_RP: Floats = w_RS @ columns_SP / w_RS.sum(1, keepdims=True)
    return means_RP
