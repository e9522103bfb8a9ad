"""What the autoencoder and the denoiser are built of, with the channel as the first axis.

Shapes: H channels, B trials, T bins. `mask_BT` is true inside trials; None means everywhere.
"""

import math

import torch
from torch import Tensor, nn


def channels_first(x_BTC: Tensor) -> Tensor:
    """(B, T, C) → (C, B, T), contiguous: time last for norms and FFTs, one product per linear layer."""
    return x_BTC.permute(2, 0, 1).contiguous()


def channels_last(x_CBT: Tensor) -> Tensor:
    """(C, B, T) → (B, T, C)."""
    return x_CBT.permute(1, 2, 0)


def bins_inside(x_BTC: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Bins (B,) of each trial, at least 1."""
    if mask_BT is None:
        return x_BTC.new_full((len(x_BTC),), x_BTC.shape[1])
    return mask_BT.sum(-1).clamp_min(1).to(x_BTC.dtype)


def mean_inside(x_BTC: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Mean (B, C) over the bins of each trial."""
    if mask_BT is None:
        return x_BTC.mean(1)
    return (x_BTC * mask_BT[..., None]).sum(1) / bins_inside(x_BTC, mask_BT)[:, None]


class ChannelLinear(nn.Module):
    """Linear map of the channels of each bin (a 1×1 convolution): (C_in, B, T) → (C_out, B, T).

    With `groups` the channels are cut into that many equal runs and each run is mapped by itself.
    """

    def __init__(self, n_in: int, n_out: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        assert n_in % groups == 0
        assert n_out % groups == 0
        self.groups = groups
        bound = 1 / math.sqrt(n_in // groups)
        self.weight = nn.Parameter(torch.empty(n_out, n_in // groups).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound)) if bias else None

    def forward(self, x_CBT: Tensor) -> Tensor:
        _, n_trials, n_bins = x_CBT.shape
        if self.groups == 1:
            out = self.weight @ x_CBT.reshape(len(x_CBT), -1)
        else:
            x = x_CBT.reshape(self.groups, -1, n_trials * n_bins)
            out = torch.bmm(self.weight.view(self.groups, -1, x.shape[1]), x).flatten(0, 1)
        if self.bias is not None:
            out = out.add_(self.bias[:, None])  # addmm would spread the bias over all bins first
        return out.view(-1, n_trials, n_bins)


def bottleneck_groups(wide: int, narrow: int) -> int:
    """Groups of the map between `wide` and `narrow` channels: one per narrow channel where that divides."""
    return narrow if wide > narrow and wide % narrow == 0 else 1


def time_norm(x_HBT: Tensor, mask_BT: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Instance norm: zero mean and unit variance over the bins of each trial and channel.

    Statistics are taken inside the mask alone; values outside are meaningless and finite.
    """
    if mask_BT is None:
        return nn.functional.layer_norm(x_HBT, x_HBT.shape[-1:], eps=eps)
    weight_BT = mask_BT.to(x_HBT.dtype)
    weight_BT = weight_BT / weight_BT.sum(-1, keepdim=True).clamp_min(1)
    mean_HB1 = (x_HBT * weight_BT).sum(-1, keepdim=True)
    centred = (x_HBT - mean_HB1) * mask_BT
    variance_HB1 = (centred * centred * weight_BT).sum(-1, keepdim=True)
    return centred * torch.rsqrt(variance_HB1 + eps)


def modulate(x_HBT: Tensor, shift: Tensor, scale: Tensor, mask_BT: Tensor | None = None) -> Tensor:
    """(1 + scale) x + shift, zero outside the mask; shift and scale broadcast as (H, 1 or B, 1)."""
    out = torch.addcmul(shift, x_HBT, 1 + scale)
    return out if mask_BT is None else out * mask_BT


class ChannelMLP(nn.Sequential):
    """H → 2H, GELU, → H, bin by bin."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__(
            ChannelLinear(width, 2 * width, bias=bias),
            nn.GELU(),
            ChannelLinear(2 * width, width, bias=bias),
        )
