"""The parts of an experiment's model as its stages leave them, and the model put together from them."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ldns_ray import storage
from ldns_ray.config import Experiment
from ldns_ray.data.card import Card
from ldns_ray.data.shards import read_card
from ldns_ray.data.streaming import Stream
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.blocks import BLOCK
from ldns_ray.models.conditioning import LENGTH, Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.requests import TrainingDraws
from ldns_ray.training.courses import CourseRegression, course_regression
from ldns_ray.training.networks import expects_course, noise


@dataclass(frozen=True)
class Parts:
    """Where the parts of a model are: each is read when it is first asked for, and kept."""

    experiment: Experiment
    data_uri: str
    """Dataset of spikes."""
    autoencoder_uri: str
    """Folder that the training of the autoencoder left."""
    latents_uri: str
    """Folder of the latents, with their statistics."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Where they are alone travels to other processes, not what was read here."""
        return Parts, (self.experiment, self.data_uri, self.autoencoder_uri, self.latents_uri)

    @cached_property
    def card(self) -> Card:
        return read_card(self.data_uri)

    @cached_property
    def autoencoder_settings(self) -> dict[str, Any]:
        return read_settings(self.autoencoder_uri)

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """The trained autoencoder."""
        model = Autoencoder(**self.autoencoder_settings)
        model.load_state_dict(read_weights(self.autoencoder_uri))
        return model.eval()

    @cached_property
    def latent_statistics(self) -> dict[str, np.ndarray]:
        """`mean`, `std` and `bound` (D,) and `level_covariance` (D, D) of the training latents."""
        record = json.loads(storage.read_bytes(storage.join(self.latents_uri, "stage.json")))
        return {name: np.array(value, np.float32) for name, value in record["summary"].items()}

    @cached_property
    def training_draws(self) -> TrainingDraws:
        """Lengths, conditions and covariates of the training trials, as far as the model uses them."""
        d = self.experiment.diffusion
        conditions = [c for c in d.conditions if c != LENGTH and c in self.card.conditions]
        covariates = [c for c in d.covariates if c in self.card.covariates]
        columns = [f"condition:{c}" for c in conditions] + [f"covariate:{c}" for c in covariates]
        trials = Stream(self.data_uri, "train", columns).load()
        return TrainingDraws(trials.n_bins_S, dict(trials.conditions), dict(trials.covariates))

    @cached_property
    def conditioning(self) -> Conditioning:
        """Conditions and covariates of the diffusion model, with their training statistics."""
        d, draws = self.experiment.diffusion, self.training_draws
        return Conditioning.fit(
            d.conditions, d.covariates, n_bins_S=draws.n_bins_S, conditions=draws.conditions, covariates=draws.covariates
        )  # fmt: skip

    @cached_property
    def course_regression(self) -> CourseRegression | None:
        """What conditions say of the training latents; None where the diffusion model is not to know."""
        d = self.experiment.diffusion
        if not expects_course(d):
            return None
        columns = [f"condition:{name}" for name in d.conditions if name != LENGTH]
        dataset = storage.join(self.latents_uri, "dataset")
        sets = Stream(dataset, "train", ["latents", *columns]).sets(BLOCK)
        z = self.latent_statistics
        return course_regression(sets, self.conditioning, z["mean"], z["std"])

    def model(self, denoiser: Denoiser, settings: dict[str, Any]) -> LDNS:
        """The model around a denoiser with these constructor arguments, with Poisson spikes."""
        z = self.latent_statistics
        return LDNS(
            self.autoencoder, self.autoencoder_settings, denoiser, settings,
            noise(self.experiment.diffusion), z["mean"], z["std"],
            self.conditioning, self.training_draws, self.card.bin_width_s, list(self.card.unit_names),
            latent_bound_D=z["bound"],
        )  # fmt: skip


def trained_denoiser(uri: str) -> tuple[Denoiser, dict[str, Any]]:
    """The denoiser that a training left in a folder, and its constructor arguments."""
    settings = read_settings(uri)
    denoiser = Denoiser(**settings)
    denoiser.load_state_dict(read_weights(uri))
    return denoiser, settings


def read_settings(uri: str) -> dict[str, Any]:
    """The constructor arguments of the network that a training left in a folder."""
    settings: dict[str, Any] = json.loads(storage.read_bytes(storage.join(uri, "settings.json")))
    return settings


def read_weights(uri: str) -> dict[str, torch.Tensor]:
    """The best-validation weights that a training left in a folder."""
    from safetensors.torch import load

    return load(storage.read_bytes(storage.join(uri, "weights.safetensors")))
