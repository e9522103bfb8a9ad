"""What may be asked of a model, and the message where it may not."""

import numpy as np
import pytest

from tests.models.untrained import model

pytestmark = pytest.mark.usefixtures("one_thread")

CONDITIONS = {"angle": np.zeros((2, 2)), "speed": np.zeros((2, 1))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n must be non-negative, got -1"),
        ({"sampler": "euler"}, "sampler must be ddpm, ddim, dpmpp_2m or dpmpp_2m_sde, got 'euler'"),
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"guidance": 2.0}, "not trained with dropped conditions, got 2.0"),
        ({"seed": -1}, r"seed must be in \[0, 2\^48\), got -1"),
        ({"first_trial": -1}, r"first_trial must be in \[0, 2\^48\), got -1"),
        ({"n_bins": 0}, "n_bins must be at least 1, got 0"),
        ({"n_bins": [3]}, "n_bins must be one number or 2, got 1"),
        ({"n_bins": 31}, "longer than those of the training set need their covariates velocity"),
        (
            {"condition": {"angel": np.zeros((2, 2))}},
            "no condition 'angel'; it was trained with: angle, speed",
        ),
        (
            {"condition": {"angle": np.zeros((2, 2))}},
            "The condition 'speed' is missing; the model was trained with: angle, speed",
        ),
        (
            {"condition": {"angle": np.zeros((3, 2)), "speed": np.zeros((2, 1))}},
            "condition 'angle' must have 2 rows, one per trial, got 3",
        ),
        (
            {"condition": {"angle": np.zeros((2, 5)), "speed": np.zeros((2, 1))}},
            r"condition 'angle' must be \(2, 2\), got \(2, 5\)",
        ),
        ({"condition": {"length": np.zeros((2, 1))}}, "no condition 'length'"),
        (
            {"covariates": {"speed": np.zeros((2, 9, 2))}},
            "no covariate 'speed'; it was trained with: velocity",
        ),
        (
            {"covariates": {"velocity": np.zeros((2, 9, 3))}},
            r"covariate 'velocity' of trial 0 must be \(9, 2\), got \(9, 3\)",
        ),
        (
            {"covariates": {"velocity": np.zeros((2, 9, 2))}, "n_bins": [9, 8]},
            r"covariate 'velocity' of trial 1 must be \(8, 2\), got \(9, 2\)",
        ),
        # One without the other: velocities of another reach than the angle's.
        (
            {"condition": CONDITIONS},
            "covariate 'velocity' is missing; .* trained with: velocity. Give all conditions and covariates, or none",
        ),
        (
            {"covariates": {"velocity": np.zeros((2, 9, 2))}},
            "condition 'angle' is missing; .* trained with: angle, speed. Give all conditions and covariates, or none",
        ),
        # Not by name, not per trial.
        ({"condition": np.zeros((2, 2))}, r"Give conditions by name, such as \{'angle': array\}, got ndarray"),
        ({"covariates": [np.zeros((9, 2))] * 2}, r"Give covariates by name, such as \{'velocity': array\}, got list"),
        ({"condition": CONDITIONS | {"angle": 0.5}}, "'angle' must have 2 rows, one per trial, got 0.5"),
        ({"condition": CONDITIONS | {"angle": np.array(0.5)}}, r"'angle' must have 2 rows, .* got array\(0.5\)"),
        ({"condition": CONDITIONS | {"angle": None}}, "'angle' must have 2 rows, one per trial, got None"),
        ({"condition": CONDITIONS | {"angle": [0.1, 0.2]}}, r"'angle' must be \(2, 2\), got \(2,\)"),
        ({"condition": CONDITIONS | {"speed": np.zeros(2)}}, r"'speed' must be \(2, 1\), got \(2,\)"),
        ({"condition": CONDITIONS | {"angle": [[1], [1, 2]]}}, "'angle' must be an array, got rows of different"),
        ({"covariates": {"velocity": 3.0}}, "'velocity' must have 2 rows, one per trial, got 3.0"),
        ({"covariates": {"velocity": [np.zeros(9)] * 2}}, r"'velocity' of trial 0 must be \(9, 2\), got \(9,\)"),
        ({"covariates": {"velocity": [1.0, 2.0]}}, r"'velocity' of trial 0 must be a trial's bins, got 1.0"),
        ({"covariates": {"velocity": [np.zeros((9, 2))]}}, "'velocity' must have 2 rows, one per trial, got 1"),
        # Numbers that are none.
        ({"condition": CONDITIONS | {"angle": [["a", "b"]] * 2}}, "condition 'angle' must be numbers, got <U1"),
        ({"condition": CONDITIONS | {"angle": [[None, 1]] * 2}}, "condition 'angle' must be numbers, got object"),
        ({"condition": CONDITIONS | {"angle": np.ones((2, 2)) * 1j}}, "'angle' must be numbers, got complex128"),
        (
            {"condition": CONDITIONS | {"angle": [[0, 1], [0, np.nan]]}},
            "condition 'angle' must be finite, got nan in entry 1 of trial 1",
        ),
        (
            {"condition": CONDITIONS | {"speed": [[-np.inf], [0]]}},
            "condition 'speed' must be finite, got -inf in entry 0 of trial 0",
        ),
        ({"condition": CONDITIONS | {"speed": [[1e300], [0]]}}, "condition 'speed' must be finite, got inf"),
        ({"covariates": {"velocity": np.full((2, 9, 2), "x")}}, "'velocity' of trial 0 must be numbers, got <U1"),
        (
            {"covariates": {"velocity": [np.zeros((9, 2)), np.where(np.eye(9, 2) > 0, np.nan, 0)]}},
            "'velocity' of trial 1 must be finite, got nan in channel 0 of bin 0",
        ),
        # Lengths.
        ({"n_bins": 20.5}, "n_bins must be whole numbers, got 20.5 of type float64"),
        ({"n_bins": [20.0, 21.0]}, "n_bins must be whole numbers, got 20.0 of type float64"),
        ({"n_bins": ["a", "b"]}, "n_bins must be whole numbers, got a of type <U1"),
        ({"n_bins": True}, "n_bins must be whole numbers, got True of type bool"),
        ({"n_bins": [[3, 4]]}, r"n_bins must be one number or 2, got \(1, 2\)"),
        ({"n_bins": [3, -4]}, "n_bins must be at least 1, got -4"),
        # Strength of the conditions.
        ({"guidance": -1}, "guidance must be finite and non-negative, got -1"),
        ({"guidance": np.nan}, "guidance must be finite and non-negative, got nan"),
    ],
)  # fmt: skip
def test_refused_requests(arguments, message):
    ldns = model(conditions=("angle", "speed", "length"), covariates=("velocity",))
    with pytest.raises(ValueError, match=message):
        ldns.sample(**{"n": 2, **arguments})


