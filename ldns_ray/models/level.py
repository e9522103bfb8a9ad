"""The level of a trial, its latents' mean over time, in the denoiser.

The instance norms of the denoiser's blocks subtract each channel's mean over time, so the network's output
does not depend on the level of its input, except through one linear map that knows nothing of the diffusion
time. No such map can denoise the level: it would have to be the identity where there is only noise and zero
where there is none. Levels are then sampled far too wide, most of all in short trials, whose level differs
from trial to trial. Here the level goes around the blocks: the best linear estimate of the noise in it, in
closed form, plus a learned correction; and the embedding is told of it.

Shapes: B trials, D latents, K covariate channels, E embedding.
"""

import torch
from torch import Tensor, nn

from ldns_ray.models.diffusion import linear_schedule


class Level(nn.Module):
    """Noise in the mean over time of noisy latents, and what the embedding should know of the mean.

    Args:
        n_latents: latents D.
        n_covariates: covariate channels K, whose means are inputs too.
        n_embedding: entries E of the embedding.
        n_steps, beta_start, beta_end: the linear noise schedule.

    The covariance of the training trials' levels, whitened by `set_covariance`, is part of the state.
    """

    log_snr: Tensor
    variance: Tensor
    basis: Tensor

    def __init__(
        self,
        *,
        n_latents: int,
        n_covariates: int,
        n_embedding: int,
        n_steps: int,
        beta_start: float,
        beta_end: float,
    ) -> None:
        super().__init__()
        schedule = linear_schedule(n_steps, beta_start, beta_end)
        log_snr = torch.log(schedule.alpha_bar / (1 - schedule.alpha_bar))
        self.register_buffer("log_snr", log_snr, persistent=False)
        self.register_buffer("variance", torch.ones(n_latents))
        self.register_buffer("basis", torch.eye(n_latents))
        hidden = 4 * n_embedding
        self.embed = _from_zero(n_latents + n_covariates, hidden, n_embedding)
        self.correct = _from_zero(n_latents + n_covariates + n_embedding, hidden, n_latents)

    def set_covariance(self, covariance_DD: Tensor) -> None:
        """Take over the covariance of the levels of standardised training latents."""
        variance, basis = torch.linalg.eigh(covariance_DD.double())
        self.variance.copy_(variance.clamp_min(1e-6))
        self.basis.copy_(basis)

    def forward(
        self,
        level_BD: Tensor,
        covariates_BK: Tensor | None,
        n_bins_B: Tensor,
        t_B: Tensor,
        e_BE: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The embedding with the level in it (B, E), and the mean over time of the noise (B, D).

        With level variance v and noise variance (1 - ᾱ)/T of the mean of T bins, the noise expected in a
        level y is sqrt(1 - ᾱ)/T / (ᾱ v + (1 - ᾱ)/T) y, uncertain by sqrt(ᾱ v / T / (ᾱ v + (1 - ᾱ)/T)).
        """
        alpha_bar = torch.sigmoid(_between(self.log_snr, t_B)).to(level_BD.dtype)[:, None]
        per_bin = 1 / n_bins_B.to(level_BD.dtype)[:, None]
        y_BD = level_BD @ self.basis
        signal = alpha_bar * self.variance
        total = signal + (1 - alpha_bar) * per_bin
        whitened = y_BD * total.rsqrt()
        inputs = whitened if covariates_BK is None else torch.cat((whitened, covariates_BK), -1)
        correction = self.correct(torch.cat((inputs, e_BE), -1))
        noise_BD = (1 - alpha_bar).sqrt() * per_bin / total * y_BD
        noise_BD = noise_BD + (signal * per_bin / total).sqrt() * correction
        return e_BE + self.embed(inputs), noise_BD @ self.basis.T


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
