"""Denoising diffusion: noise schedule, training loss, samplers.

Shapes: B trials, T bins, D latents. Steps are numbered 0 … n_steps - 1, from clean to noisy.
A sampler takes `predict_noise(z_BTD, t_B) -> eps_BTD`, the schedule and the initial noise; those that
take fewer steps than the schedule has ask for the noise at fractional steps too.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ldns_ray.checks import one_of
from ldns_ray.models.autoencoder import Loss

PredictNoise = Callable[[Tensor, Tensor], Tensor]
DrawNoise = Callable[[], Tensor]

RENEWAL = 0.25
"""Of the sampler `dpmpp_2m_sde`. In 20 steps, on latents of a premotor recording, spectra are 0.8 dB off with a quarter and
with all of the reverse diffusion's noise, 1.3 dB without; the less noise, the nearer are population counts."""


class Schedule(NamedTuple):
    """Variances of the forward process, (n_steps,), in double precision."""

    beta: Tensor
    alpha_bar: Tensor


def linear_schedule(n_steps: int, beta_start: float, beta_end: float) -> Schedule:
    """Linear variances β and ᾱ_t = Π (1 - β_s): Ho et al. 2020, section 4."""
    beta = torch.linspace(beta_start, beta_end, n_steps, dtype=torch.float64)
    return Schedule(beta, torch.cumprod(1 - beta, 0))


def add_noise(z_BTD: Tensor, eps_BTD: Tensor, alpha_bar_B: Tensor) -> Tensor:
    """Sample q(z_t | z_0): Ho et al. 2020, eq. 4."""
    a = alpha_bar_B.to(z_BTD.dtype)[:, None, None]
    return a.sqrt() * z_BTD + (1 - a).sqrt() * eps_BTD


def diffusion_loss(
    predicted_BTD: Tensor,
    eps_BTD: Tensor,
    mask_BT: Tensor | None,
    *,
    loss: Literal["smooth_l1", "mse"],
    smooth_l1_beta: float,
) -> Loss:
    """Error of the predicted noise over the bins inside trials."""
    if loss == "mse":
        error = nn.functional.mse_loss(predicted_BTD, eps_BTD, reduction="none")
    else:
        error = nn.functional.smooth_l1_loss(
            predicted_BTD, eps_BTD, beta=smooth_l1_beta, reduction="none"
        )
    if mask_BT is not None:
        error = error * mask_BT[..., None]
    n_bins = eps_BTD[..., 0].numel() if mask_BT is None else mask_BT.sum()
    count = torch.as_tensor(n_bins * eps_BTD.shape[-1], device=error.device, dtype=error.dtype)
    return Loss(error.sum(), count)


def estimate_clean(
    z_BTD: Tensor, eps_BTD: Tensor, alpha_bar: float, bound_D: Tensor | None
) -> Tensor:
    """The clean latents that noisy ones and their noise amount to, kept within ± `bound_D` if given.

    At high noise a small error of the noise is a large one of the latents; the range of the training
    latents keeps it from being carried on (static thresholding, Saharia et al. 2022, section 2.3).
    """
    clean_BTD = (z_BTD - (1 - alpha_bar) ** 0.5 * eps_BTD) / alpha_bar**0.5
    return clean_BTD if bound_D is None else clean_BTD.clamp(-bound_D, bound_D)


def ddpm(
    predict_noise: PredictNoise,
    schedule: Schedule,
    z_BTD: Tensor,
    draw_noise: DrawNoise,
    bound_D: Tensor | None = None,
) -> Tensor:
    """Ancestral sampling over every step with the posterior's mean and variance: Ho et al. 2020, eq. 7."""
    for t in reversed(range(len(schedule.beta))):
        beta, alpha_bar = schedule.beta[t].item(), schedule.alpha_bar[t].item()
        eps = predict_noise(z_BTD, z_BTD.new_full((len(z_BTD),), t))
        clean = estimate_clean(z_BTD, eps, alpha_bar, bound_D)
        if t == 0:
            return clean
        before = schedule.alpha_bar[t - 1].item()
        from_clean = before**0.5 * beta / (1 - alpha_bar)
        from_noisy = (1 - beta) ** 0.5 * (1 - before) / (1 - alpha_bar)
        deviation = (beta * (1 - before) / (1 - alpha_bar)) ** 0.5
        z_BTD = from_clean * clean + from_noisy * z_BTD + deviation * draw_noise()
    return z_BTD


