"""What a comparison of datasets refuses before it has loaded or computed anything."""

import numpy as np
import pytest

from ldns_ray.config import Evaluation
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset
from ldns_ray.evaluation.datasets import Comparison

N_TRAIN = 4


@pytest.fixture
def dataset(tmp_path):
    """Writes trials of noise, with conditions and covariates of ones by name and size; the address."""

    def write(name, *, n_test=3, conditions=None, covariates=None):
        rng = np.random.default_rng(0)
        trials = [
            Trial(
                spikes=rng.poisson(0.5, (10, 2)),
                trial_id=f"{name}-{i}",
                session="s",
                split="train" if i < N_TRAIN else "test",
                conditions={k: np.ones(size) for k, size in (conditions or {}).items()},
                covariates={k: np.ones((10, size)) for k, size in (covariates or {}).items()},
            )
            for i in range(N_TRAIN + n_test)
        ]
        write_dataset(trials, str(tmp_path / name), name=name, bin_width_s=0.01)
        return str(tmp_path / name)

    return write


def test_a_split_that_cannot_be_halved(dataset):
    real, sampled = dataset("real", n_test=1), dataset("sampled")
    with pytest.raises(ValueError, match="has 1 test trial, too few to halve"):
        Comparison.of(real, [sampled], Evaluation())
    with pytest.raises(ValueError, match="has no split 'val'; there are: train, test"):
        Comparison.of(real, [sampled], Evaluation(split="val"))


def test_samples_that_do_not_say_what_they_were_asked_for(dataset):
    real = dataset("real", conditions={"target": 1, "angle": 2}, covariates={"velocity": 2})
    by_angle, by_velocity = dataset("a", conditions={"angle": 2}), dataset("v", covariates={"velocity": 2})  # fmt: skip
    # The angle may tell the target, so it is asked for only once trials are there.
    for name, known in (("target", by_angle), ("angle", by_angle), ("velocity", by_velocity)):
        assert Comparison.of(real, [known], Evaluation(), name).decode == name
    with pytest.raises(
        ValueError, match="which velocity its trials were sampled for; it has: noth"
    ):
        Comparison.of(real, [by_velocity, by_angle], Evaluation(), "velocity")
    with pytest.raises(ValueError, match="which target its trials were sampled for"):
        Comparison.of(real, [by_velocity], Evaluation(), "target")


@pytest.mark.parametrize("word", ["mine=", "=there", " =there", "="])
def test_half_a_name_is_refused(dataset, word):
    with pytest.raises(ValueError, match=f"given as NAME=DATASET or DATASET, got '{word}'"):
        Comparison.of(dataset("real"), [word], Evaluation())
