"""Trials through the autoencoder, block by block: the one place where they are padded, masked and cut again.

Shapes: B trials of a block, T bins, N units, D latents. Trials are lists of (T_i, channels) arrays.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ldns_ray.models.autoencoder import Autoencoder

BLOCK = 64
"""Trials that go through the networks together. Blocks start at multiples of it, so that a trial's
numbers do not depend on which trials a worker was given."""

Arrays = Sequence[np.ndarray] | np.ndarray


def pad(
    trials: Sequence[np.ndarray], device: torch.device
) -> tuple[Tensor, Tensor | None, list[int]]:
    """Trials side by side, zero-padded, float32, on `device`, with their mask and lengths.

    The mask (B, T) is None where nothing is padded.
    """
    n_bins = [len(x) for x in trials]
    padded = np.zeros((len(trials), max(n_bins), trials[0].shape[1]), np.float32)
    for i, x in enumerate(trials):
        padded[i, : len(x)] = x
    mask_BT = None
    if min(n_bins) != max(n_bins):
        mask_BT = torch.from_numpy(np.arange(max(n_bins)) < np.array(n_bins)[:, None]).to(device)
    return torch.from_numpy(padded).to(device), mask_BT, n_bins


def encode(model: Autoencoder, spikes: Arrays) -> list[np.ndarray]:
    """Latents (T_i, D) of spike counts, a list of (T_i, N) or an array (S, T, N), without dropout."""
    return _in_blocks(model.encode, spikes, next(model.parameters()).device)


def decode(model: Autoencoder, latents: Arrays) -> list[np.ndarray]:
    """Firing rates (T_i, N), in counts per bin, of latents, a list of (T_i, D) or an array (S, T, D)."""
    return _in_blocks(model.decode, latents, next(model.parameters()).device)


@torch.no_grad()
def _in_blocks(
    network: Callable[[Tensor, Tensor | None], Tensor], trials: Arrays, device: torch.device
) -> list[np.ndarray]:
    results: list[np.ndarray] = []
    for start in range(0, len(trials), BLOCK):
        block = [np.asarray(x) for x in trials[start : start + BLOCK]]
        x_BTC, mask_BT, n_bins = pad(block, device)
        y_BTC = network(x_BTC, mask_BT).cpu().numpy()
        results += [y[:n].copy() for y, n in zip(y_BTC, n_bins, strict=True)]
    return results