def ddim(
    predict_noise: PredictNoise,
    schedule: Schedule,
    z_BTD: Tensor,
    n_steps: int,
    bound_D: Tensor | None = None,
) -> Tensor:
    """Deterministic sampling (DDIM, η = 0): Song et al. 2021, eq. 12; of first order in the step.

    Steps are even in the diffusion time. The last step goes to the clean latents. A `clean` that was bounded
    takes its noise along: the noise is what leads from it to the noisy latents.
    """
    log_snr = _half_log_snr(schedule)
    times = torch.linspace(len(log_snr) - 1, 0, n_steps, dtype=torch.float64)
    nodes = _interpolate(times, torch.arange(len(log_snr), dtype=torch.float64), log_snr)
    alpha_bar = torch.sigmoid(2 * nodes)
    alpha, sigma = alpha_bar.sqrt().tolist(), (1 - alpha_bar).sqrt().tolist()
    for i in range(n_steps):
        eps = predict_noise(z_BTD, z_BTD.new_full((len(z_BTD),), times[i].item()))
        clean = estimate_clean(z_BTD, eps, alpha_bar[i].item(), bound_D)
        if i == n_steps - 1:
            return clean
        z_BTD = alpha[i + 1] * clean + sigma[i + 1] / sigma[i] * (z_BTD - alpha[i] * clean)
    return z_BTD


def dpmpp_2m(
    predict_noise: PredictNoise,
    schedule: Schedule,
    z_BTD: Tensor,
    n_steps: int,
    bound_D: Tensor | None = None,
    draw_noise: DrawNoise | None = None,
    renewal: float = RENEWAL,
) -> Tensor:
    """DPM-Solver++ (2M), data prediction: Lu et al. 2022b, Algorithm 2; of second order.

    Steps are even in the half log signal-to-noise ratio λ; the network is asked at the fractional
    diffusion times in between. The last step goes to the clean latents.

    It solves the deterministic flow; with `draw_noise` a diffusion with the same marginals, which puts new noise in the
    place of a part of the old at every step: `renewal` is the square of its noise, where 1 is the reverse diffusion
    (SDE-DPM-Solver++ (2M), same source) and 0 the flow; in between see Xue et al. 2023 (SA-Solver), section 4. A flow
    carries errors of the network in single bins on to the end; here they are drawn anew.
    """
    log_snr = _half_log_snr(schedule)
    nodes = torch.linspace(log_snr[-1].item(), log_snr[0].item(), n_steps, dtype=torch.float64)
    times = _interpolate(
        nodes, log_snr.flip(0), torch.arange(len(log_snr) - 1, -1, -1, dtype=torch.float64)
    )
    alpha_bar = torch.sigmoid(2 * nodes)
    alpha, sigma = alpha_bar.sqrt().tolist(), (1 - alpha_bar).sqrt().tolist()
    previous: Tensor | None = None
    for i in range(n_steps):
        eps = predict_noise(z_BTD, z_BTD.new_full((len(z_BTD),), times[i].item()))
        clean = estimate_clean(z_BTD, eps, alpha_bar[i].item(), bound_D)
        if i == n_steps - 1:
            return clean
        direction = clean if previous is None else 1.5 * clean - 0.5 * previous  # even steps: r = 1
        step = (nodes[i + 1] - nodes[i]).item()
        if draw_noise is None:
            kept, shrink, fresh = 1.0, -math.expm1(-step), 0.0
        else:
            kept, shrink = math.exp(-renewal * step), -math.expm1(-(1 + renewal) * step)
            fresh = sigma[i + 1] * (-math.expm1(-2 * renewal * step)) ** 0.5
        z_BTD = sigma[i + 1] / sigma[i] * kept * z_BTD + alpha[i + 1] * shrink * direction
        if draw_noise is not None:
            z_BTD = z_BTD + fresh * draw_noise()
        previous = clean
    return z_BTD


def _half_log_snr(schedule: Schedule) -> Tensor:
    """λ = log(α / σ), of every step."""
    return 0.5 * torch.log(schedule.alpha_bar / (1 - schedule.alpha_bar))


def _interpolate(x: Tensor, known_x: Tensor, known_y: Tensor) -> Tensor:
    """Piecewise linear interpolation; `known_x` ascending."""
    right = torch.searchsorted(known_x, x).clamp(1, len(known_x) - 1)
    weight = ((x - known_x[right - 1]) / (known_x[right] - known_x[right - 1])).clamp(0, 1)
    return known_y[right - 1] + weight * (known_y[right] - known_y[right - 1])


Sampler = Callable[[PredictNoise, Schedule, DrawNoise, int, Tensor | None], Tensor]

SAMPLERS: dict[str, Sampler] = {
    "ddpm": lambda predict, schedule, draw, n_steps, bound_D: ddpm(
        predict, schedule, draw(), draw, bound_D
    ),
    "ddim": lambda predict, schedule, draw, n_steps, bound_D: ddim(
        predict, schedule, draw(), n_steps, bound_D
    ),
    "dpmpp_2m": lambda predict, schedule, draw, n_steps, bound_D: dpmpp_2m(
        predict, schedule, draw(), n_steps, bound_D
    ),
    "dpmpp_2m_sde": lambda predict, schedule, draw, n_steps, bound_D: dpmpp_2m(
        predict, schedule, draw(), n_steps, bound_D, draw
    ),
}
"""By name: (predict_noise, schedule, draw_noise, n_steps, bound_D) -> clean latents. `ddpm` takes every step."""


def sampler_named(name: str) -> Sampler:
    """The sampler of this name. Raises ValueError, listing those there are."""
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be {one_of(SAMPLERS)}, got {name!r}.")
    return SAMPLERS[name]
