"""The stages of a recording with conditions and covariates, with spike history and guidance."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ldns_ray.data.shards import load_trialset
from ldns_ray.models.ldns import LDNS
from ldns_ray.pipeline import VERSIONS, Pipeline
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.settings import fingerprint, override
from ldns_ray.training import courses
from ldns_ray.training.courses import course_regression
from tests.pipelines import reaches, tiny_reach, watched

pytestmark = pytest.mark.usefixtures("one_thread")


def test_guided_samples(tiny, tmp_path):
    """The stage samples as its setting says, from a model that was trained for it."""
    settings = {"diffusion.condition_dropout": 0.3, "sampling.guidance": 2, "sampling.n_trials": 5}
    guided = Pipeline(tiny_reach(tiny, **settings), reaches(tmp_path), str(tmp_path / "root"))
    guided.run("samples")
    model = LDNS.load(guided.model_uri)
    assert model.denoiser.null_E.any()
    expected = model.sample(5, n_steps=4, seed=0, guidance=2.0)
    for got, wanted in zip(
        load_trialset(guided.samples_uri).latents_list(), expected.latents, strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    assert np.abs(model.sample(5, n_steps=4, seed=0).latents[0] - expected.latents[0]).max() > 1e-4


def test_conditions_covariates_and_spike_history(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(courses, "TRIALS_PER_ENTRY", 5)
    data = reaches(tmp_path)
    pipeline = Pipeline(tiny_reach(tiny), data, str(tmp_path / "root"))
    assert math.isfinite(pipeline.run()["evaluation"]["summary"]["score"])
    model = LDNS.load(pipeline.model_uri)
    assert model.conditioning.conditions == {"angle": 2, "length": 1}
    assert model.conditioning.covariates == {"velocity": 2}
    assert model.observation is not None

    # The course of a trial is expected of its conditions.
    z, level = pipeline.latent_statistics(), model.denoiser.level
    train = pipeline.latent_trials("train")
    found = course_regression([train], model.conditioning, z["mean"], z["std"])
    assert found.slope_CPD.any()
    np.testing.assert_allclose(
        model.denoiser.course.slope_CPD, found.slope_CPD, rtol=1e-3, atol=1e-5
    )
    basis, variance = level.basis_left.numpy(), level.variance_left.numpy()
    left = basis * variance @ basis.T
    np.testing.assert_allclose(left, found.residual_DD, rtol=1e-3, atol=1e-5)

    # Conditions and covariates of a sample are together those of one training trial.
    train, sampled = load_trialset(data, "train"), load_trialset(pipeline.samples_uri)
    assert len(sampled) == 70
    traces = [v.tobytes() for v in train.covariates_list("velocity")]
    for trace, angle in zip(
        sampled.covariates_list("velocity"), sampled.conditions["angle"], strict=True
    ):
        np.testing.assert_array_equal(
            train.conditions["angle"][traces.index(trace.tobytes())], angle
        )

    # Sampled for the trials of a split, in its order.
    test = load_trialset(data, "test")
    sample_dataset(
        pipeline.model_uri, str(tmp_path / "asked"), len(test), sampler="dpmpp_2m", n_steps=3, seed=0,
        condition={"angle": test.conditions["angle"]}, covariates={"velocity": test.covariates_list("velocity")},
    )  # fmt: skip
    asked = load_trialset(str(tmp_path / "asked"))
    np.testing.assert_array_equal(asked.conditions["angle"], test.conditions["angle"])
    np.testing.assert_array_equal(asked.covariates["velocity"], test.covariates["velocity"])


def test_models_that_expect_courses_of_conditions_are_others(trained):
    def name(*conditions):
        e = override(trained.experiment, {"diffusion.conditions": ",".join(conditions)})
        return replace(trained, experiment=e).fingerprints["diffusion"]

    def as_it_was(*conditions):
        e = override(trained.experiment, {"diffusion.conditions": ",".join(conditions)})
        return fingerprint(
            "diffusion", VERSIONS["diffusion"], e.diffusion, e.seed, trained.fingerprints["latents"]
        )

    assert name("length") == as_it_was("length")
    assert name("angle", "length") != as_it_was("angle", "length")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("diffusion.conditions", r"no condition 'direction'; it has: length.* Set diffusion"),
        ("diffusion.covariates", r"no covariate 'direction'; it has: none\. Set diffusion"),
    ],
)
def test_a_condition_that_the_dataset_lacks_is_named(trained, setting, message):
    changed = override(trained.experiment, {setting: "direction"})
    pipeline, _ = watched(trained, experiment=changed)
    with pytest.raises(ValueError, match=message):
        pipeline.run()
