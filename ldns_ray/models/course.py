"""The course of a trial's latents that its condition makes one expect, in the denoiser.

Latents of a trial are a course that follows from the condition, such as the direction of a reach, and what is left.
The denoiser sees, and denoises, what is left: of noisy latents √ᾱ z + √(1 - ᾱ) ε the course m is subtracted as √ᾱ m,
and the noise ε to predict is the same. The course is linear in the condition, by regression over the training trials.
So samples follow conditions that were seen from the first step of training on, and conditions between those, or
beyond, as far as latents are linear in them; to the network, a condition never seen is no new place to be.

Shapes: B trials, T bins, D latents, C condition entries, P points of time relative to the trial's length.
"""

import torch
from torch import Tensor, nn

N_POINTS = 64


class Course(nn.Module):
    """Standardised latents expected of standardised conditions, `condition @ slope` at each point.

    Point i is at (i + ½) / P of a trial's length; between points it is interpolated.

    Args:
        n_latents: latents D.
        n_conditions: condition entries C.

    The slope is part of the state; zero until it is set.
    """

    slope_CPD: Tensor

    def __init__(self, *, n_latents: int, n_conditions: int) -> None:
        super().__init__()
        self.register_buffer("slope_CPD", torch.zeros(n_conditions, N_POINTS, n_latents))

    def forward(self, condition_BC: Tensor, n_bins_B: Tensor, n_bins: int) -> Tensor:
        """Courses (B, `n_bins`, D) of trials of `n_bins_B` bins; what lies beyond a trial's end is as at its end."""
        with torch.autocast(condition_BC.device.type, enabled=False):
            points_BPD = torch.einsum("bc,cpd->bpd", condition_BC.float(), self.slope_CPD)
            bins_T = torch.arange(n_bins, device=n_bins_B.device) + 0.5
            place_BT = (bins_T / n_bins_B[:, None] * N_POINTS - 0.5).clamp(0, N_POINTS - 1)
            low_BT = place_BT.floor().long().clamp_max(N_POINTS - 2)
            width = points_BPD.shape[-1]
            low_BTD = points_BPD.gather(1, low_BT[..., None].expand(-1, -1, width))
            high_BTD = points_BPD.gather(1, (low_BT + 1)[..., None].expand(-1, -1, width))
            return torch.lerp(low_BTD, high_BTD, (place_BT - low_BT)[..., None])
