"""What an experiment's samples are worth: beside floors and baselines, likelihood, conditions, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldns_ray.config import Experiment
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.evaluation.assessment import assess
from ldns_ray.evaluation.autoencoder_likelihood import autoencoder_likelihood
from ldns_ray.evaluation.decoding.conditional import (
    Conditional,
    decode_samples,
    decoded_rates,
    with_rates,
)
from ldns_ray.evaluation.labels import SplitLabels, split_labels
from ldns_ray.evaluation.plots import training
from ldns_ray.evaluation.plots.pictures import pictures
from ldns_ray.evaluation.reporting.results import Results, results
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import LENGTH

NAME = "LDNS"
"""What the samples of a pipeline are called in tables and pictures."""


@dataclass(frozen=True)
class Evaluated:
    """What is compared.

    train, reference: real trials with latents, all conditions, and covariates where the model has some. sampled: sets of
    samples by name, each with latents, conditions and, where the model has some, covariates and rates. The first is the
    one that is judged and drawn.
    """

    train: TrialSet
    reference: TrialSet
    sampled: Mapping[str, TrialSet]
    autoencoder: Autoencoder


def evaluate(
    experiment: Experiment, card: Card, trials: Evaluated, history: Sequence[Mapping[str, Any]]
) -> Results:
    """Everything that is told of an experiment. history: the trainings' epochs."""
    e = experiment.evaluation
    train, reference, candidates = trials.train, trials.reference, trials.sampled
    assessment = assess(train, reference, candidates, e)
    labels = split_labels(train, reference, e.label)
    likelihood = autoencoder_likelihood(
        trials.autoencoder, train, reference, labels, dropout=experiment.autoencoder.dropout, seed=e.seed
    )  # fmt: skip
    decoded = _decoded(experiment, trials, labels)
    figures = pictures(assessment, reference, candidates, next(iter(decoded.values())), card)
    figures["training_curves"] = training.training_curves(history)
    return results(
        assessment, figures, decoded, e, len(reference), card.unit_names, likelihood=likelihood
    )


def _decoded(
    experiment: Experiment, trials: Evaluated, labels: SplitLabels
) -> dict[str, Conditional]:
    """What is decoded of the conditions and covariates that each set of samples was asked for."""
    e, d = experiment.evaluation, experiment.diffusion
    train, reference = trials.train, trials.reference
    if d.covariates:
        rates = decoded_rates(trials.autoencoder)
        train, reference = with_rates(train, rates), with_rates(reference, rates)
    return {
        name: decode_samples(
            train, reference, sampled, conditions=[c for c in d.conditions if c != LENGTH],
            covariates=d.covariates, label=e.label, labels=labels, from_s=e.decode_from_s,
        )
        for name, sampled in trials.sampled.items()
    }  # fmt: skip
