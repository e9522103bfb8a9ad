"""What conditions say of courses, beside a regression of all trials at once."""

import numpy as np
import pytest
import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.resampling import resampled
from ldns_ray.data.schema import Trial
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.course import N_POINTS
from ldns_ray.training.courses import TRIALS_PER_ENTRY, course_regression

MEAN, STD = np.array([0.5, -1.0], np.float32), np.array([2.0, 0.5], np.float32)
SLOPE = np.array([[1.0, 0.2], [-0.5, 0.3]])
TURN = np.array([[0.4, 0.0], [0.0, -0.8]])
"""How much more latents follow the direction in the first half of a trial than in the second."""


def latents(level_D, turn_D, noise_TD):
    early_T1 = (np.arange(len(noise_TD)) < len(noise_TD) / 2)[:, None] - 0.5
    return ((level_D + early_T1 * turn_D + noise_TD) * STD + MEAN).astype(np.float32)


def trials_and_conditioning(n, seed=0):
    """Trials of unequal length whose latents follow their direction, and a condition that is always the same."""
    rng = np.random.default_rng(seed)
    angle_S = rng.uniform(0, 2 * np.pi, n)
    conditions = {
        "angle": np.stack([np.cos(angle_S), np.sin(angle_S)], 1).astype(np.float32),
        "session": np.ones((n, 1), np.float32),
    }
    level_SD = conditions["angle"] @ SLOPE + rng.normal(0, 0.2, (n, 2))
    turn_SD = conditions["angle"] @ TURN
    trials = TrialSet.from_trials(
        [
            Trial(
                spikes=np.zeros((length, 3), np.uint8), trial_id=str(i), session="s", split="train",
                conditions={k: v[i] for k, v in conditions.items()},
                latents=latents(level_SD[i], turn_SD[i], rng.normal(0, 1, (length, 2))),
            )
            for i, length in enumerate(rng.integers(20, 60, n))
        ],
        bin_width_s=0.01,
    )  # fmt: skip
    conditioning = Conditioning.fit(
        ("angle", "session"), (), n_bins_S=trials.n_bins_S, conditions=trials.conditions, covariates={}
    )  # fmt: skip
    return trials, conditioning


def latents_and_vectors(trials, conditioning):
    latents = [(z.astype(float) - MEAN) / STD for z in trials.latents_list()]
    given = {k: torch.from_numpy(v) for k, v in trials.conditions.items()}
    return latents, conditioning.condition(
        torch.from_numpy(trials.n_bins_S), given
    ).double().numpy()


def second_moments(levels):
    return levels.T @ levels / len(levels)


def test_it_is_the_regression_whatever_the_sets():
    trials, conditioning = trials_and_conditioning(200)
    found = course_regression(
        [trials.subset(range(7)), trials.subset(range(7, 200))], conditioning, MEAN, STD
    )
    latents, vectors = latents_and_vectors(trials, conditioning)
    courses = np.stack([resampled(z, N_POINTS).ravel() for z in latents])
    slope = np.linalg.lstsq(vectors[:, :2], courses, rcond=None)[0].reshape(2, N_POINTS, 2)
    np.testing.assert_allclose(found.slope_CPD[:2], slope, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.slope_CPD[2], 0, atol=1e-9)
    levels = np.stack([z.mean(0) for z in latents])
    left = levels - vectors[:, :2] @ slope.mean(1)
    np.testing.assert_allclose(found.residual_DD, left.T @ left / (200 - 2), rtol=1e-5, atol=1e-7)
    assert np.trace(found.residual_DD) < 0.5 * np.trace(second_moments(levels))


def test_it_follows_the_time_of_a_trial():
    """A latent that rises with the condition at first and falls with it at last."""
    trials, conditioning = trials_and_conditioning(2000)
    found = course_regression([trials], conditioning, MEAN, STD)
    np.testing.assert_allclose(
        found.slope_CPD[:2].mean((1, 2)), SLOPE.mean(1) / np.sqrt(2), atol=0.03
    )
    tilt = found.slope_CPD[:2, : N_POINTS // 2].mean(1) - found.slope_CPD[:2, N_POINTS // 2 :].mean(1)  # fmt: skip
    np.testing.assert_allclose(tilt, TURN / np.sqrt(2), atol=0.05)


@pytest.mark.parametrize(("n", "expects"), [(3 * TRIALS_PER_ENTRY - 1, False), (3 * TRIALS_PER_ENTRY, True)])  # fmt: skip
def test_few_trials_say_nothing(n, expects):
    trials, conditioning = trials_and_conditioning(n)
    found = course_regression([trials], conditioning, MEAN, STD)
    assert bool(found.slope_CPD.any()) is expects
    if not expects:
        levels = np.stack([z.mean(0) for z in latents_and_vectors(trials, conditioning)[0]])
        np.testing.assert_allclose(found.residual_DD, second_moments(levels), rtol=1e-5, atol=1e-7)
