"""The PSTH as a baseline: smoothed training averages, and Poisson samples drawn from them.

A model of single trials has to beat the peri-stimulus time histogram (PSTH), the average over
trials of a condition, in likelihood and in spike statistics.

Legend: S trials, T bins, N units, L labels (conditions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ldns_ray.evaluation.statistics import Floats, Ints, Spikes, flatten_counts

Labels = Sequence[int] | Sequence[str] | NDArray[np.generic]


@dataclass(frozen=True)
class Psth:
    """Rates per condition, and which conditions and lengths the training trials had."""

    rates_LTN: Floats
    """Expected counts per bin, up to the longest training trial."""
    labels_L: NDArray[np.generic]
    """The condition of each row, sorted; a single 0 when trials have no labels."""
    trial_label_S: Ints
    """Row of `rates_LTN` of each training trial."""
    trial_bins_S: Ints
    """Bins of each training trial."""

    def rates(self, labels: Labels | None, n_bins: int | Sequence[int]) -> list[Floats]:
        """(T_i, N) expected counts for trials of these conditions and lengths.

        Bins after the longest training trial keep the last rate. Without labels (for a PSTH that
        was made without), `n_bins` gives one length per trial.

        Raises:
            ValueError: a label that no training trial had, or as many labels as lengths missing.
        """
        if labels is None:
            if len(self.labels_L) > 1 or isinstance(n_bins, int):
                raise ValueError(
                    f"rates needs labels for {len(self.labels_L)} conditions or one n_bins per "
                    "trial, got neither. Pass the trials' labels, or a list of lengths."
                )
            rows = np.zeros(len(n_bins), np.int64)
        else:
            rows = np.searchsorted(self.labels_L, np.asarray(labels)).clip(
                max=len(self.labels_L) - 1
            )
            unknown = np.setdiff1d(np.asarray(labels), self.labels_L)
            if len(unknown):
                raise ValueError(
                    f"labels must be among those of training, got {unknown.tolist()[:5]}. "
                    f"Known: {self.labels_L.tolist()[:20]}."
                )
        lengths = [n_bins] * len(rows) if isinstance(n_bins, int) else list(n_bins)
        if len(lengths) != len(rows):
            raise ValueError(
                f"rates needs one length per label, got {len(lengths)} and {len(rows)}. "
                "Pass a single n_bins if all trials are equally long."
            )
        last = self.rates_LTN.shape[1] - 1
        return [
            self.rates_LTN[row][np.minimum(np.arange(length), last)]
            for row, length in zip(rows, lengths, strict=True)
        ]


def psth(
    spikes: Spikes,
    labels: Labels | None,
    *,
    bin_width_s: float,
    sd_s: float = 0.025,
    floor: float = 1e-3,
) -> Psth:
    """Average the trials of each condition and smooth over time with a Gaussian.

    Time counts from the start of the trial. Where trials end at different bins, the average runs
    over those still going, and smoothing weighs each bin by their number; after the last trial of
    a condition its final rate is kept. The filter reflects at both ends, which leaves constant
    rates constant.

    Args:
        spikes: (S, T, N) counts, or (T_i, N) each.
        labels: condition of each trial, or None for a single average.
        bin_width_s: seconds per bin.
        sd_s: standard deviation of the Gaussian, in seconds; 0 for none.
        floor: smallest expected count per bin, so that no spike is impossible.
    """
    if not (bin_width_s > 0 and sd_s >= 0 and floor > 0):
        raise ValueError(
            "bin_width_s and floor must be positive and sd_s at least 0, got "
            f"{bin_width_s}, {floor} and {sd_s}. The usual choice is sd_s=0.025, floor=1e-3."
        )
    counts_XN, n_bins_S = flatten_counts(spikes)
    if labels is not None and len(labels) != len(n_bins_S):
        raise ValueError(
            f"labels must be one per trial, got {len(labels)} for {len(n_bins_S)} trials. "
            "Pass labels=None for one average over all trials."
        )
    given_S = np.zeros(len(n_bins_S), np.int64) if labels is None else np.asarray(labels)
    labels_L, row_S = np.unique(given_S, return_inverse=True)
    shape = (len(labels_L), int(n_bins_S.max()), counts_XN.shape[1])
    sum_LTN, trials_LT = np.zeros(shape), np.zeros(shape[:2])
    for row, n_bins, stop in zip(row_S, n_bins_S, np.cumsum(n_bins_S), strict=True):
        sum_LTN[row, :n_bins] += counts_XN[stop - n_bins : stop]
        trials_LT[row, :n_bins] += 1

    rates_LTN = np.empty(shape)
    for row in range(len(labels_L)):
        end = int(np.flatnonzero(trials_LT[row])[-1]) + 1
        rates_LTN[row, :end] = smooth(sum_LTN[row, :end], sd_s / bin_width_s)
        rates_LTN[row, :end] /= smooth(trials_LT[row, :end, None], sd_s / bin_width_s)
        rates_LTN[row, end:] = rates_LTN[row, end - 1]
    return Psth(np.maximum(rates_LTN, floor), labels_L, row_S.astype(np.int64), n_bins_S)


def sample_psth(
    psth: Psth, n: int, *, seed: int, first_trial: int = 0
) -> tuple[list[NDArray[np.int64]], list[Floats]]:
    """Draw Poisson trials: condition and length as in a random training trial.

    Trial i depends on (seed, first_trial + i) alone, so a set may be drawn in parts.

    Returns:
        n arrays (T_i, N) of counts, and the rates they were drawn from.
    """

    def rates(rng: np.random.Generator) -> Floats:
        s = rng.integers(len(psth.trial_bins_S))
        return psth.rates_LTN[psth.trial_label_S[s], : psth.trial_bins_S[s]]

    return draw(rates, n, seed, first_trial)


def draw(
    rates_of: Callable[[np.random.Generator], Floats], n: int, seed: int, first_trial: int
) -> tuple[list[NDArray[np.int64]], list[Floats]]:
    """Poisson counts of n trials, and their rates, which `rates_of` draws from each trial's own generator."""
    if n < 1 or first_trial < 0:
        raise ValueError(
            f"n must be at least 1 and first_trial at least 0, got {n} and {first_trial}. "
            "Give the number of trials to draw."
        )
    spikes, rates = [], []
    for i in range(first_trial, first_trial + n):
        rng = np.random.default_rng([seed, i])
        rates.append(rates_of(rng))
        spikes.append(rng.poisson(rates[-1]))
    return spikes, rates


def smooth(x_TN: Floats, sd_bins: float) -> Floats:
    """Filter one trial over time with a Gaussian that reflects at both ends; 0 leaves it as it is."""
    return gaussian_filter1d(x_TN, sd_bins, axis=0, mode="reflect") if sd_bins > 0 else x_TN
