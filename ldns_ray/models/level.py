"""The level of a trial, its latents' mean over time, in the denoiser.

The instance norms of the denoiser's blocks subtract each channel's mean over time, so the network's output
does not depend on the level of its input, except through one linear map that knows nothing of the diffusion
time. No such map can denoise the level: it would have to be the identity where there is only noise and zero
where there is none. Levels are then sampled far too wide, most of all in short trials, whose level differs
from trial to trial. Here the level goes around the blocks: the best linear estimate of the noise in it, in
closed form, plus a learned correction; and the embedding is told of it.

Where a course is expected of a trial's condition (`course.py`), the level is of what is left of the latents, and so is
its covariance; where the condition is not known, of the latents themselves.

Shapes: B trials, D latents, K covariate channels, E embedding.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ldns_ray.models.diffusion import linear_schedule


class _Estimate(NamedTuple):
    """Of the noise in levels, in the eigenbasis of their covariance."""

    whitened_BD: Tensor
    """The levels, of unit variance."""
    noise_BD: Tensor
    """The noise that is expected in them."""
    sd_BD: Tensor
    """By how much it is uncertain."""


class Level(nn.Module):
    """Noise in the mean over time of noisy latents, and what the embedding should know of the mean.

    Args:
        n_latents: latents D.
        n_covariates: covariate channels K, whose means are inputs too.
        n_embedding: entries E of the embedding.
        n_steps, beta_start, beta_end: the linear noise schedule.
        course: whether levels are of what a course leaves of the latents, unless the condition was dropped.

    The covariance of the training trials' levels, from `set_covariance`, and of what a course leaves of them, from
    `set_covariance_left`, are part of the state.
    """

    log_snr: Tensor
    variance: Tensor
    basis: Tensor
    variance_left: Tensor
    basis_left: Tensor

    def __init__(
        self,
        *,
        n_latents: int,
        n_covariates: int,
        n_embedding: int,
        n_steps: int,
        beta_start: float,
        beta_end: float,
        course: bool = False,
    ) -> None:
        super().__init__()
        schedule = linear_schedule(n_steps, beta_start, beta_end)
        log_snr = torch.log(schedule.alpha_bar / (1 - schedule.alpha_bar))
        self.register_buffer("log_snr", log_snr, persistent=False)
        self.register_buffer("variance", torch.ones(n_latents))
        self.register_buffer("basis", torch.eye(n_latents))
        self.after_course = course
        if course:
            self.register_buffer("variance_left", torch.ones(n_latents))
            self.register_buffer("basis_left", torch.eye(n_latents))
        hidden = 4 * n_embedding
        self.embed = _from_zero(n_latents + n_covariates, hidden, n_embedding)
        self.correct = _from_zero(n_latents + n_covariates + n_embedding, hidden, n_latents)

    def set_covariance(self, covariance_DD: Tensor) -> None:
        """Take over the covariance of the levels of standardised training latents."""
        _set_eigen(self.variance, self.basis, covariance_DD)

    def set_covariance_left(self, covariance_DD: Tensor) -> None:
        """Take over the covariance of what the course leaves of the levels."""
        _set_eigen(self.variance_left, self.basis_left, covariance_DD)

    def alpha_bar(self, t_B: Tensor) -> Tensor:
        """ᾱ (B,) at times that may lie between whole steps."""
        return torch.sigmoid(_between(self.log_snr, t_B))

    def forward(
        self,
        level_BD: Tensor,
        covariates_BK: Tensor | None,
        n_bins_B: Tensor,
        t_B: Tensor,
        e_BE: Tensor,
        dropped_B: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The embedding with the level in it (B, E), and the mean over time of the noise (B, D).

        With level variance v and noise variance (1 - ᾱ)/T of the mean of T bins, the noise expected in a
        level y is sqrt(1 - ᾱ)/T / (ᾱ v + (1 - ᾱ)/T) y, uncertain by sqrt(ᾱ v / T / (ᾱ v + (1 - ᾱ)/T)).
        After a course, v is what it leaves; not where `dropped_B` says that the condition is not known.
        """
        with torch.autocast(level_BD.device.type, enabled=False):  # small sums of large numbers
            e_BE = e_BE.to(level_BD.dtype)
            alpha_bar = self.alpha_bar(t_B).to(level_BD.dtype)[:, None]
            per_bin = 1 / n_bins_B.to(level_BD.dtype)[:, None]
            found = _estimate(level_BD, self.variance, self.basis, alpha_bar, per_bin)
            if not self.after_course:
                inputs = _beside(found.whitened_BD, covariates_BK)
                correction = self.correct(torch.cat((inputs, e_BE), -1))
                noise_BD = (found.noise_BD + found.sd_BD * correction) @ self.basis.T
                return e_BE + self.embed(inputs), noise_BD
            left = _estimate(level_BD, self.variance_left, self.basis_left, alpha_bar, per_bin)
            # Both in the coordinates of the latents, so that the networks see the same in both.
            whitened_BD = left.whitened_BD @ self.basis_left.T
            if dropped_B is not None:
                whitened_BD = torch.where(dropped_B[:, None], found.whitened_BD @ self.basis.T, whitened_BD)  # fmt: skip
            inputs = _beside(whitened_BD, covariates_BK)
            correction = self.correct(torch.cat((inputs, e_BE), -1))
            noise_BD = _corrected(left, correction, self.basis_left)
            if dropped_B is not None:
                noise_BD = torch.where(dropped_B[:, None], _corrected(found, correction, self.basis), noise_BD)  # fmt: skip
            return e_BE + self.embed(inputs), noise_BD


def _set_eigen(variance_D: Tensor, basis_DD: Tensor, covariance_DD: Tensor) -> None:
    variance, basis = torch.linalg.eigh(covariance_DD.double())
    variance_D.copy_(variance.clamp_min(1e-6))
    basis_DD.copy_(basis)


def _estimate(
    level_BD: Tensor, variance_D: Tensor, basis_DD: Tensor, alpha_bar: Tensor, per_bin: Tensor
) -> _Estimate:
    """Of levels of mean zero with this covariance."""
    y_BD = level_BD @ basis_DD
    signal = alpha_bar * variance_D
    total = signal + (1 - alpha_bar) * per_bin
    return _Estimate(
        y_BD * total.rsqrt(), (1 - alpha_bar).sqrt() * per_bin / total * y_BD, (signal * per_bin / total).sqrt()
    )  # fmt: skip


def _corrected(estimate: _Estimate, correction_BD: Tensor, basis_DD: Tensor) -> Tensor:
    """The noise with a correction, both in the coordinates of the latents."""
    return (estimate.noise_BD + estimate.sd_BD * (correction_BD @ basis_DD)) @ basis_DD.T


def _beside(whitened_BD: Tensor, covariates_BK: Tensor | None) -> Tensor:
    return whitened_BD if covariates_BK is None else torch.cat((whitened_BD, covariates_BK), -1)


def _between(values: Tensor, t_B: Tensor) -> Tensor:
    """`values` at times that may lie between whole steps."""
    low = t_B.floor().long().clamp(0, len(values) - 1)
    high = (low + 1).clamp_max(len(values) - 1)
    return torch.lerp(values[low], values[high], (t_B - low).to(values.dtype))


def _from_zero(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """A small MLP whose output starts at zero."""
    last = nn.Linear(n_hidden, n_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.SiLU(), last)
