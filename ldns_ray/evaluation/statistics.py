"""Sufficient statistics of a spike recording, kept per trial.

Every metric needs only sums over trials: of population-count histograms, of spike counts and
their products, of inter-spike intervals and their squares. So any subset or resampling of trials
is a vector of weights, and many of them are pooled in one pass over the data.

Legend: S trials, T bins, N units, X bins of all trials laid end to end, R weightings of the
trials, K population counts 0 … K-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Spikes = NDArray[Any] | Sequence[NDArray[Any]]
"""Counts per bin: one (S, T, N) array, or a sequence of (T_i, N) arrays."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK_BINS = 4096  # a block of bins by units stays in the processor's cache
_GRAM_BLOCK_ENTRIES = 2**23
# OpenBLAS multiplies products up to this size in the calling thread. Thousands of small threaded
# products each wait for a second core, which takes a time slice when other processes hold it.
_SERIAL_MULTIPLICATIONS = 2**18
_FLOAT32_EXACT = 2**24  # float32 adds integers without rounding below this


@dataclass(frozen=True)
class Pooled:
    """What the metrics need to know about one weighted set of trials."""

    n_bins: float
    """Bins in all trials together."""
    histogram_K: Floats
    """How many bins hold 0, 1, 2, … spikes, all units together."""
    spikes_N: Floats
    """Spikes per unit."""
    gram_NN: Floats
    """Sum over bins of the product of two units' counts."""
    isi_n_N: Floats
    """Inter-spike intervals per unit."""
    isi_sum_N: Floats
    """Sum of the intervals, in bins."""
    isi_square_N: Floats
    """Sum of the squared intervals, in bins²."""
    longest_bins: int
    """Bins in the longest trial of the recording these trials come from."""

    @property
    def n_units(self) -> int:
        return len(self.spikes_N)

    def correlation(self) -> Floats:
        """(N, N) Pearson correlations of the counts; 0 where a unit's count never changes."""
        mean_N = self.spikes_N / self.n_bins
        covariance_NN = self.gram_NN / self.n_bins - np.outer(mean_N, mean_N)
        variance_N = np.diag(covariance_NN)
        # Rounding leaves a constant unit a variance of about 1e-16 of its mean square.
        varies_N = variance_N > 1e-12 * (np.diag(self.gram_NN) / self.n_bins)
        scale_N = np.zeros(self.n_units)
        scale_N[varies_N] = 1 / np.sqrt(variance_N[varies_N])
        return np.clip(covariance_NN * np.outer(scale_N, scale_N), -1.0, 1.0)

    def isi_moments(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each unit's intervals, in bins; 0 without intervals."""
        n_N = np.maximum(self.isi_n_N, 1)
        mean_N = self.isi_sum_N / n_N
        return mean_N, np.sqrt(np.maximum(self.isi_square_N / n_N - mean_N**2, 0.0))


@dataclass(frozen=True)
class TrialStatistics:
    """A recording as columns, one row per trial; build it with `summarise`."""

    counts_XN: NDArray[np.unsignedinteger]
    n_bins_S: Ints
    population_X: Ints
    spikes_SN: Floats
    isi_sum_SN: Floats
    isi_square_SN: Floats

    @property
    def n_trials(self) -> int:
        return len(self.n_bins_S)

    @property
    def n_units(self) -> int:
        return self.counts_XN.shape[1]

    def pool(self, weights_RS: ArrayLike | None = None) -> list[Pooled]:
        """Pool the trials once for each row of `weights_RS` (how often each trial counts).

        Without weights, the one result is the whole recording.
        """
        w_RS = checked_weights(weights_RS, self.n_trials)
        gram_RNN = self._gram(w_RS)
        spikes_RN = w_RS @ self.spikes_SN
        isi_n_RN = w_RS @ np.maximum(self.spikes_SN - 1, 0)  # intervals never cross trials
        isi_sum_RN = w_RS @ self.isi_sum_SN
        isi_square_RN = w_RS @ self.isi_square_SN
        return [
            Pooled(
                n_bins=float(w_S @ self.n_bins_S),
                histogram_K=np.bincount(
                    self.population_X, weights=np.repeat(w_S, self.n_bins_S)
                ).astype(np.float64),
                spikes_N=spikes_RN[r],
                gram_NN=gram_RNN[r],
                isi_n_N=isi_n_RN[r],
                isi_sum_N=isi_sum_RN[r],
                isi_square_N=isi_square_RN[r],
                longest_bins=int(self.n_bins_S.max()),
            )
            for r, w_S in enumerate(w_RS)
        ]

    def _gram(self, w_RS: Floats) -> Floats:
        """(R, N, N): each trial's products are formed once, then weighted R times."""
        n = self.n_units
        used_S = np.flatnonzero(w_RS.any(0))
        starts_S = np.cumsum(self.n_bins_S) - self.n_bins_S
        longest = int(self.n_bins_S.max())
        block = int(np.clip(_GRAM_BLOCK_ENTRIES // n**2, 1, 256))
        tile = max(8, _SERIAL_MULTIPLICATIONS // (longest * n))
        bound = float(self.counts_XN.max()) ** 2 * block * longest * float(w_RS.max())
        dtype: type = np.float32 if bound < _FLOAT32_EXACT else np.float64
        gram_RP = np.zeros((len(w_RS), n * n))
        products_bNN: NDArray[Any] = np.zeros((block, n, n), dtype)
        for i in range(0, len(used_S), block):
            trials_b = used_S[i : i + block]
            for j, s in enumerate(trials_b):
                x_TN: NDArray[Any] = self.counts_XN[
                    starts_S[s] : starts_S[s] + self.n_bins_S[s]
                ].astype(dtype)
                for low in range(0, n, tile):  # strips of the lower triangle
                    high = min(low + tile, n)
                    out = products_bNN[j, low:high, :high]
                    np.matmul(x_TN[:, low:high].T, x_TN[:, :high], out=out)
            products_bP = products_bNN[: len(trials_b)].reshape(len(trials_b), -1)
            w_Rb: NDArray[Any] = w_RS[:, trials_b].astype(dtype)
            # A product with one row is threaded too; for that alone it is not worth waiting for a second core.
            gram_RP += (
                w_Rb @ products_bP if len(w_Rb) > 1 else np.einsum("rb,bp->rp", w_Rb, products_bP)
            )
        lower_RNN = np.tril(gram_RP.reshape(-1, n, n))
        return lower_RNN + np.tril(lower_RNN, -1).transpose(0, 2, 1)


def checked_weights(weights_RS: ArrayLike | None, n_trials: int) -> Floats:
    """(R, S) weights of the trials; without any, one row of ones. Raises ValueError for what is no weighting."""
    shape = (1, n_trials)
    w_RS = np.ones(shape) if weights_RS is None else np.asarray(weights_RS, np.float64)
    if w_RS.ndim != 2 or w_RS.shape[1] != n_trials or not (w_RS.sum(1) > 0).all():
        raise ValueError(
            f"weights_RS must be (R, {n_trials}) with a positive sum in every row, "
            f"got shape {w_RS.shape}. Give one column per trial and at least one trial."
        )
    return w_RS


def rms(x: Floats) -> float:
    """Root mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(x**2))) if x.size else 0.0


def summarise(spikes: Spikes | TrialStatistics) -> TrialStatistics:
    """Reduce spike counts, an (S, T, N) array or (T_i, N) arrays, to `TrialStatistics`.

    The k spikes of a bin sit evenly inside it, at (i+1)/(k+1) of its width, so every interval
    is known from the counts (Kapoor, Schulz et al. 2024). Cost is linear in the counts.

    Raises:
        ValueError: empty input, negative or fractional counts, trials with other unit counts.
    """
    if isinstance(spikes, TrialStatistics):
        return spikes
    counts_XN, n_bins_S = flatten_counts(spikes)
    population_X = np.empty(len(counts_XN), np.int64)
    rows = []
    for first, last, start, stop in _blocks(n_bins_S):
        columns, population_X[start:stop] = _block_rows(counts_XN[start:stop], n_bins_S[first:last])
        rows.append(columns)
    spikes_SN, isi_sum_SN, isi_square_SN = (
        np.concatenate(column) for column in zip(*rows, strict=True)
    )
    return TrialStatistics(counts_XN, n_bins_S, population_X, spikes_SN, isi_sum_SN, isi_square_SN)


def flatten_counts(spikes: Spikes | TrialStatistics) -> tuple[NDArray[np.unsignedinteger], Ints]:
    """Lay trials end to end: (X, N) unsigned counts and the (S,) bins per trial, validated."""
    if isinstance(spikes, TrialStatistics):
        return spikes.counts_XN, spikes.n_bins_S
    if isinstance(spikes, Sequence):
        trials = [np.asarray(trial) for trial in spikes]
        if not trials:
            raise ValueError("spikes has no trials, got an empty sequence. Give at least one.")
        shapes = {trial.shape[1:] for trial in trials}
        if len(shapes) != 1 or trials[0].ndim != 2:
            raise ValueError(
                "spikes must be (T_i, N) arrays with one N, got trials of shapes "
                f"{sorted({trial.shape for trial in trials})[:4]}. Give time by units, every "
                "trial with the same units."
            )
        counts_XN = np.concatenate(trials)
        n_bins_S = np.array([len(trial) for trial in trials], np.int64)
    else:
        counts_STN = np.asarray(spikes)
        if counts_STN.ndim != 3:
            raise ValueError(
                f"spikes must be (trials, bins, units), got shape {counts_STN.shape}. "
                "Add a trial axis with spikes[None] for a single trial."
            )
        counts_XN = counts_STN.reshape(-1, counts_STN.shape[2])
        n_bins_S = np.full(len(counts_STN), counts_STN.shape[1], np.int64)
    if counts_XN.size == 0 or n_bins_S.min() == 0:
        raise ValueError(
            f"spikes must not be empty, got {len(n_bins_S)} trials, {len(counts_XN)} bins and "
            f"{counts_XN.shape[1]} units, the shortest trial with "
            f"{n_bins_S.min() if len(n_bins_S) else 0} bins. Drop empty trials."
        )
    return _as_unsigned(counts_XN), n_bins_S


def _as_unsigned(counts_XN: NDArray[Any]) -> NDArray[np.unsignedinteger]:
    if np.issubdtype(counts_XN.dtype, np.unsignedinteger):
        return counts_XN
    if counts_XN.dtype == np.bool_:
        return counts_XN.view(np.uint8)
    if counts_XN.dtype.kind not in "if":
        raise ValueError(
            f"spikes must be integer counts, got dtype {counts_XN.dtype}. Convert them first."
        )
    low, high = float(counts_XN.min()), float(counts_XN.max())
    if not (low >= 0 and high < 2**32):  # also refuses NaN
        raise ValueError(
            f"spikes must be counts of 0 or more, got values from {low} to {high}. "
            "Give raw counts per bin, not rates or z-scores."
        )
    unsigned: NDArray[Any] = counts_XN.astype(np.uint8 if high < 2**8 else np.uint32)
    if counts_XN.dtype.kind == "f" and not (unsigned == counts_XN).all():
        raise ValueError(
            "spikes must be whole counts, got fractions. Give raw counts per bin, not rates."
        )
    return unsigned


def _blocks(n_bins_S: Ints) -> list[tuple[int, int, int, int]]:
    """Whole trials in blocks of about `_BLOCK_BINS` bins: (first, last trial, start, stop bin)."""
    ends_S = np.cumsum(n_bins_S)
    blocks: list[tuple[int, int, int, int]] = []
    first = start = 0
    while first < len(n_bins_S):
        last = max(int(np.searchsorted(ends_S, start + _BLOCK_BINS, "right")), first + 1)
        stop = int(ends_S[last - 1])
        blocks.append((first, last, start, stop))
        first, start = last, stop
    return blocks


def _block_rows(
    counts_XN: NDArray[np.unsignedinteger], n_bins_S: Ints
) -> tuple[tuple[Floats, Floats, Floats], Ints]:
    """Spikes, interval sums and squared-interval sums per trial and unit; spikes per bin."""
    n_x, n_units = counts_XN.shape
    counts_NX = np.ascontiguousarray(counts_XN.T)  # a unit's bins in a row: events in time order
    event_e = np.flatnonzero(counts_NX)
    k_e = counts_NX.reshape(-1)[event_e].astype(np.float64)
    unit_e, bin_e = np.divmod(event_e, n_x)
    slot_e = np.repeat(np.arange(len(n_bins_S)), n_bins_S)[bin_e] * n_units + unit_e

    # Inside a bin: k-1 intervals of 1/(k+1). From a bin to the next that holds a spike: the
    # first spike's position there minus the last one's here.
    sum_e = (k_e - 1) / (k_e + 1)
    square_e = sum_e / (k_e + 1)
    between = (bin_e[1:] + 1 / (k_e[1:] + 1)) - (bin_e[:-1] + k_e[:-1] / (k_e[:-1] + 1))
    between *= slot_e[1:] == slot_e[:-1]
    sum_e[1:] += between
    square_e[1:] += between**2

    def per_slot(values_e: Floats) -> Floats:
        size = len(n_bins_S) * n_units
        sums = np.bincount(slot_e, values_e, minlength=size).astype(np.float64, copy=False)
        return sums.reshape(-1, n_units)

    population_X = np.bincount(bin_e, k_e, minlength=n_x).astype(np.int64)
    return (per_slot(k_e), per_slot(sum_e), per_slot(square_e)), population_X
