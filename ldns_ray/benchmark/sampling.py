"""Sampling time of the paper's reach model: every diffusion step, and a few solver steps."""

import numpy as np
import torch

from ldns_ray.benchmark.timing import timed
from ldns_ray.config import experiment
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.requests import TrainingDraws
from ldns_ray.training.networks import autoencoder_settings, denoiser_settings, noise

N_UNITS, N_BINS = 182, 140
FEW_STEPS = 20


def untrained_model(name: str = "reach", n_units: int = N_UNITS, n_bins: int = N_BINS) -> LDNS:
    """The model of a named experiment with its initial weights, Poisson, without conditions."""
    e = experiment(name)
    lengths = np.full(1, n_bins)
    conditioning = Conditioning.fit((), (), n_bins_S=lengths, conditions={}, covariates={})
    autoencoder = autoencoder_settings(e.autoencoder, n_units)
    denoiser = denoiser_settings(e.diffusion, e.autoencoder.n_latents, conditioning)
    ones = np.ones(e.autoencoder.n_latents, np.float32)
    return LDNS(
        Autoencoder(**autoencoder), autoencoder, Denoiser(**denoiser), denoiser, noise(e.diffusion), 0 * ones, ones,
        conditioning, TrainingDraws(lengths, {}, {}), 0.005, [f"unit {i}" for i in range(n_units)],
        latent_bound_D=5 * ones,
    )  # fmt: skip


def sampling(
    device: torch.device, *, n_trials: int = 2000, batch: int = 8, model: LDNS | None = None
) -> dict[str, float]:
    """Time one batch by `ddpm` over the whole schedule and by `dpmpp_2m_sde` in `FEW_STEPS` steps.

    Returns `batch`, `ddpm_s`, `dpmpp_2m_sde_s`, `speedup`; and, on a GPU measured, on a CPU reckoned from the
    batch, `ddpm_all_s` and `dpmpp_2m_sde_all_s` for `n_trials`.
    """
    model = (model or untrained_model()).to(device)
    model.sample(1, sampler="dpmpp_2m_sde", n_steps=1)  # what is set up once

    def seconds(n: int, sampler: str) -> float:
        return timed(lambda: model.sample(n, sampler=sampler, n_steps=FEW_STEPS), device)[0]

    slow, fast = seconds(batch, "ddpm"), min(seconds(batch, "dpmpp_2m_sde") for _ in range(5))
    if device.type == "cuda":
        all_slow, all_fast = seconds(n_trials, "ddpm"), seconds(n_trials, "dpmpp_2m_sde")
    else:
        all_slow, all_fast = (s * n_trials / batch for s in (slow, fast))
    return {
        "batch": batch, "ddpm_s": slow, "dpmpp_2m_sde_s": fast, "speedup": slow / fast,
        "n_trials": n_trials, "ddpm_all_s": all_slow, "dpmpp_2m_sde_all_s": all_fast,
    }  # fmt: skip
