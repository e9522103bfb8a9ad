"""What was decoded, told as JSON values and on one line, from decodings made by hand."""

import json

import numpy as np

from ldns_ray.evaluation.decoding.conditional import (
    Conditional,
    conditional_metrics,
    format_conditional,
)
from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    ClassDecoding,
    TraceDecoding,
    r_squared,
)


def decoded(n_trials=30):
    rng = np.random.default_rng(0)
    asked = [rng.normal(size=(20, 2)) for _ in range(n_trials)]
    close, far = ([y + sd * rng.normal(size=(1, 2)) for y in asked] for sd in (0.3, 1.0))
    angle = rng.uniform(0, 360, n_trials)
    return Conditional(
        {"velocity": TraceDecoding(r_squared(asked, close), r_squared(asked, far), asked, far, asked, close)},
        ClassDecoding(np.diag([n_trials - 1, 1]), np.array([[n_trials - 3, 2], [1, 0]])),
        ["left", "right"],
        {"angle": AngleDecoding(angle, angle + 5, angle, angle + rng.normal(0, 9, n_trials))},
    )  # fmt: skip


def test_scores_stand_beside_their_intervals():
    summary = decoded().summary(seed=4)
    assert json.loads(json.dumps(summary)) == summary
    velocity, classes, angle = (
        summary["covariates"]["velocity"], summary["classes"], summary["angles"]["angle"],
    )  # fmt: skip
    assert list(velocity) == ["real", "sampled", "ratio", "ratio_interval"]
    assert list(velocity["real"]) == ["r2", "r2_interval", "r2_per_channel"]
    for scores, name in (
        (velocity["real"], "r2"), (velocity["sampled"], "r2"), (velocity, "ratio"),
        (classes, "accuracy_sampled"), (classes, "ratio"), (angle, "error_sampled"),
    ):  # fmt: skip
        low, high = scores[f"{name}_interval"]
        assert low < scores[name] < high
    assert classes["accuracy_real_interval"] == [1.0, 1.0]
    np.testing.assert_allclose(angle["error_real_interval"], [5, 5])


def test_the_seed_is_that_of_the_resamples():
    one, same, other = (decoded().summary(seed=seed)["covariates"]["velocity"] for seed in (0, 0, 1))  # fmt: skip
    assert one == same
    assert one["real"]["r2"] == other["real"]["r2"]
    assert one["real"]["r2_interval"] != other["real"]["r2_interval"]


def test_one_line_for_a_terminal():
    summary = decoded().summary()
    velocity, classes, angle = (
        summary["covariates"]["velocity"], summary["classes"], summary["angles"]["angle"],
    )  # fmt: skip
    velocity["real"] |= {"r2": 0.8871, "r2_interval": [0.8804, 0.8949]}
    velocity["sampled"] |= {"r2": -0.05, "r2_interval": [-0.1, 0.02]}
    velocity["ratio"] = -0.0564
    classes |= {"accuracy_sampled": 0.9, "accuracy_sampled_interval": None, "ratio": None}
    angle |= {"error_sampled": 6.04, "error_sampled_interval": [4.96, 7.0]}
    assert format_conditional(summary) == (
        "Conditions decoded: "
        "velocity R² 0.887 (0.880–0.895) real, -0.050 (-0.100 to 0.020) sampled (-0.06 of it); "
        "class of 2 1.000 (1.000–1.000) real, 0.900 sampled, 0.500 by chance; "
        "angle 5.0° (5.0–5.0) off real, 6.0° (5.0–7.0) sampled"
    )


def test_a_single_trial_has_scores_and_no_intervals():
    summary = decoded(1).summary()
    velocity, angle = summary["covariates"]["velocity"], summary["angles"]["angle"]
    assert velocity["real"]["r2"] != 0
    assert velocity["real"]["r2_interval"] is None
    assert velocity["ratio_interval"] is None
    assert angle["error_real_interval"] is None
    assert "(0." not in format_conditional({**summary, "classes": None})
    assert set(conditional_metrics(summary)) == {
        f"conditional/{score}_{side}" for score in ("r2", "accuracy") for side in ("real", "sampled")
    }  # fmt: skip
