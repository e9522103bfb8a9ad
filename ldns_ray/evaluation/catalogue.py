"""What the metrics are called, in which units they are, and what they say: for tables, pictures and reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A distance between two sets of trials; 0 where they agree."""

    name: str
    """Its key in results and in MLflow."""
    title: str
    """As in the head of a column."""
    unit: str
    """Empty where it has none."""
    meaning: str
    """One sentence for readers who meet it for the first time."""

    @property
    def label(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


SCORED = (
    Metric(
        "kl_psc",
        "KL population count",
        "nats",
        "Kullback-Leibler divergence of the distribution of spikes per bin, all units together.",
    ),
    Metric(
        "rmse_corr",
        "RMSE correlations",
        "",
        "Difference in the spike-count correlations of all pairs of units.",
    ),
    Metric(
        "rmse_mean_isi",
        "RMSE mean ISI",
        "s",
        "Difference in the units' mean inter-spike intervals.",
    ),
    Metric(
        "rmse_std_isi",
        "RMSE sd ISI",
        "s",
        "Difference in the standard deviations of the units' inter-spike intervals.",
    ),
)
"""The four distances of Kapoor, Schulz et al. 2024, table 1, of which the score is made."""

FURTHER = (
    Metric(
        "tv_psc",
        "TV population count",
        "",
        "Total variation between the distributions of spikes per bin, all units together: the share of bins that "
        "would have to change.",
    ),
    Metric(
        "rmse_corr_paper",
        "RMSE correlations, as published",
        "",
        "The same as the RMSE of correlations, averaged over the whole matrix with zeros on and above the diagonal.",
    ),
    Metric("rmse_mean_rate", "RMSE mean rate", "Hz", "Difference in the units' mean firing rates."),
    Metric(
        "rmse_std_rate",
        "RMSE sd rate",
        "Hz",
        "Difference in how much the units' firing rates vary from trial to trial (standard deviations).",
    ),
    Metric(
        "rmse_fano",
        "RMSE Fano factor",
        "",
        "Difference in the units' Fano factors: variance over mean of the counts in windows of 100 ms.",
    ),
    Metric(
        "rmse_autocorr",
        "RMSE autocorrelograms",
        "spikes²/bin²",
        "Difference in the autocorrelograms of four groups of units.",
    ),
    Metric(
        "rmse_crosscorr",
        "RMSE cross-correlograms",
        "spikes²/bin²",
        "Difference in the cross-correlograms within four groups of units.",
    ),
    Metric(
        "latent_spectrum",
        "Latent spectrum",
        "dB",
        "Difference in the power spectra of the latents, where samples have latents.",
    ),
)
"""Distances that are told beside the score."""

METRICS = {metric.name: metric for metric in (*SCORED, *FURTHER)}
