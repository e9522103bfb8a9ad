"""The autoencoder: spike counts ↔ smooth, time-aligned latents, and its loss.

Shapes: B trials, T bins, N units, D latents, H width.
Kapoor, Schulz et al. 2024 (arXiv 2407.08751), section 3.1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ldns_ray.models.layers import (
    ChannelLinear,
    ChannelMLP,
    bottleneck_groups,
    channels_first,
    channels_last,
    modulate,
    time_norm,
)
from ldns_ray.models.ssm import S4


class AutoencoderBlock(nn.Module):
    """State-space layer over time, then an MLP over channels, both residual: (H, B, T) → (H, B, T)."""

    def __init__(self, width: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.shift_1, self.scale_1, self.shift_2, self.scale_2 = (
            nn.Parameter(torch.zeros(width)) for _ in range(4)
        )
        self.s4 = S4(width, bidirectional=bidirectional)
        # As a depthwise 1×1 convolution is initialised.
        self.gain = nn.Parameter(torch.empty(width).uniform_(-1, 1))
        self.offset = nn.Parameter(torch.empty(width).uniform_(-1, 1))
        self.mlp = ChannelMLP(width, bias=False)

    def forward(self, x_HBT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        def column(v: Tensor) -> Tensor:
            return v[:, None, None]

        u = modulate(time_norm(x_HBT, mask_BT), column(self.shift_1), column(self.scale_1), mask_BT)
        u = nn.functional.gelu(self.s4(u))
        x = x_HBT + torch.addcmul(column(self.offset), u, column(self.gain))
        return x + self.mlp(
            modulate(time_norm(x, mask_BT), column(self.shift_2), column(self.scale_2))
        )


class Autoencoder(nn.Module):
    """Spike counts to latents to firing rates.

    Args:
        n_units: recorded units N.
        n_latents: latents D.
        width: channels H.
        n_blocks: encoder blocks.
        n_decoder_blocks: decoder blocks; 0 decodes each bin from its latents alone.
        bidirectional: whether the state-space layers look ahead in time.
    """

    def __init__(
        self,
        *,
        n_units: int,
        n_latents: int,
        width: int,
        n_blocks: int,
        n_decoder_blocks: int = 0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.n_units, self.n_latents = n_units, n_latents
        groups = bottleneck_groups(width, n_latents)

        def blocks(n: int) -> nn.ModuleList:
            return nn.ModuleList(
                AutoencoderBlock(width, bidirectional=bidirectional) for _ in range(n)
            )

        self.encoder_in = ChannelLinear(n_units, width)
        self.encoder = blocks(n_blocks)
        self.bottleneck = ChannelLinear(width, n_latents, groups=groups)
        self.unbottleneck = ChannelLinear(n_latents, width, groups=groups)
        self.decoder = blocks(n_decoder_blocks)
        self.decoder_out = ChannelLinear(width, n_units)

    @torch.no_grad()
    def start_at(self, mean_counts_N: Tensor) -> None:
        """Set the output bias so that untrained rates lie near these mean counts per bin."""
        assert self.decoder_out.bias is not None
        self.decoder_out.bias.copy_(mean_counts_N.double().clamp_min(1e-4).expm1().log())

    def forward(self, spikes_BTN: Tensor, mask_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rates (B, T, N) in counts per bin, and latents (B, T, D), of spike counts (B, T, N)."""
        z_BTD = self.encode(spikes_BTN, mask_BT)
        return self.decode(z_BTD, mask_BT), z_BTD

    def encode(self, spikes_BTN: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Latents (B, T, D). Raises ValueError for another number of units than the model's."""
        if spikes_BTN.shape[-1] != self.n_units:
            raise ValueError(
                f"The autoencoder has {self.n_units} units, got spikes of {spikes_BTN.shape[-1]}."
            )
        x_HBT = self.encoder_in(channels_first(spikes_BTN))
        for block in self.encoder:
            x_HBT = block(x_HBT, mask_BT)
        return channels_last(self.bottleneck(x_HBT))

    def decode(self, z_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Rates (B, T, N), in counts per bin, of latents (B, T, D)."""
        x_HBT = self.unbottleneck(channels_first(z_BTD))
        if not self.decoder:
            x_HBT = nn.functional.gelu(x_HBT)
        for block in self.decoder:
            x_HBT = block(x_HBT, mask_BT)
        return channels_last(nn.functional.softplus(self.decoder_out(x_HBT)))


class Loss(NamedTuple):
    """A loss as sum and number of entries, so that workers can add both before they divide."""

    total: Tensor
    n_entries: Tensor

    @property
    def mean(self) -> Tensor:
        return self.total / self.n_entries.clamp_min(1)


def poisson_nll(rates: Tensor, counts: Tensor) -> Tensor:
    """Poisson negative log-likelihood per entry, in nats, log-factorial by Stirling's formula above 1."""
    return nn.functional.poisson_nll_loss(
        rates, counts, log_input=False, full=True, reduction="none"
    )


def coordinated_dropout(spikes_BTN: Tensor, keep_BTN: Tensor, dropout: float) -> Tensor:
    """Hide the entries where `keep_BTN` is false and scale the others up (Keshtkaran & Pandarinath 2019)."""
    return spikes_BTN * keep_BTN / (1 - dropout)


def smoothness(z_BTD: Tensor, mask_BT: Tensor | None, n_lags: int) -> Tensor:
    """Σ_k Σ_t (z_t - z_{t+k})² / (1 + k) for k = 1 … n_lags, over pairs of bins inside trials."""
    total = z_BTD.new_zeros(())
    for lag in range(1, min(n_lags, z_BTD.shape[1] - 1) + 1):
        square = (z_BTD[:, lag:] - z_BTD[:, :-lag]).square()
        if mask_BT is not None:
            square = square * mask_BT[:, lag:, None]
        total = total + square.sum() / (1 + lag)
    return total


def autoencoder_loss(
    model: nn.Module,
    spikes_BTN: Tensor,
    mask_BT: Tensor | None,
    keep_BTN: Tensor,
    *,
    dropout: float,
    latent_penalty: float,
    smoothness_penalty: float,
    smoothness_lags: int,
) -> Loss:
    """Poisson NLL of the hidden entries plus the latent penalties, over all entries inside trials."""
    rates_BTN, z_BTD = model(coordinated_dropout(spikes_BTN, keep_BTN, dropout), mask_BT)
    hidden_BTN = ~keep_BTN if mask_BT is None else ~keep_BTN & mask_BT[..., None]
    total = (poisson_nll(rates_BTN.float(), spikes_BTN) * hidden_BTN).sum()
    z_BTD = z_BTD.float()
    square_BTD = z_BTD.square() if mask_BT is None else z_BTD.square() * mask_BT[..., None]
    total = total + latent_penalty * square_BTD.sum()
    total = total + smoothness_penalty * smoothness(z_BTD, mask_BT, smoothness_lags)
    n_bins = spikes_BTN[..., 0].numel() if mask_BT is None else mask_BT.sum()
    return Loss(
        total,
        torch.as_tensor(n_bins * spikes_BTN.shape[-1], device=total.device, dtype=total.dtype),
    )
