"""What an experiment's samples are worth: scores beside a baseline, likelihood, conditions, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ldns_ray.config import Experiment
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.evaluation.autoencoder_likelihood import autoencoder_likelihood
from ldns_ray.evaluation.comparison import (
    Labels,
    compare_candidates,
    sample_baseline,
    split_labels,
)
from ldns_ray.evaluation.conditional import Conditional, decode_samples, decoded_rates, with_rates
from ldns_ray.evaluation.plots import conditional, latents, spikes, training
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import LENGTH


@dataclass(frozen=True)
class Evaluated:
    """What is compared.

    train, reference: real trials' spikes and conditions. sampled: with latents, conditions and, where the model has
    some, covariates and rates. encoded: the reference trials with latents, and covariates where the model has some;
    encoded_train: the training trials likewise, or None where it has none.
    """

    train: TrialSet
    reference: TrialSet
    sampled: TrialSet
    encoded: TrialSet
    encoded_train: TrialSet | None
    autoencoder: Autoencoder


def evaluate(
    experiment: Experiment, card: Card, trials: Evaluated, history: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of an evaluation as JSON values, and its pictures by name. history: the trainings' epochs."""
    e, width = experiment.evaluation, card.bin_width_s
    train, reference, sampled = trials.train, trials.reference, trials.sampled
    labels = split_labels(train, reference, e.label)
    candidates = {
        "LDNS": sampled.spikes_list(),
        "PSTH + Poisson": sample_baseline(train, labels[0], len(sampled), seed=e.seed),
    }
    rows = compare_candidates(
        reference.spikes_list(), candidates, width, seed=e.seed, n_splits=e.n_splits
    )
    likelihood = autoencoder_likelihood(
        trials.autoencoder, train, reference, labels, dropout=experiment.autoencoder.dropout, seed=e.seed
    )  # fmt: skip
    decoded = _decoded(experiment, trials, labels)
    units = {name: str(c["unit"]) for name, c in card.covariates.items()}
    figures = {
        **spikes.spike_statistics(reference.spikes_list(), sampled.spikes_list(), width),
        "training_curves": training.training_curves(history),
        "latents": latents.latents(trials.encoded.latents_list(), sampled.latents_list(), width),
        **conditional.conditional(decoded, width, units),
    }
    summary = {
        "score": rows[0].score,
        "rows": [asdict(row) for row in rows],
        "likelihood": likelihood,
        "conditional": decoded.summary() if decoded else None,
        "split": e.split,
        "plots": list(figures),
    }
    return summary, figures


def _decoded(experiment: Experiment, trials: Evaluated, labels: Labels) -> Conditional:
    """What is decoded of the conditions and covariates that the samples were asked for."""
    e, d = experiment.evaluation, experiment.diffusion
    train, reference = trials.train, trials.reference
    if trials.encoded_train is not None:
        rates = decoded_rates(trials.autoencoder)
        train, reference = (
            with_rates(trials.encoded_train, rates),
            with_rates(trials.encoded, rates),
        )
    return decode_samples(
        train, reference, trials.sampled, conditions=[c for c in d.conditions if c != LENGTH],
        covariates=d.covariates, label=e.label, labels=labels, from_s=e.decode_from_s,
    )  # fmt: skip
