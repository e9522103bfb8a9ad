"""What is known of all trials after one pass over them, a set at a time.

Shapes: S trials, T bins, N units, D latents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ldns_ray.data.batches import TrialSet

SMALLEST_STD = 1e-6


def mean_counts(sets: Iterable[TrialSet]) -> np.ndarray:
    """(N,) float64 mean spike count per bin of each unit, exact: sums are of integers."""
    total, n_bins = np.zeros(1, np.int64), 0
    for trials in sets:
        total = total + trials.spikes.sum(0, dtype=np.int64)
        n_bins += len(trials.spikes)
    return total / n_bins


class Moments:
    """Mean and co-moments of rows, in float64; sets are merged as in Chan, Golub & LeVeque (1979)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean_D: np.ndarray = np.zeros(())
        self.squares_DD: np.ndarray = np.zeros(())
        """Sum over rows of the outer product of their distance to the mean."""

    def add(self, x_SD: np.ndarray) -> None:
        """Rows of float64, at least one."""
        n, mean_D = len(x_SD), x_SD.mean(0)
        centred_SD = x_SD - mean_D
        between_D = mean_D - self.mean_D
        total = self.n + n
        self.squares_DD = (
            self.squares_DD
            + centred_SD.T @ centred_SD
            + np.multiply.outer(between_D, between_D) * (self.n * n / total)
        )
        self.mean_D = self.mean_D + between_D * (n / total)
        self.n = total


class LatentMoments:
    """Statistics of latents, of which each trial is seen once."""

    def __init__(self) -> None:
        self._bins, self._levels = Moments(), Moments()
        self._least_D: np.ndarray = np.array(np.inf)
        self._most_D: np.ndarray = np.array(-np.inf)

    def add(self, trials: TrialSet) -> None:
        """Raises ValueError for trials without latents."""
        levels_SD = np.stack([z.mean(0, dtype=np.float64) for z in trials.latents_list()])
        assert trials.latents is not None
        self._bins.add(trials.latents.astype(np.float64))
        self._levels.add(levels_SD)
        self._least_D = np.minimum(self._least_D, trials.latents.min(0))
        self._most_D = np.maximum(self._most_D, trials.latents.max(0))

    def statistics(self) -> dict[str, Any]:
        """As JSON values: `mean` and standard deviation (`std`) of each latent over all bins, its largest absolute
        standardised value (`bound`), and the second moments of the trials' mean standardised latents
        (`level_covariance`)."""  # fmt: skip
        bins, levels = self._bins, self._levels
        variance_D = np.diag(bins.squares_DD) / bins.n
        std_D = np.maximum(np.sqrt(variance_D), SMALLEST_STD)
        furthest_D = np.maximum(self._most_D - bins.mean_D, bins.mean_D - self._least_D)
        offset_D = levels.mean_D - bins.mean_D  # trials are of unequal length
        second_DD = levels.squares_DD / levels.n + np.multiply.outer(offset_D, offset_D)
        return {
            "mean": bins.mean_D.tolist(),
            "std": std_D.tolist(),
            "bound": (furthest_D / std_D).tolist(),
            "level_covariance": (second_DD / np.multiply.outer(std_D, std_D)).tolist(),
        }


def latent_statistics(sets: Iterable[TrialSet]) -> dict[str, Any]:
    """`LatentMoments.statistics` of all sets."""
    moments = LatentMoments()
    for trials in sets:
        moments.add(trials)
    return moments.statistics()
