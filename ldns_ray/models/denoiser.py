"""The denoiser: noisy latents, diffusion time and optional conditions → the noise.

Shapes: B trials, T bins, D latents, K covariate channels, C condition entries, H width, E = H/4.
Kapoor, Schulz et al. 2024 (arXiv 2407.08751), section 3.2; adaptive norms of Peebles & Xie 2023.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ldns_ray.models.course import Course
from ldns_ray.models.layers import (
    ChannelLinear,
    ChannelMLP,
    bins_inside,
    bottleneck_groups,
    channels_first,
    channels_last,
    mean_inside,
    modulate,
    time_norm,
)
from ldns_ray.models.level import Level
from ldns_ray.models.ssm import S4

N_FREQUENCIES = 128
MAX_PERIOD = 10_000

Kernels = list[Tensor]


def time_features(t_B: Tensor) -> Tensor:
    """Sinusoidal features (B, 256) of diffusion times, cosines first (Vaswani et al. 2017)."""
    exponent = torch.arange(N_FREQUENCIES, device=t_B.device, dtype=torch.float32) / N_FREQUENCIES
    angle = t_B.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponent)
    return torch.cat((angle.cos(), angle.sin()), -1)


class DenoiserBlock(nn.Module):
    """State-space layer and MLP, each shifted, scaled and gated by the embedding (adaLN-zero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width // 4, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.s4 = S4(width, bidirectional=True)
        self.mlp = ChannelMLP(width, bias=True)

    def forward(
        self,
        x_HBT: Tensor,
        e_BE: Tensor,
        mask_BT: Tensor | None,
        taps: Tensor | None = None,
    ) -> Tensor:
        six = self.modulation(nn.functional.gelu(e_BE)).T.contiguous()[..., None].chunk(6)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = six
        u = modulate(time_norm(x_HBT, mask_BT), shift_1, scale_1, mask_BT)
        x = torch.addcmul(x_HBT, gate_1, nn.functional.gelu(self.s4(u, taps)))
        return torch.addcmul(x, gate_2, self.mlp(modulate(time_norm(x, mask_BT), shift_2, scale_2)))


class Denoiser(nn.Module):
    """Predicts the noise in standardised latents.

    Args:
        n_latents: latents D.
        width: channels H, a multiple of 4.
        n_blocks: blocks.
        n_covariates: per-bin covariate channels K, concatenated to the latents.
        n_conditions: entries C of the per-trial condition vector, added to the time embedding.
        head_gain: factor on the output layer's initial weight and bias.
        droppable: whether conditions and covariates can be left out: a learned embedding, zero at first, then
            says so.
        level: the noise schedule (`n_steps`, `beta_start`, `beta_end`), to give the network sight of each trial's
            mean over time, see `level.py`; None for the network as published.
        course: whether the course of the latents is expected to depend on the condition, see `course.py`; the network
            then needs sight of the levels too.
    """

    def __init__(
        self,
        *,
        n_latents: int,
        width: int,
        n_blocks: int,
        n_covariates: int = 0,
        n_conditions: int = 0,
        head_gain: float = 1.0,
        droppable: bool = False,
        level: Mapping[str, float] | None = None,
        course: bool = False,
    ) -> None:
        super().__init__()
        if width % 4:
            raise ValueError(f"width must be a multiple of 4, got {width}.")
        if course and (level is None or not n_conditions):
            raise ValueError(
                f"A course needs conditions and level, got {n_conditions} condition entries and level {level}. Leave "
                "course out."
            )
        self.n_latents, self.n_covariates, self.n_conditions = n_latents, n_covariates, n_conditions
        n_channels, n_embedding = n_latents + n_covariates, width // 4
        groups = bottleneck_groups(width, n_channels)
        self.conv_in = ChannelLinear(n_channels, width, groups=groups)
        self.blocks = nn.ModuleList(DenoiserBlock(width) for _ in range(n_blocks))
        self.conv_out = ChannelLinear(width, n_channels, groups=groups)
        with torch.no_grad():
            for parameter in self.conv_out.parameters():
                parameter.mul_(head_gain)

        def embed(n_in: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(n_in, n_embedding), nn.SiLU(), nn.Linear(n_embedding, n_embedding)
            )

        self.embed_time = embed(2 * N_FREQUENCIES)
        self.embed_condition = embed(n_conditions) if n_conditions else None
        self.null_E = nn.Parameter(torch.zeros(n_embedding)) if droppable else None
        self.level = None
        if level is not None:
            self.level = Level(
                n_latents=n_latents,
                n_covariates=n_covariates,
                n_embedding=n_embedding,
                n_steps=int(level["n_steps"]),
                beta_start=level["beta_start"],
                beta_end=level["beta_end"],
                course=course,
            )
        self.course = Course(n_latents=n_latents, n_conditions=n_conditions) if course else None

    def set_course(self, slope_CPD: Tensor, residual_DD: Tensor) -> None:
        """Take over the courses that are expected of standardised conditions, and the covariance of the mean over time of
        what is left of standardised training latents; see `training.courses`.
        """
        assert self.course is not None
        assert self.level is not None
        self.course.slope_CPD.copy_(slope_CPD)
        self.level.set_covariance_left(residual_DD)

    def kernels(self, n_bins: int, n_trained: int | None = None) -> Kernels:
        """Every block's kernel for trials padded to `n_bins`: they do not depend on the diffusion time.

        Kernels reach no further than `n_trained` bins, the longest trial in training, if given: beyond it no
        data has said what they should be.
        """
        kernels: Kernels = [block.s4.taps_fft(n_bins) for block in self.blocks]  # type: ignore[union-attr, operator]
        if n_trained is None or n_bins <= n_trained:
            return kernels
        return [_within(taps_HF, n_trained) for taps_HF in kernels]

    def forward(
        self,
        z_BTD: Tensor,
        t_B: Tensor,
        covariates_BTK: Tensor | None = None,
        condition_BC: Tensor | None = None,
        mask_BT: Tensor | None = None,
        kernels: Kernels | None = None,
        dropped_B: Tensor | None = None,
        n_trained: int | None = None,
    ) -> Tensor:
        """Noise (B, T, D) in `z_BTD` at steps `t_B` (0 … n_steps - 1).

        `n_trained`, the longest trial in training, is for trials that are longer, see `_levelled`.
        `dropped_B` is True where `Conditioning.drop` left out a trial's conditions and covariates; None: nowhere.
        Raises ValueError if covariates or the condition are missing, not asked for, or of another size, or
        dropped where the denoiser was not made for it.
        """
        self._check("covariates", covariates_BTK, self.n_covariates)
        self._check("condition", condition_BC, self.n_conditions)
        e_BE = self.embed_time(time_features(t_B).to(z_BTD.dtype))
        if self.embed_condition is not None:
            e_BE = e_BE + self.embed_condition(condition_BC)
        if dropped_B is not None:
            if self.null_E is None:
                raise ValueError(
                    "The denoiser was not made to do without conditions, but got trials without. "
                    "Train one with diffusion.condition_dropout."
                )
            e_BE = e_BE + dropped_B[:, None] * self.null_E
        level_noise_BD = None
        if self.level is not None:
            n_bins_B = bins_inside(z_BTD, mask_BT)
            if self.course is not None:
                course_BTD = self.course(condition_BC, n_bins_B, z_BTD.shape[1])
                share_B = self.level.alpha_bar(t_B).sqrt().to(z_BTD.dtype)
                if dropped_B is not None:
                    share_B = share_B.masked_fill(dropped_B, 0.0)
                z_BTD = z_BTD - share_B[:, None, None] * course_BTD
            level_BD = mean_inside(z_BTD, mask_BT)
            z_BTD = z_BTD - level_BD[:, None]
            means_BK = None if covariates_BTK is None else mean_inside(covariates_BTK, mask_BT)
            e_BE, level_noise_BD = self.level(level_BD, means_BK, n_bins_B, t_B, e_BE, dropped_B)
        x_BTC = z_BTD if covariates_BTK is None else torch.cat((z_BTD, covariates_BTK), -1)
        x_HBT = self.conv_in(channels_first(x_BTC))
        for i, block in enumerate(self.blocks):
            x_HBT = block(x_HBT, e_BE, mask_BT, None if kernels is None else kernels[i])
        eps_BTD = channels_last(self.conv_out(x_HBT)[: self.n_latents])
        if level_noise_BD is None:
            return eps_BTD
        if n_trained is not None:
            eps_BTD = _levelled(eps_BTD, mask_BT, n_trained)
        return eps_BTD + level_noise_BD[:, None]

    @staticmethod
    def _check(name: str, value: Tensor | None, size: int) -> None:
        got = 0 if value is None else value.shape[-1]
        if got != size:
            raise ValueError(f"The denoiser was made for {size} {name} entries, got {got}.")


def _within(taps_HF: Tensor, n_lags: int) -> Tensor:
    """The FFT of taps, without those at lags of `n_lags` and more, forward or backward."""
    taps_HL = torch.fft.irfft(taps_HF)
    taps_HL[:, n_lags : taps_HL.shape[-1] - n_lags + 1] = 0
    return torch.fft.rfft(taps_HL)


def _levelled(eps_BTD: Tensor, mask_BT: Tensor | None, n_trained: int) -> Tensor:
    """The blocks' noise with its mean over time damped by n_trained / T in trials of more bins T.

    The mean of the noise over T bins has standard deviation T^-1/2, and only the level's own estimate knows T.
    The error of the blocks' mean does not shrink with T: harmless beside the noise in trials as long as those of
    training, it moves the levels of trials 16 times as long by several standard deviations.
    """
    surplus_B = 1 - (n_trained / bins_inside(eps_BTD, mask_BT)).clamp_max(1)
    return eps_BTD - (surplus_B[:, None] * mean_inside(eps_BTD, mask_BT))[:, None]
