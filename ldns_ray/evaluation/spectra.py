"""Power spectra of latents: whether samples move as fast and as much as the data's latents do.

Each trial's latents, less their mean over time, are tapered with a Hann window: without it a
slow drift, which latents of short trials have, leaks into every frequency and hides the fast
ones. Power is relative to white noise of variance 1, which has power 1 at every frequency and at
every length of trial, also where the mean taken off and zero-padding leave it less. Trials count
equally, whatever their length.

Legend: S trials, b trials of a block, T bins, X bins of all trials laid end to end, D latents,
K frequencies of the Fourier transform, F bands of frequencies, R weightings of the trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from ldns_ray.evaluation.ragged import Latents, centred_blocks, flatten_latents, weighted_means
from ldns_ray.evaluation.statistics import Floats, Ints, rms

MOST_BANDS = 32

POWER_FLOOR = 1e-6
"""Power under this share of a latent's mean power counts as this share: 60 dB down is nothing that
spikes could show, the rounding of float32 networks lies there, and latents that never change have
a spectrum to compare."""

_NOTHING = 1e-12  # share of white noise that a trial of one bin, less its mean, keeps by rounding


@dataclass(frozen=True)
class Spectra:
    """Mean power over one weighted set of trials."""

    power_DF: Floats


@dataclass(frozen=True)
class TrialSpectra:
    """Power of every trial; build it with `trial_spectra`."""

    power_SDF: NDArray[np.float32]

    @property
    def n_trials(self) -> int:
        return len(self.power_SDF)

    def pool(self, weights_RS: ArrayLike | None = None) -> list[Spectra]:
        """Average over trials once for each row of `weights_RS` (how often each trial counts).

        Without weights, the one result is that of all trials.
        """
        pooled_RP = weighted_means(self.power_SDF.reshape(self.n_trials, -1), weights_RS)
        return [Spectra(power_DF) for power_DF in pooled_RP.reshape(-1, *self.power_SDF.shape[1:])]


def bands(n_fft: int) -> Ints:
    """(F+1,) edges of the bands: band f holds frequencies edges[f] … edges[f+1]-1, of 1 … n_fft//2.

    Evenly spaced on a logarithmic scale as far as whole frequencies allow, at most `MOST_BANDS`,
    so that an octave of slow movement weighs as much as one of fast. Frequency 0 is in none: the
    mean was taken off.
    """
    if n_fft < 2:
        raise ValueError(
            f"n_fft must be at least 2, got {n_fft}. Give the bins of the longest trial of all "
            "that are compared."
        )
    return np.unique(np.rint(np.geomspace(1, n_fft // 2 + 1, MOST_BANDS + 1)).astype(np.int64))


def frequencies(n_fft: int, bin_width_s: float) -> Floats:
    """(F,) the mean frequency of each band, in Hz."""
    if not bin_width_s > 0:
        raise ValueError(f"bin_width_s must be positive, got {bin_width_s}.")
    edges = bands(n_fft)
    return (edges[:-1] + edges[1:] - 1) / (2 * n_fft * bin_width_s)


def trial_spectra(latents: Latents, n_fft: int) -> TrialSpectra:
    """Power of each trial and latent in each of `bands(n_fft)`.

    Shorter trials are padded with zeros; one `n_fft` for all that is compared gives all the same
    frequencies.

    Raises:
        ValueError: invalid latents, a trial longer than `n_fft`.
    """
    values_XD, n_bins_S = flatten_latents(latents)
    longest = int(n_bins_S.max())
    if longest > n_fft:
        raise ValueError(
            f"n_fft must be at least the longest trial's {longest} bins, got {n_fft}. "
            "Give the bins of the longest trial of all that are compared."
        )
    edges = bands(n_fft)
    power_SDF = np.zeros((len(n_bins_S), values_XD.shape[1], len(edges) - 1), np.float32)
    for trials, x_bTD in centred_blocks(values_XD, n_bins_S):
        taper_bT, white_bK = _tapers(n_bins_S[trials], x_bTD.shape[1], n_fft)
        spectrum_bKD = fft.rfft(x_bTD * taper_bT[:, :, None], n_fft, axis=1)
        power_bKD = (spectrum_bKD.real**2 + spectrum_bKD.imag**2) / white_bK[:, :, None]
        sums_bFD = np.add.reduceat(power_bKD, edges[:-1], axis=1)
        power_SDF[trials] = (sums_bFD / np.diff(edges)[:, None]).transpose(0, 2, 1)
    return TrialSpectra(power_SDF)


def _tapers(n_bins_b: Ints, longest: int, n_fft: int) -> tuple[Floats, Floats]:
    """(b, T) Hann windows and (b, K) the expected power of white noise, less its mean, under them.

    With window w and its transform W, noise of variance 1 has Σw² - |W|² / n left of Σw² when the
    mean of its n bins is taken off before: a third at frequency 0, nearly all beyond 2 / n.
    """
    n_b1 = n_bins_b[:, None]
    t_T = np.arange(longest)
    # Bins are sampled at their middles, so that none has no weight.
    taper_bT = np.where(t_T < n_b1, np.sin(np.pi * (t_T + 0.5) / n_b1) ** 2, 0.0)
    whole_b1 = np.sum(taper_bT**2, axis=1, keepdims=True)
    white_bK = whole_b1 - np.abs(fft.rfft(taper_bT, n_fft, axis=1)) ** 2 / n_b1
    return taper_bT, np.where(white_bK > _NOTHING * whole_b1, white_bK, whole_b1)


def latent_spectrum(a: Spectra, b: Spectra) -> float:
    """RMS over latents and bands of the difference in power, in dB; powers from `POWER_FLOOR` up."""
    if a.power_DF.shape != b.power_DF.shape:
        raise ValueError(
            f"Spectra must have the same latents and bands, got shapes {a.power_DF.shape} and "
            f"{b.power_DF.shape}. Give both the same latents and one n_fft."
        )
    a_DF, b_DF = raised(a.power_DF, b.power_DF)
    return rms(10 * np.log10(a_DF / b_DF))


def raised(a_DF: Floats, b_DF: Floats) -> tuple[Floats, Floats]:
    """Powers of both from `POWER_FLOOR` of the latent's mean power up; 1 where a latent has no power at all."""
    mean_D1 = np.maximum(a_DF.mean(1), b_DF.mean(1))[:, None]
    floor_D1 = np.where(mean_D1 > 0, POWER_FLOOR * mean_D1, 1.0)
    return np.maximum(a_DF, floor_D1), np.maximum(b_DF, floor_D1)
