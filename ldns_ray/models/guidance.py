"""Classifier-free guidance: samples that follow their conditions as trained, more closely, or not at all.

Ho & Salimans 2022 (arXiv 2207.12598). Shapes: B trials, T bins, D latents, C condition entries,
K covariate channels; 2B: the trials with their conditions, then the same trials without.
"""

import math

import torch
from torch import Tensor

from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser, Kernels
from ldns_ray.models.diffusion import PredictNoise


def guide(eps_BTD: Tensor, eps_null_BTD: Tensor, guidance: float) -> Tensor:
    """From the noise predicted without the conditions towards the noise predicted with them: Ho & Salimans
    2022, eq. 6, with guidance = 1 + w."""
    return eps_null_BTD + guidance * (eps_BTD - eps_null_BTD)


def check_guidance(guidance: float, denoiser: Denoiser, conditioning: Conditioning) -> None:
    """Raises ValueError for a guidance that is no number, or that the model was not trained for."""
    if not 0 <= guidance < math.inf:
        raise ValueError(f"guidance must be finite and non-negative, got {guidance}.")
    if guidance == 1 or denoiser.null_E is not None:
        return
    if not conditioning.droppable:
        raise ValueError(
            "guidance must be 1: this model has neither covariates nor conditions that could be dropped (it has: "
            f"{', '.join(conditioning.conditions) or 'none'}), got {guidance}. Train one with "
            "diffusion.conditions or diffusion.covariates, and diffusion.condition_dropout=0.1."
        )
    raise ValueError(
        f"guidance must be 1: this model was not trained with dropped conditions, got {guidance}. "
        "Train one with diffusion.condition_dropout=0.1."
    )


def noise_predictor(
    denoiser: Denoiser,
    conditioning: Conditioning,
    guidance: float,
    *,
    condition_BC: Tensor | None,
    covariates_BTK: Tensor | None,
    mask_BT: Tensor | None,
    kernels: Kernels,
    n_trained: int | None = None,
) -> PredictNoise:
    """What samplers ask for noise: the denoiser with these inputs, guided.

    With guidance 1 the denoiser is called on the trials as they are; else on twice as many at once.
    """
    if guidance == 1:
        return lambda z_BTD, t_B: denoiser(
            z_BTD, t_B, covariates_BTK, condition_BC, mask_BT, kernels, n_trained=n_trained
        )
    given = next(x for x in (condition_BC, covariates_BTK) if x is not None)
    dropped_2B = torch.arange(2 * len(given), device=given.device) >= len(given)
    condition_2BC, covariates_2BTK = conditioning.drop(
        _twice(condition_BC), _twice(covariates_BTK), dropped_2B
    )
    mask_2BT = _twice(mask_BT)

    def predict_noise(z_BTD: Tensor, t_B: Tensor) -> Tensor:
        eps_2BTD = denoiser(
            torch.cat((z_BTD, z_BTD)), torch.cat((t_B, t_B)), covariates_2BTK, condition_2BC,
            mask_2BT, kernels, dropped_2B, n_trained,
        )  # fmt: skip
        eps_BTD, eps_null_BTD = eps_2BTD.chunk(2)
        return guide(eps_BTD, eps_null_BTD, guidance)

    return predict_noise


def _twice(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.cat((x, x))
