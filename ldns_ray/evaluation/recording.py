"""All that the metrics need of a set of trials, per trial, so that any weighting of the trials can be compared.

Legend: S trials, D latents, N units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ldns_ray.evaluation.catalogue import METRICS
from ldns_ray.evaluation.correlograms import (
    Correlograms,
    TrialCorrelograms,
    rmse_autocorr,
    rmse_crosscorr,
    trial_correlograms,
    unit_groups,
)
from ldns_ray.evaluation.metrics import published_share, rmse_mean_rate, tv_psc
from ldns_ray.evaluation.score import scored_distances
from ldns_ray.evaluation.spectra import Spectra, TrialSpectra, latent_spectrum, trial_spectra
from ldns_ray.evaluation.statistics import Ints, Pooled, Spikes, TrialStatistics, summarise
from ldns_ray.evaluation.variability import (
    TrialVariability,
    Variability,
    rmse_fano,
    rmse_std_rate,
    trial_variability,
)

SMALLEST = {
    "tv_psc": 1e-6, "rmse_corr_paper": 1e-5, "rmse_mean_rate": 1e-3, "rmse_std_rate": 1e-3, "rmse_fano": 1e-4,
    "rmse_autocorr": 1e-9, "rmse_crosscorr": 1e-9, "latent_spectrum": 1e-3,
}  # fmt: skip
"""Distances are raised to these, as those of the score are to `score.SMALLEST`."""


@dataclass(frozen=True)
class PooledRecording:
    """One weighted set of trials."""

    spikes: Pooled
    variability: Variability
    correlograms: Correlograms
    spectra: Spectra | None


@dataclass(frozen=True)
class Recording:
    """A set of trials; build it with `Yardstick.of`."""

    spikes: TrialStatistics
    variability: TrialVariability
    correlograms: TrialCorrelograms
    spectra: TrialSpectra | None

    @property
    def n_trials(self) -> int:
        return self.spikes.n_trials

    def pool(self, weights_RS: ArrayLike | None = None) -> list[PooledRecording]:
        """Pool the trials once for each row of `weights_RS`; once and all, without weights."""
        spikes = self.spikes.pool(weights_RS)
        spectra = self.spectra.pool(weights_RS) if self.spectra else [None] * len(spikes)
        of_units = self.variability.pool(weights_RS), self.correlograms.pool(weights_RS)
        return [PooledRecording(*parts) for parts in zip(spikes, *of_units, spectra, strict=True)]


@dataclass(frozen=True)
class Yardstick:
    """What all recordings that are compared have in common; made of the reference by `yardstick`."""

    bin_width_s: float
    groups: list[Ints]
    """Units whose correlograms are averaged."""
    n_fft: int
    """Bins of the longest trial of all, which gives the spectra of all latents the same frequencies."""

    def of(
        self, spikes: Spikes | TrialStatistics, latents: Sequence[np.ndarray] | None
    ) -> Recording:
        """The recording of these trials, (S, T, N) or (T_i, N) each, and of their latents, (T_i, D) each."""
        trials = summarise(spikes)
        return Recording(
            trials,
            trial_variability(trials, self.bin_width_s),
            trial_correlograms(trials, self.groups),
            None if latents is None else trial_spectra(list(latents), self.n_fft),
        )

    def distances(self, a: PooledRecording, b: PooledRecording) -> dict[str, float]:
        """All metrics between the reference `a` and `b`, in the order of `METRICS`; those of latents where both have them.

        Those of the score are `score.scored_distances`, with their penalty for silent units.
        """
        scored = scored_distances(a.spikes, b.spikes, self.bin_width_s)
        further = {
            "tv_psc": tv_psc(a.spikes, b.spikes),
            "rmse_corr_paper": scored["rmse_corr"] * published_share(a.spikes.n_units),
            "rmse_mean_rate": rmse_mean_rate(a.spikes, b.spikes, self.bin_width_s),
            "rmse_std_rate": rmse_std_rate(a.variability, b.variability, self.bin_width_s),
            "rmse_fano": rmse_fano(a.variability, b.variability),
            "rmse_autocorr": rmse_autocorr(a.correlograms, b.correlograms),
            "rmse_crosscorr": rmse_crosscorr(a.correlograms, b.correlograms),
        }
        if a.spectra is not None and b.spectra is not None:
            further["latent_spectrum"] = latent_spectrum(a.spectra, b.spectra)
        bounded = {name: max(value, SMALLEST[name]) for name, value in further.items()}
        known = scored | bounded
        return {name: known[name] for name in METRICS if name in known}


def yardstick(
    reference: Spikes | TrialStatistics, bin_width_s: float, sampled: Sequence[Spikes] = ()
) -> Yardstick:
    """The yardstick of a reference, with which its own trials and all sets of sampled ones are measured."""
    trials = summarise(reference)
    longest = max(int(trials.n_bins_S.max()), *(len(x) for spikes in sampled for x in spikes), 2)
    return Yardstick(bin_width_s, unit_groups(trials.pool()[0].correlation()), longest)
