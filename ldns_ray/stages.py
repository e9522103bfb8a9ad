"""What is done to whole datasets between trainings: encode, fit the observation model; where samples come from.

Plain functions of URIs and models, called in a job's process or on a worker with a GPU.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ldns_ray import storage
from ldns_ray.data.batches import TrialSet, trials_of
from ldns_ray.data.card import Card
from ldns_ray.data.moments import LatentMoments
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import read_card, write_dataset
from ldns_ray.data.streaming import Stream
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.blocks import BLOCK, decode, encode
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.observation import SpikeHistory, fit_spike_history


def best_device() -> torch.device:
    """The GPU, if this process has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def encode_dataset(
    model: Autoencoder,
    data_uri: str,
    out_uri: str,
    *,
    rates: bool = False,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = True,
) -> dict[str, Any]:
    """Write the dataset again with its latents (and decoded rates): trials, splits, conditions stay.

    Trials pass through a few at a time: memory does not grow with the dataset.
    Returns, of the training split, or of the first where there is none: mean and standard deviation of each
    latent, the largest absolute standardised value (`bound`), and the covariance of the trials' mean
    standardised latents (`level_covariance`). Raises ValueError if the units differ from the model's.
    """
    card = read_card(data_uri)
    check_units(model, card, data_uri)
    moments = LatentMoments()

    def all_trials() -> Iterator[Trial]:
        for split in card.splits:
            for trials in encoded(model, data_uri, split, rates=rates):
                if split == statistics_split(card):
                    moments.add(trials)
                yield from trials_of(trials, split)

    write_dataset(
        all_trials(), out_uri, name=f"{card.name}, encoded", bin_width_s=card.bin_width_s,
        covariate_units=units_of(card.covariates), condition_units=units_of(card.conditions),
        source=card.source, citation=card.citation, licence=card.licence, unit_names=card.unit_names,
        provenance={"dataset": card.fingerprint, **(provenance or {})}, overwrite=overwrite,
    )  # fmt: skip
    return moments.statistics()


def check_units(model: Autoencoder, card: Card, data_uri: str) -> None:
    """Raise ValueError if the dataset's units differ from the model's."""
    if card.n_units != model.n_units:
        raise ValueError(
            f"{data_uri} has {card.n_units} units, the model was trained on {model.n_units}."
        )


def encoded(
    model: Autoencoder,
    data_uri: str,
    split: str,
    *,
    rates: bool = False,
    columns: Sequence[str] | None = None,
) -> Iterator[TrialSet]:
    """A split with its latents, and decoded rates if asked for, a block of trials at a time.

    columns: those to read besides the spikes; all covariates and conditions if None.
    """
    model = model.to(best_device()).eval()
    if columns is None:
        card = read_card(data_uri)
        columns = [f"covariate:{k}" for k in card.covariates]
        columns += [f"condition:{k}" for k in card.conditions]
    for trials in Stream(data_uri, split, ["spikes", *columns]).sets(BLOCK):
        latents = encode(model, trials.spikes_list())
        yield dataclasses.replace(
            trials,
            latents=np.concatenate(latents),
            rates=np.concatenate(decode(model, latents)) if rates else None,
        )


def statistics_split(card: Card) -> str:
    """The split whose latents are taken for the training latents."""
    return "train" if "train" in card.splits else next(iter(card.splits))


def units_of(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The units of a card's covariates or conditions, by their names."""
    return {name: str(d["unit"]) for name, d in described.items()}


def fit_observation(
    model: LDNS, trials: TrialSet, history_bins: int, count_cap: int
) -> SpikeHistory:
    """The spike-history model of training trials that carry their latents."""
    rates = model.to(best_device()).decode(trials.latents_list())
    return fit_spike_history(
        trials.spikes_list(), rates, n_history=history_bins, count_cap=count_cap
    )


def origin(model: LDNS, model_uri: str) -> dict[str, str]:
    """What a dataset of samples says of the model they come from.

    `model` (absolute path or URI), `model_fingerprint`, and, as far as the model knows them: `model_commit`, the code
    that trained it, `experiment`, its settings' name, `dataset` and `dataset_name`, fingerprint and name of the
    training data.
    """
    known = model.provenance
    told = {
        "model": storage.absolute(model_uri),
        "model_fingerprint": model_fingerprint(model_uri),
        "model_commit": known.get("commit"),
        "experiment": known.get("experiment", {}).get("name"),
        "dataset": known.get("dataset"),
        "dataset_name": known.get("dataset_name"),
    }
    return {name: value for name, value in told.items() if value}


def model_fingerprint(model_uri: str) -> str:
    """Sixteen hexadecimal digits of a saved model's weights, its config, and what it was made of."""
    digest = hashlib.sha256()
    for file in ("model.safetensors", "config.json"):
        digest.update(storage.read_bytes(storage.join(model_uri, file)))
    return digest.hexdigest()[:16]
