"""What is done to whole datasets between trainings: encode, fit the observation model, sample.

Plain functions of URIs and models, called in a job's process or on a worker with a GPU.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ldns_ray.data.batches import TrialSet, trials_of
from ldns_ray.data.card import Card
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trialset, read_card, write_dataset
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

    Returns, of the training split, or of the first where there is none: mean and standard deviation of each
    latent, the largest absolute standardised value (`bound`), and the covariance of the trials' mean
    standardised latents (`level_covariance`). Raises ValueError if the units differ from the model's.
    """
    card = read_card(data_uri)
    check_units(model, card, data_uri)
    encoded = {split: encode_split(model, data_uri, split, rates=rates) for split in card.splits}

    def all_trials() -> Iterator[Trial]:
        for split, trials in encoded.items():
            yield from trials_of(trials, split)

    write_dataset(
        all_trials(), out_uri, name=f"{card.name}, encoded", bin_width_s=card.bin_width_s,
        covariate_units=_units(card.covariates), condition_units=_units(card.conditions),
        source=card.source, citation=card.citation, licence=card.licence, unit_names=card.unit_names,
        provenance={"dataset": card.fingerprint, **(provenance or {})}, overwrite=overwrite,
    )  # fmt: skip
    return latent_statistics(encoded[statistics_split(card)])


def check_units(model: Autoencoder, card: Card, data_uri: str) -> None:
    """Raise ValueError if the dataset's units differ from the model's."""
    if card.n_units != model.n_units:
        raise ValueError(
            f"{data_uri} has {card.n_units} units, the model was trained on {model.n_units}."
        )


def encode_split(
    model: Autoencoder,
    data_uri: str,
    split: str,
    *,
    rates: bool = False,
    columns: Sequence[str] | None = None,
) -> TrialSet:
    """A split with its latents, and decoded rates if asked for; with `columns`, these optional columns alone."""
    model = model.to(best_device()).eval()
    trials = dataclasses.replace(load_trialset(data_uri, split, columns), rates=None)
    latents = encode(model, trials.spikes_list())
    trials = dataclasses.replace(trials, latents=np.concatenate(latents))
    if rates:
        trials = dataclasses.replace(trials, rates=np.concatenate(decode(model, latents)))
    return trials


def statistics_split(card: Card) -> str:
    """The split whose latents are taken for the training latents."""
    return "train" if "train" in card.splits else next(iter(card.splits))


def latent_statistics(trials: TrialSet) -> dict[str, Any]:
    """What `encode_dataset` returns, as JSON values."""
    assert trials.latents is not None
    z = trials.latents.astype(np.float64)
    mean_D, std_D = z.mean(0), np.maximum(z.std(0), 1e-6)
    z = (z - mean_D) / std_D
    levels_SD = np.stack([trial.mean(0) for trial in trials.per_trial(z)])
    return {
        "mean": mean_D.tolist(),
        "std": std_D.tolist(),
        "bound": np.abs(z).max(0).tolist(),
        "level_covariance": (levels_SD.T @ levels_SD / len(levels_SD)).tolist(),
    }


def _units(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(d["unit"]) for name, d in described.items()}


def fit_observation(
    model: LDNS, trials: TrialSet, history_bins: int, count_cap: int
) -> SpikeHistory:
    """The spike-history model of training trials that carry their latents."""
    rates = model.to(best_device()).decode(trials.latents_list())
    return fit_spike_history(
        trials.spikes_list(), rates, n_history=history_bins, count_cap=count_cap
    )


def sample_dataset(
    model_uri: str,
    out_uri: str,
    n: int,
    *,
    sampler: str,
    n_steps: int,
    seed: int,
    guidance: float = 1.0,
    n_bins: int | Sequence[int] | np.ndarray | None = None,
    condition: Mapping[str, np.ndarray] | None = None,
    covariates: Mapping[str, Sequence[np.ndarray]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = True,
) -> Card:
    """Sample `n` trials from the model at `model_uri` into a dataset: spikes, rates, latents, conditions."""
    model = LDNS.load(model_uri).to(best_device())
    # All at once, so that what is wrong with a late trial is told before the first is sampled.
    requests = model.requests(n, n_bins, condition, covariates, seed=seed)

    def all_trials() -> Iterator[Trial]:
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            asked = requests.rows(start, stop)
            block = model.sample(
                stop - start, n_bins=asked.n_bins, condition=asked.conditions, covariates=asked.covariates, sampler=sampler, n_steps=n_steps,
                guidance=guidance, seed=seed, first_trial=start,
            )  # fmt: skip
            for i in range(stop - start):
                yield Trial(
                    spikes=block.spikes[i],
                    trial_id=f"sample-{start + i:07d}",
                    session="sampled",
                    split="test",
                    covariates={k: v[i] for k, v in block.covariates.items()},
                    conditions={k: v[i] for k, v in block.conditions.items()},
                    rates=block.rates[i],
                    latents=block.latents[i],
                )

    return write_dataset(
        all_trials(), out_uri, name="LDNS samples", bin_width_s=model.bin_width_s, source="sampled by ldns_ray",
        unit_names=model.unit_names, provenance=dict(provenance or {}), overwrite=overwrite,
    )  # fmt: skip
