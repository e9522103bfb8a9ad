"""The pictures of an assessment, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.evaluation.assessment import REAL, Assessment
from ldns_ray.evaluation.correlograms import trial_correlograms
from ldns_ray.evaluation.decoding.conditional import Conditional
from ldns_ray.evaluation.plots import (
    conditional,
    correlograms,
    latents,
    overview,
    rates,
    spectra,
    spikes,
)
from ldns_ray.evaluation.recording import Yardstick, yardstick
from ldns_ray.evaluation.spectra import frequencies, trial_spectra
from ldns_ray.evaluation.statistics import Spikes


def pictures(
    assessment: Assessment,
    reference: TrialSet,
    candidates: Mapping[str, TrialSet],
    decoded: Conditional | None,
    card: Card,
) -> dict[str, Figure]:
    """Every picture that the trials allow: the overview, then real trials beside those of the first candidate.

    candidates: as they were assessed; those after the first, and the baselines, are thin lines and small dots.
    decoded: what was decoded of the first. card: of the recording.
    """
    sampled, *further = candidates.values()
    width = reference.bin_width_s
    others: dict[str, Sequence[np.ndarray]] = {
        name: trials.spikes_list() for name, trials in zip(list(candidates)[1:], further, strict=True)
    }  # fmt: skip
    others |= assessment.baselines
    real, fake = reference.spikes_list(), sampled.spikes_list()
    rod = yardstick(real, width, [fake])
    figures = {
        "overview": overview.overview(assessment.rows),
        "rasters": spikes.rasters(real, fake, width),
        "population_counts": spikes.population_counts(real, fake, others=others),
        "correlations": spikes.correlations(real, fake),
        "isi": spikes.isi(real, fake, width, others=others),
        "rates": _rates(assessment.units[REAL], assessment.units[next(iter(candidates))]),
        "correlograms": correlograms.correlograms(
            real=_pair(rod, real), sampled=_pair(rod, fake), bin_width_s=width,
            others={name: _pair(rod, x) for name, x in others.items()},
        ),
    }  # fmt: skip
    if reference.latents is not None and sampled.latents is not None:
        z, z_sampled = reference.latents_list(), sampled.latents_list()
        a, b = (trial_spectra(x, rod.n_fft).pool()[0] for x in (z, z_sampled))
        figures["spectra"] = spectra.spectra(
            frequencies_F=frequencies(rod.n_fft, width),
            real_DF=a.power_DF,
            sampled_DF=b.power_DF,
        )
        figures["latents"] = latents.latents(z, z_sampled, width)
    if decoded:
        units = {name: str(c["unit"]) for name, c in card.covariates.items()}
        figures |= conditional.conditional(decoded, width, units)
    return figures


def _pair(rod: Yardstick, trials: Spikes) -> correlograms.Pair:
    pooled = trial_correlograms(trials, rod.groups).pool()[0]
    return pooled.auto_GL, pooled.cross_GL


def _rates(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> Figure:
    """Of `unit_statistics` of real and of sampled trials."""
    return rates.rates(
        mean_real_N=a["mean_rate_hz"], mean_sampled_N=b["mean_rate_hz"],
        sd_real_N=a["sd_rate_hz"], sd_sampled_N=b["sd_rate_hz"],
        fano_real_N=a["fano"], fano_sampled_N=b["fano"],
    )  # fmt: skip
