"""Toy latents, and a model of them trained within seconds."""

import numpy as np
import torch

from ldns_ray.config import Diffusion, Optimisation
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.ldns import LDNS, Noise, TrainingDraws
from ldns_ray.training.courses import course_regression
from ldns_ray.training.loop import ResidentData, Trainer, fit
from ldns_ray.training.tasks import DiffusionTask

SCHEDULE = {"n_steps": 100, "beta_start": 1e-3, "beta_end": 0.2}
N_UNITS = 2


def trained(latents, conditions=None, *, epochs, settings=None):
    """An LDNS whose denoiser has learned these latents, a list of (T_i, D), as they are; its autoencoder has not.

    conditions: by name (S, C). settings: of `Diffusion`.
    """
    conditions = conditions or {}
    trials = TrialSet.from_trials(
        [
            Trial(
                spikes=np.zeros((len(z), N_UNITS), np.uint8),
                trial_id=str(i),
                session="s",
                split="train",
                conditions={k: v[i].astype(np.float32) for k, v in conditions.items()},
                latents=z.astype(np.float32),
            )
            for i, z in enumerate(latents)
        ],
        bin_width_s=0.01,
    )
    optimisation = Optimisation(
        epochs=epochs, batch_size=64, learning_rate=5e-3, warmup_epochs=1, validate_every=epochs
    )
    diffusion = Diffusion(
        width=16, n_blocks=2, loss="mse", optimisation=optimisation, **SCHEDULE, **(settings or {})
    )
    conditioning = Conditioning.fit(
        diffusion.conditions, (), n_bins_S=trials.n_bins_S, conditions=trials.conditions, covariates={}
    )  # fmt: skip
    n_latents = latents[0].shape[1]
    autoencoder = {"n_units": N_UNITS, "n_latents": n_latents, "width": 8, "n_blocks": 1}
    denoiser = {
        "n_latents": n_latents, "width": 16, "n_blocks": 2, "n_conditions": conditioning.n_conditions,
        "droppable": diffusion.condition_dropout > 0, "level": SCHEDULE, "course": bool(conditions),
    }  # fmt: skip
    torch.manual_seed(0)
    networks = Autoencoder(**autoencoder), Denoiser(**denoiser)
    levels_SD = np.stack([z.mean(0) for z in latents])
    networks[1].level.set_covariance(torch.as_tensor(levels_SD.T @ levels_SD / len(levels_SD)))
    if conditions:
        found = course_regression([trials], conditioning, np.zeros(n_latents), np.ones(n_latents))
        networks[1].set_course(*map(torch.as_tensor, (found.slope_CPD, found.residual_DD)))
    data = ResidentData(trials, trials.subset(range(4)), optimisation.batch_size, seed=0)
    trainer = Trainer(
        networks[1], DiffusionTask(diffusion, conditioning), optimisation,
        steps_per_epoch=data.steps_per_epoch, seed=0,
    )  # fmt: skip
    fit(trainer, data)
    return LDNS(
        networks[0], autoencoder, networks[1], denoiser, Noise(**SCHEDULE),
        np.zeros(n_latents, np.float32), np.ones(n_latents, np.float32), conditioning,
        TrainingDraws(trials.n_bins_S, dict(trials.conditions), {}), 0.01, ["a", "b"],
        latent_bound_D=np.abs(trials.latents).max(0),
    )  # fmt: skip


def oscillations(n_trials, n_bins, *, seed=0):
    """Two latents that turn around each other, noisily: stationary, of variance 1. A list of (T_i, 2)."""
    rng = np.random.default_rng(seed)
    decay, angle = 0.7, 0.8
    turn = decay * np.exp(1j * angle)
    latents = []
    for n in rng.integers(*n_bins, size=n_trials, endpoint=True):
        noise = rng.normal(size=(n, 2)) @ np.array([1, 1j])
        z = np.empty(n, complex)
        z[0] = noise[0]
        for t in range(1, n):
            z[t] = turn * z[t - 1] + np.sqrt(1 - decay**2) * noise[t]
        latents.append(np.stack((z.real, z.imag), 1))
    return latents


def two_classes(n_trials, n_bins, *, seed=0):
    """One latent around +1 or -1, and the condition that says which: (list of (T, 1), (S, 1))."""
    rng = np.random.default_rng(seed)
    side_S1 = rng.choice([-1.0, 1.0], size=(n_trials, 1))
    level_S1 = side_S1 + rng.normal(0, 0.8, size=(n_trials, 1))
    return [x + rng.normal(0, 0.3, size=(n_bins, 1)) for x in level_S1], side_S1
