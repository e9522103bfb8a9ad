"""What conditions say of levels, beside a regression of all trials at once."""

import numpy as np
import pytest
import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.training.levels import TRIALS_PER_ENTRY, level_regression

MEAN, STD = np.array([0.5, -1.0], np.float32), np.array([2.0, 0.5], np.float32)


def trials_and_conditioning(n, seed=0):
    """Trials of unequal length whose levels follow their direction, and a condition that is always the same."""
    rng = np.random.default_rng(seed)
    angle_S = rng.uniform(0, 2 * np.pi, n)
    conditions = {
        "angle": np.stack([np.cos(angle_S), np.sin(angle_S)], 1).astype(np.float32),
        "session": np.ones((n, 1), np.float32),
    }
    level_SD = conditions["angle"] @ np.array([[1.0, 0.2], [-0.5, 0.3]]) + rng.normal(
        0, 0.2, (n, 2)
    )
    trials = TrialSet.from_trials(
        [
            Trial(
                spikes=np.zeros((length, 3), np.uint8), trial_id=str(i), session="s", split="train",
                conditions={k: v[i] for k, v in conditions.items()},
                latents=((level_SD[i] + rng.normal(0, 1, (length, 2))) * STD + MEAN).astype(np.float32),
            )
            for i, length in enumerate(rng.integers(20, 60, n))
        ],
        bin_width_s=0.01,
    )  # fmt: skip
    conditioning = Conditioning.fit(
        ("angle", "session"), (), n_bins_S=trials.n_bins_S, conditions=trials.conditions, covariates={}
    )  # fmt: skip
    return trials, conditioning


def levels_and_vectors(trials, conditioning):
    levels = np.stack([(z.astype(float).mean(0) - MEAN) / STD for z in trials.latents_list()])
    given = {k: torch.from_numpy(v) for k, v in trials.conditions.items()}
    return levels, conditioning.condition(torch.from_numpy(trials.n_bins_S), given).double().numpy()


def test_it_is_the_regression_whatever_the_sets():
    trials, conditioning = trials_and_conditioning(200)
    found = level_regression(
        [trials.subset(range(7)), trials.subset(range(7, 200))], conditioning, MEAN, STD
    )
    levels, vectors = levels_and_vectors(trials, conditioning)
    slope = np.linalg.lstsq(vectors[:, :2], levels, rcond=None)[0]
    np.testing.assert_allclose(found.slope_CD[:2], slope, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.slope_CD[2], 0, atol=1e-9)
    left = levels - vectors[:, :2] @ slope
    np.testing.assert_allclose(found.residual_DD, left.T @ left / (200 - 2), rtol=1e-5, atol=1e-7)
    assert np.trace(found.residual_DD) < 0.5 * np.trace(levels.T @ levels / 200)


@pytest.mark.parametrize(("n", "expects"), [(3 * TRIALS_PER_ENTRY - 1, False), (3 * TRIALS_PER_ENTRY, True)])  # fmt: skip
def test_few_trials_say_nothing(n, expects):
    trials, conditioning = trials_and_conditioning(n)
    found = level_regression([trials], conditioning, MEAN, STD)
    assert bool(found.slope_CD.any()) is expects
    if not expects:
        levels, _ = levels_and_vectors(trials, conditioning)
        np.testing.assert_allclose(found.residual_DD, levels.T @ levels / n, rtol=1e-5, atol=1e-7)
