"""What the conditions of trials say of the course of their latents, by regression.

Shapes: S trials, D latents, C condition entries, P points of relative time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.moments import Moments
from ldns_ray.data.resampling import resampled
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.course import N_POINTS

TRIALS_PER_ENTRY = 10
"""Training trials that there must be for each entry of the condition: else nothing is expected of it."""

SMALLEST_VARIANCE = 0.01
"""Of a direction of the conditions' space that counts, over that of the direction with the largest."""


@dataclass(frozen=True)
class CourseRegression:
    """Courses of standardised latents that are expected of standardised conditions; see `models.course.Course`."""

    slope_CPD: np.ndarray
    residual_DD: np.ndarray
    """Second moments, over trials, of the mean over time of what is left of the latents."""


def course_regression(
    sets: Iterable[TrialSet], conditioning: Conditioning, mean_D: np.ndarray, std_D: np.ndarray
) -> CourseRegression:
    """Of trials that carry latents and conditions, a set at a time; mean_D, std_D: what standardises latents.

    The residual's moments count the degrees of freedom that the regression took.
    """
    moments = Moments()
    n_entries, n_latents = conditioning.n_conditions, len(mean_D)
    products_CX = np.zeros((n_entries, N_POINTS * n_latents))
    for trials in sets:
        z = [(z_TD - mean_D.astype(np.float64)) / std_D for z_TD in trials.latents_list()]
        conditions = {k: torch.tensor(v) for k, v in trials.conditions.items()}
        vector = conditioning.condition(torch.tensor(trials.n_bins_S), conditions)
        assert vector is not None
        vector_SC = vector.double().numpy()
        products_CX += vector_SC.T @ np.stack([resampled(z_TD, N_POINTS).ravel() for z_TD in z])
        moments.add(np.concatenate((vector_SC, np.stack([z_TD.mean(0) for z_TD in z])), axis=1))
    both = moments.squares_DD / moments.n + np.multiply.outer(moments.mean_D, moments.mean_D)
    levels_DD = both[n_entries:, n_entries:]
    if moments.n < TRIALS_PER_ENTRY * n_entries:
        return CourseRegression(np.zeros((n_entries, N_POINTS, n_latents)), levels_DD)
    among_CC, across_CD = both[:n_entries, :n_entries], both[:n_entries, n_entries:]
    # Entries may be constant, or nearly follow from each other: nothing is expected of what hardly varies.
    slope_CX, _, n_directions, _ = np.linalg.lstsq(among_CC, products_CX / moments.n, rcond=SMALLEST_VARIANCE)  # fmt: skip
    slope_CPD = slope_CX.reshape(n_entries, N_POINTS, n_latents)
    mean_CD = slope_CPD.mean(1)
    explained_DD = mean_CD.T @ across_CD
    left_DD = levels_DD - explained_DD - explained_DD.T + mean_CD.T @ among_CC @ mean_CD
    return CourseRegression(slope_CPD, left_DD * moments.n / (moments.n - n_directions))
