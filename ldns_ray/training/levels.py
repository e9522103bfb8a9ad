"""What the conditions of trials say of their levels, the latents' means over time.

Shapes: S trials, D latents, C condition entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.moments import Moments
from ldns_ray.models.conditioning import Conditioning

TRIALS_PER_ENTRY = 10
"""Training trials that there must be for each entry of the condition: else nothing is expected of it."""

SMALLEST_VARIANCE = 0.01
"""Of a direction of the conditions' space that counts, over that of the direction with the largest."""


@dataclass(frozen=True)
class LevelRegression:
    """Levels of standardised latents that are expected of standardised conditions."""

    slope_CD: np.ndarray
    residual_DD: np.ndarray
    """Second moments of what is left of the levels."""


def level_regression(
    sets: Iterable[TrialSet], conditioning: Conditioning, mean_D: np.ndarray, std_D: np.ndarray
) -> LevelRegression:
    """Of trials that carry latents and conditions, a set at a time; mean_D, std_D: what standardises latents.

    The residual's moments count the degrees of freedom that the regression took.
    """
    moments = Moments()
    n_entries = conditioning.n_conditions
    for trials in sets:
        levels_SD = np.stack([z.mean(0, dtype=np.float64) for z in trials.latents_list()])
        conditions = {k: torch.tensor(v) for k, v in trials.conditions.items()}
        vector = conditioning.condition(torch.tensor(trials.n_bins_S), conditions)
        assert vector is not None
        moments.add(np.concatenate((vector.double().numpy(), (levels_SD - mean_D) / std_D), axis=1))
    both = moments.squares_DD / moments.n + np.multiply.outer(moments.mean_D, moments.mean_D)
    levels_DD = both[n_entries:, n_entries:]
    if moments.n < TRIALS_PER_ENTRY * n_entries:
        return LevelRegression(np.zeros((n_entries, len(levels_DD))), levels_DD)
    among_CC, across_CD = both[:n_entries, :n_entries], both[:n_entries, n_entries:]
    # Entries may be constant, or nearly follow from each other: nothing is expected of what hardly varies.
    slope_CD, _, n_directions, _ = np.linalg.lstsq(among_CC, across_CD, rcond=SMALLEST_VARIANCE)
    left_DD = levels_DD - across_CD.T @ slope_CD
    left_DD = (left_DD + left_DD.T) / 2
    return LevelRegression(slope_CD, left_DD * moments.n / (moments.n - n_directions))