@pytest.mark.parametrize("kind", ["conditions", "covariates", "both"])
def test_conditions_alone_or_together(kind):
    """Of any numeric type, as lists or arrays; the model may have either, or both."""
    names = {"conditions": ("speed",) if kind != "covariates" else (), "covariates": ("velocity",) if kind != "conditions" else ()}  # fmt: skip
    ldns = model(**names)
    asked = {}
    if names["conditions"]:
        asked["condition"] = {"speed": [[1], [3]]}
    if names["covariates"]:
        asked["covariates"] = {"velocity": [np.ones((7, 2), np.int64), [[0.5, 1.0]] * 4]}
    else:
        asked["n_bins"] = np.array([7, 4], np.int32)
    samples = ldns.sample(2, **asked, n_steps=2)
    assert [len(z) for z in samples.latents] == [7, 4]
    if names["conditions"]:
        assert samples.conditions["speed"].tolist() == [[1.0], [3.0]]
        assert samples.conditions["speed"].dtype == np.float32
    if names["covariates"]:
        assert samples.covariates["velocity"][1].tolist() == [[0.5, 1.0]] * 4
        assert samples.covariates["velocity"][0].dtype == np.float32


def test_requests_are_what_is_sampled():
    ldns = model(conditions=("speed", "length", "angle"), covariates=("velocity",))
    asked = ldns.requests(9, seed=3)
    samples = ldns.sample(9, n_steps=1, seed=3)
    assert [len(z) for z in samples.latents] == asked.n_bins.tolist()
    again = ldns.sample(
        9, n_bins=asked.n_bins, condition=asked.conditions, covariates=asked.covariates, n_steps=1, seed=3
    )  # fmt: skip
    for a, b in zip(samples.latents, again.latents, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = asked.rows(4, 6)
    assert rows.n_bins.tolist() == asked.n_bins[4:6].tolist()
    assert [len(x) for x in rows.covariates["velocity"]] == rows.n_bins.tolist()
    assert rows.conditions["angle"].shape == (2, 2)


def test_a_model_without_conditions_says_so():
    with pytest.raises(ValueError, match="no condition 'angle'; it was trained with: none"):
        model().sample(1, condition={"angle": np.zeros((1, 2))})
