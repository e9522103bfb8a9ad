"""What a result cannot be made of is told before anything is trained."""

import pytest

from ldns_ray.config import EXPERIMENTS, experiment
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.results import RESULTS, check, check_name
from tests.pipelines import reaches


def checks(result, data_uri, root, held_out=(90.0,), **changes):
    e = experiment(f"{result}_small", **{"observation.history_bins": 10} | changes)
    check(Pipeline(e, str(data_uri), str(root)), Request(result, e, str(data_uri), held_out))


def test_every_result_is_an_experiment_small_and_large():
    assert {f"{name}_small" for name in RESULTS} | RESULTS.keys() <= EXPERIMENTS.keys()


def test_an_unknown_result_is_told_the_close_ones():
    with pytest.raises(ValueError, match="Unknown result 'reach_angel'. Did you mean reach_angle"):
        check_name("reach_angel")


def test_reaches_will_do(tmp_path):
    data = reaches(tmp_path)
    checks("reach_angle", data, tmp_path, held_out=(180.0, 225.0))
    for result in ("reach", "reach_velocity"):
        e = experiment(f"{result}_small", **{"observation.history_bins": 10})
        check(Pipeline(e, data, str(tmp_path)), Request(result, e, data))


@pytest.mark.parametrize(
    ("result", "changes", "expected"),
    [
        ("lorenz", {}, "no true latents and rates"),
        ("speech", {}, "trials of several lengths, got 24 bins in all"),
        ("speech", {"diffusion.conditions": "angle"}, "must be length or nothing, .*got angle"),
        ("reach_angle", {"diffusion.conditions": "target"}, "no condition 'target' of cosine and sine; it has: angle, target"),
        ("reach_angle", {"diffusion.conditions": "angle,target"}, "must name one angle, .*got angle,target and none"),
        ("reach_angle", {"diffusion.covariates": "velocity"}, "got angle and velocity"),
        ("reach_velocity", {"diffusion.covariates": "speed"}, "no covariate 'speed'; it has: velocity"),
        ("reach_velocity", {"diffusion.conditions": "angle"}, "must name one velocity, .*got velocity and angle"),
        ("reach", {"observation.history_bins": 24}, "must be below the 24 bins"),
        ("reach", {"evaluation.split": "train"}, "must be of trials that are not trained on, .*got train"),
    ],
)  # fmt: skip
def test_other_datasets_and_settings_are_refused(tmp_path, result, changes, expected):
    held_out = {} if result == "reach_angle" else {"held_out": (90.0, 225.0)}
    with pytest.raises(ValueError, match=expected):
        checks(result, reaches(tmp_path), tmp_path, **held_out, **changes)


def test_directions_must_have_trials(tmp_path):
    """The six test trials have targets 0 to 5, so none goes to 270 degrees."""
    data = reaches(tmp_path)
    for degree, expected in ((67.5, "of the 18 train trials of .*, got 0"), (270, "of the 6 test trials of .*, got 0")):  # fmt: skip
        with pytest.raises(ValueError, match=f"--held-out {degree:g} must be .*{expected}"):
            checks("reach_angle", data, tmp_path, held_out=(degree,))


def test_directions_are_left_out_of_angles_alone(tmp_path):
    with pytest.raises(ValueError, match="--held-out is for reach_angle, got reach"):
        checks("reach", reaches(tmp_path), tmp_path, held_out=(45.0,))
