"""Importances are the shares of variance that a score was made of."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from ldns_ray.sweeps.importances import importances

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "kind": CategoricalDistribution(("poisson", "spike_history")),
    "beta": FloatDistribution(0.0, 1.0),
    "blocks": IntDistribution(1, 8),
}


def drawn(name, rng):
    distribution = SPACE[name]
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    if isinstance(distribution, IntDistribution):
        return int(rng.integers(distribution.low, distribution.high + 1))
    if distribution.log:
        return float(np.exp(rng.uniform(np.log(distribution.low), np.log(distribution.high))))
    return float(rng.uniform(distribution.low, distribution.high))


def study_of(points, scores, distributions=SPACE):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.add_trials(
        create_trial(params=p, distributions={k: distributions[k] for k in p}, value=score)
        for p, score in zip(points, scores, strict=True)
    )
    return study


def points(n, seed=0, names=SPACE):
    rng = np.random.default_rng(seed)
    return [{name: drawn(name, rng) for name in names} for _ in range(n)]


def decades(point):
    """Of the learning rate from the best one, -1.5 to 1.5."""
    return math.log10(point["rate"]) + 2.5


def test_shares_are_those_of_the_variances_that_the_score_was_made_of():
    """log score = a (x² − E x²) + b [kind] with x uniform on ±1.5: variances 4 a² 1.5⁴ / 45 and b² / 4."""
    made = points(150)
    a, b = 0.7, 0.9
    scores = [math.exp(a * decades(p) ** 2 + b * (p["kind"] == "poisson")) for p in made]
    variances = {"rate": 4 * a**2 * 1.5**4 / 45, "kind": b**2 / 4}
    found = importances(study_of(made, scores))
    for name, variance in variances.items():
        assert found[name] == pytest.approx(variance / sum(variances.values()), abs=0.08)
    assert max(found["beta"], found["blocks"]) < 0.03
    assert list(found) == sorted(found, key=found.__getitem__, reverse=True)
    assert sum(found.values()) <= 1


def test_one_setting_that_matters_stands_out_by_far():
    made = points(40)
    rng = np.random.default_rng(1)
    scores = [math.exp(decades(p) ** 2 + 0.1 * rng.normal()) for p in made]
    found = importances(study_of(made, scores))
    assert list(found)[0] == "rate"
    assert found["rate"] > 0.5
    assert found["rate"] > 5 * list(found.values())[1]


def test_a_score_that_went_wrong_is_not_all_the_variance():
    made = points(60)
    scores = [math.exp(decades(p) ** 2) for p in made]
    worst = max(range(60), key=lambda i: made[i]["beta"])
    before = importances(study_of(made, scores))
    scores[worst] *= 30
    after = importances(study_of(made, scores))
    assert after["rate"] > 0.6 * before["rate"] > 0.4


def test_the_same_study_gives_the_same_numbers():
    made = points(20)
    study = study_of(made, [1 + p["beta"] for p in made])
    assert importances(study) == importances(study)


def test_scores_below_zero_are_taken_as_they_are():
    made = points(40)
    found = importances(study_of(made, [p["beta"] - 0.5 for p in made]))
    assert found["beta"] > 0.8


def test_a_setting_that_some_trials_lack_keeps_its_importance():
    """The spike history has a number of bins, the Poisson model has none."""
    distributions = SPACE | {"bins": IntDistribution(1, 20)}
    made = points(80)
    rng = np.random.default_rng(2)
    for p in made:
        if p["kind"] == "spike_history":
            p["bins"] = int(rng.integers(1, 21))
    found = importances(study_of(made, [math.exp(p.get("bins", 10) / 10) for p in made], distributions))  # fmt: skip
    assert list(found)[0] == "bins"
    assert found["bins"] > 0.8

    of_choice = [{k: v for k, v in p.items() if k != "kind" or p["beta"] > 0.4} for p in points(80)]
    found = importances(study_of(of_choice, [2.0 + ("kind" in p) for p in of_choice]))
    assert found["kind"] + found["beta"] > 0.8


def test_ranges_that_changed_between_trials_are_united():
    rng = np.random.default_rng(0)
    study = study_of([], [])
    for low in (0.0, 1.0):
        for x in rng.uniform(low, low + 1, 20):
            other = float(rng.uniform())
            study.add_trial(
                create_trial(
                    params={"x": x, "y": other}, value=1 + x,
                    distributions={"x": FloatDistribution(low, low + 1), "y": FloatDistribution(0, 1)},
                )
            )  # fmt: skip
    found = importances(study)
    assert found["x"] > 0.9


def test_settings_that_can_take_one_value_only_have_none():
    made = [p | {"one": "a"} for p in points(20)]
    found = importances(study_of(made, [1 + p["beta"] for p in made], SPACE | {"one": CategoricalDistribution(("a",))}))  # fmt: skip
    assert set(found) == set(SPACE)


def test_only_complete_trials_count():
    made = points(12)
    study = study_of(made, [1 + p["beta"] for p in made])
    before = importances(study)
    for p in points(30, seed=1):
        study.add_trial(create_trial(state=TrialState.FAIL, params=p, distributions=SPACE))
        study.add_trial(create_trial(state=TrialState.PRUNED, params=p, distributions=SPACE, value=50.0))  # fmt: skip
    assert importances(study) == before
    study.add_trial(create_trial(params=made[0], distributions=SPACE, value=math.inf))
    assert importances(study) == before


SAME = points(1)[0]


@pytest.mark.parametrize(
    ("made", "scores"),
    [
        ([], []),
        (points(9), [1.0 + i for i in range(9)]),  # too few
        (points(20), [1.5] * 20),
        (points(20), [1.5 + 1e-12 * i for i in range(20)]),
        ([SAME] * 20, [1.0 + i for i in range(20)]),  # one point, measured with noise
        ([{}] * 20, [1.0 + i for i in range(20)]),
    ],
)  # fmt: skip
def test_there_is_nothing_to_say_of_too_little(made, scores):
    assert importances(study_of(made, scores)) == {}


def test_the_least_number_of_trials_can_be_told():
    made = points(9)
    study = study_of(made, [1 + p["beta"] for p in made])
    assert set(importances(study, min_trials=9)) == set(SPACE)
    assert importances(study, min_trials=10) == {}
    assert importances(study_of(made[:1], [1.0]), min_trials=1) == {}


def test_two_points_are_enough():
    made = [SAME | {"kind": kind} for kind in ("poisson", "spike_history")] * 5
    found = importances(study_of(made, [1.0, 2.0] * 5))
    assert found["kind"] == pytest.approx(1)
    assert sum(found.values()) == pytest.approx(1)
