"""The likelihood of spike-history models of all units, with its derivatives, over chunks of bins.

The history windows of all bins, J times the recording, are never held together: those of one chunk are copied,
used, and overwritten by those of the next.
"""

# N units, U of them; S trials, M bins of all trials end to end, K of them with a full history (those fitted),
# R of these in a chunk, J history bins, P = J + 2 parameters: gain a, offset b, filter w (most recent bin last).

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

RATE_FLOOR = 1e-8
"""Decoded rates, counts per bin, are raised to this before their logarithm."""
CHUNK_ENTRIES, FEWEST_ROWS = 2**20, 256
"""Numbers in the design of a chunk: few enough for the cache, enough for the threads. Never fewer rows."""


@dataclass(frozen=True)
class Recording:
    """All trials end to end, one unit after another."""

    counts_NM: Tensor
    """Capped, uint8."""
    log_rate_NK: Tensor
    """float32, minus its mean over the unit's bins: gain and offset are then nearly independent."""
    mean_log_rate_N: Tensor
    """float64."""
    starts_S: np.ndarray
    """Where, of the K fitted bins, every trial starts; then K."""
    n_history: int


def join(
    spikes: Sequence[np.ndarray], rates: Sequence[np.ndarray], *, n_history: int, count_cap: int
) -> Recording:
    """The trials (T_i, N) of counts and decoded counts per bin, each longer than the history.

    Raises ValueError if a rate is not finite.
    """
    n_units, n_trials = spikes[0].shape[1], len(spikes)
    starts_S = np.cumsum([0] + [len(s) - n_history for s in spikes])
    counts_NM = np.empty((n_units, starts_S[-1] + n_trials * n_history), np.uint8)
    log_rate_NK = np.empty((n_units, starts_S[-1]), np.float32)
    for i, (s, r) in enumerate(zip(spikes, rates, strict=True)):
        start, stop = starts_S[i : i + 2]
        counts_NM[:, start + i * n_history : stop + (i + 1) * n_history] = np.minimum(
            s, count_cap
        ).T
        log_rate_NK[:, start:stop] = np.maximum(r[n_history:], RATE_FLOOR).T
    np.log(log_rate_NK, out=log_rate_NK)
    mean_N = log_rate_NK.mean(1, dtype=np.float64)
    if not np.isfinite(mean_N).all():
        raise ValueError(
            f"Decoded rates must be finite, those of unit {np.isfinite(mean_N).argmin()} are not. "
            "Train the autoencoder again, with a lower learning rate."
        )
    log_rate_NK -= mean_N[:, None].astype(np.float32)
    counts, log_rate, mean = map(torch.from_numpy, (counts_NM, log_rate_NK, mean_N))
    return Recording(counts, log_rate, mean, starts_S, n_history)


def negative_log_likelihood(
    recording: Recording, n_trials: int, units_U: Tensor, theta_UP: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Σ λ - y log λ over the first `n_trials` trials: value (U,), gradient (U, P), Hessian (U, P, P), float64.

    λ = softplus(η), η = a (log r - mean log r) + b + w · history. Entries are float32, sums over chunks float64.
    """
    n_units, size = theta_UP.shape
    value_U = torch.zeros(n_units, dtype=torch.float64)
    sums_UQP = value_U.new_zeros(n_units, size + 1, size)
    n_fitted = int(recording.starts_S[n_trials])
    n_rows = min(n_fitted, max(FEWEST_ROWS, CHUNK_ENTRIES // (n_units * (size + 1))))
    design_and_count = torch.empty(n_units, size + 1, n_rows)
    weighted = torch.empty(n_units, size + 1, n_rows)
    theta_U1P = theta_UP.float()[:, None]
    for start in range(0, n_fitted, n_rows):
        stop = min(start + n_rows, n_fitted)
        chunk = design_and_count[:, :, : stop - start]
        _fill(chunk, recording, units_U, start, stop)
        design_UPR, count_UR = chunk[:, :size], chunk[:, size]
        # float32 has no λ of an η below -88. With σ/λ = 1 held there, a spike still pulls the rate up.
        eta_UR = torch.bmm(theta_U1P, design_UPR)[:, 0].clamp_min_(-80)
        rate_UR, slope_UR = nn.functional.softplus(eta_UR), torch.sigmoid(eta_UR)
        value_U += (rate_UR - count_UR * rate_UR.log()).sum(1, dtype=torch.float64)
        ratio_UR = slope_UR / rate_UR
        pull_UR = count_UR * ratio_UR
        # d²/dη² = σ (1 - σ) + y σ/λ (σ/λ - (1 - σ)) ≥ 0, up to rounding.
        quiet_UR = 1 - slope_UR
        curvature_UR = slope_UR * quiet_UR + pull_UR * (ratio_UR - quiet_UR)
        weighted_UQR = weighted[:, :, : stop - start]
        torch.mul(design_UPR, curvature_UR.clamp_min_(0)[:, None], out=weighted_UQR[:, :size])
        torch.sub(slope_UR, pull_UR, out=weighted_UQR[:, size])
        sums_UQP += torch.bmm(weighted_UQR, design_UPR.transpose(1, 2))
    return value_U, sums_UQP[:, size], sums_UQP[:, :size]


def _fill(chunk: Tensor, recording: Recording, units_U: Tensor, start: int, stop: int) -> None:
    """Write log rate, 1, J bins of history and the count itself, of fitted bins `start` to `stop`."""
    starts_S, n_history = recording.starts_S, recording.n_history
    first = int(np.searchsorted(starts_S, start, "right")) - 1
    last = int(np.searchsorted(starts_S, stop, "left"))
    chunk[:, 0] = recording.log_rate_NK[:, start:stop].index_select(0, units_U)
    chunk[:, 1] = 1
    # Bin k of the fitted ones, in trial i, has its history in bins k + iJ to k + iJ + J of all.
    begin, end = start + first * n_history, stop + last * n_history
    counts = recording.counts_NM[:, begin:end].index_select(0, units_U).float().numpy()
    for i in range(first, last):
        k, k_end = max(start, int(starts_S[i])), min(stop, int(starts_S[i + 1]))
        part = counts[:, k + i * n_history - begin : k_end + (i + 1) * n_history - begin]
        # Many small copies: NumPy's need no other thread.
        windows = np.lib.stride_tricks.sliding_window_view(part, k_end - k, axis=1)
        chunk.numpy()[:, 2:, k - start : k_end - start] = windows
