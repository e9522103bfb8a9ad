"""Sweeps before their first trial: what is refused, how many trials run at once, and what they share."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ray import tune

from ldns_ray.settings import override
from ldns_ray.sweeps.study import StudySearch, open_study
from ldns_ray.sweeps.sweep import run_sweep
from ldns_ray.sweeps.trial import trial_experiment
from tests.pipelines import reaches, tiny_reach
from tests.sweeps.planned import RATE, planned

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(trained, tmp_path):
    return planned(trained, tmp_path)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, r"search space is empty\. Add a dotted setting"),
        (
            {"diffusion.widht": tune.choice([16])},
            r"Unknown setting 'diffusion.widht' in the search space\. Did you mean diffusion.width",
        ),
        (
            {"learning_rate": tune.choice([1e-3])},
            r"Did you mean .*autoencoder.optimisation.learning_rate",
        ),
        ({"diffusion.width": 64}, r"diffusion.width in the search space must be a Tune domain .* got 64"),
        ({"diffusion.width": [16, 32]}, r"must be a Tune domain such as tune.choice.*\[16, 32\]"),
        ({"diffusion.width": tune.grid_search([16])}, "must be a Tune domain"),
        ({"diffusion.width": tune.choice([16, 18])}, r"diffusion.width must be a multiple of 4, got 18"),
        ({"diffusion.width": tune.choice(["wide"])}, r"must be of type int, got 'wide'"),
        ({"diffusion.width": tune.uniform(16.1, 16.9)}, r"diffusion.width must be of type int"),
        ({"observation.kind": tune.choice(["poisson", "gauss"])}, r"must be one of 'poisson'.*'gauss'"),
        ({RATE: tune.uniform(-2, -1)}, r"learning_rate must be positive"),
        ({RATE: tune.randn(0.01, 1e-6)}, r"learning_rate in the search space cannot be searched: .* Use tune.choice"),
        ({"diffusion.conditions": tune.choice([("length",), ()])}, r"must be searched among numbers, words and yes or no, got \('length',\)"),
    ],
)  # fmt: skip
def test_bad_search_spaces_are_refused(plan, space, message):
    with pytest.raises(ValueError, match=message):
        replace(plan, space=space)


def test_bad_numbers_are_refused(plan, monkeypatch):
    with pytest.raises(ValueError, match="n_trials must be at least 1, got 0"):
        replace(plan, n_trials=0)
    with pytest.raises(FileNotFoundError, match=r"No dataset.json under .*/nowhere"):
        _ = replace(plan, data_uri=f"{plan.root}/nowhere").fingerprint
    with pytest.raises(ValueError, match=r"study cannot live under s3://.* --optuna-storage"):
        open_study(replace(plan, root="s3://bucket/ldns"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hours": -1.0}, "hours must be non-negative, got -1.0"),
        ({"retries": -1}, "retries must be non-negative, got -1"),
        ({"reduction_factor": 1}, "reduction_factor must be 0, or at least 2, got 1"),
        ({"workers_per_trial": 0}, "workers_per_trial must be at least 1, got 0"),
        ({"cpus_per_trial": 0.0}, "cpus_per_trial must be positive, got 0.0"),
        ({"gpus_per_trial": -0.5}, "gpus_per_trial must be non-negative"),
        ({"gpus_per_trial": 1.0, "workers_per_trial": 2}, "must be at least workers_per_trial=2, or 0, got 1: "),
        ({"name": "my sweep"}, "name must be letters, digits, dots, dashes and underscores, got 'my sweep'"),
        ({"seed": -1}, "seed must be in"),
        ({"points": [{RATE: 1e-3}, {"diffusion.widht": 4}]},
         r"Point 2 sets 'diffusion.widht', which is not searched\. "),
        ({"points": [{RATE: 1.0}]}, r"Point 1 sets diffusion.optimisation.learning_rate to 1.0, which is not in its domain"),
        ({"points": [{RATE: "fast"}]}, r"Point 1 sets .* to 'fast', which is not in its domain"),
    ],
)  # fmt: skip
def test_bad_budgets_and_points_are_refused(plan, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(plan, **changes)


def test_a_sweep_begins_with_its_points(plan):
    """As given; settings that are left out are drawn; a second submission does not add them again."""
    space = {RATE: tune.loguniform(1e-4, 1e-2), "diffusion.smooth_l1_beta": tune.uniform(0.02, 0.1)}
    points = [{RATE: 2e-3, "diffusion.smooth_l1_beta": 0.05}, {RATE: 3e-3}]
    begun = replace(plan, space=space, points=points)
    for _ in range(2):
        search = StudySearch(open_study(begun), begun.distributions, 0)
        assert len(search.study.trials) == 2
    first, second, third = (search.suggest(name) for name in "abc")
    assert first == {**points[0], "trial_number": 1}
    assert second[RATE] == 3e-3
    assert 0.02 <= second["diffusion.smooth_l1_beta"] <= 0.1
    assert third["trial_number"] == 3
    again = StudySearch(open_study(begun), begun.distributions, 0)
    assert [again.suggest(name) for name in "abc"] == [first, second, third]


def test_a_sweep_is_known_by_what_it_searches(plan):
    same = {
        "cpus_per_trial": 2,
        "gpus_per_trial": 1,
        "max_concurrent": 3,
        "workers_per_trial": 1,
        "n_trials": 5,
        "hours": 1.0,
        "retries": 0,
        "tracking_uri": "http://x",
    }
    assert replace(plan, **same).fingerprint == plan.fingerprint
    others = [
        {"seed": 1},
        {"name": "other"},
        {"points": [{RATE: 1e-3}]},
        {"reduction_factor": 0},
        {"space": {RATE: tune.loguniform(1e-4, 2e-2)}},
        {"space": {RATE: tune.uniform(1e-4, 1e-2)}},
        {"experiment": override(plan.experiment, {"seed": 1})},
    ]
    prints = [replace(plan, **changes).fingerprint for changes in others]
    assert len({plan.fingerprint, *prints}) == len(others) + 1


def test_trials_are_scored_on_the_validation_split(trained):
    e = trial_experiment(trained.experiment, {"diffusion.width": 32})
    assert (e.diffusion.width, e.evaluation.split) == (32, "val")
    assert replace(
        e, diffusion=trained.experiment.diffusion, evaluation=trained.experiment.evaluation
    ) == (trained.experiment)


def test_a_missing_split_is_told_before_the_first_trial(plan, tiny, tracking_uri, tmp_path):
    lacking = replace(
        plan,
        experiment=tiny_reach(tiny),
        data_uri=reaches(tmp_path, val=False),
        tracking_uri=tracking_uri,
    )
    lines = []
    with pytest.raises(ValueError, match=r"has no val trials; it has: train, test\. Ingest"):
        run_sweep(lacking, lines.append)
    assert lines == []


def test_what_no_trial_of_the_data_allows_is_told_before_the_first(plan, tracking_uri):
    """Of all values in the space: a history as long as the shortest trial, at one end."""
    space = {"observation.history_bins": tune.choice([5, 10, 500])}
    kind = {"observation.kind": "spike_history", "observation.history_bins": 5}
    asked = replace(
        plan, experiment=override(plan.experiment, kind), space=space, tracking_uri=tracking_uri
    )
    lines = []
    with pytest.raises(ValueError, match=r"history_bins must be below the \d+ bins .* got 500"):
        run_sweep(asked, lines.append)
    assert lines == []


FINGERPRINT = """
import sys
from ray import tune
from ldns_ray.config import experiment
from ldns_ray.sweeps.plan import Sweep
space = {"diffusion.smooth_l1_beta": tune.quniform(0.02, 0.1, 0.02), "diffusion.width": tune.qrandint(16, 64, 16)}
print(Sweep("q", experiment("speech_small"), space, sys.argv[1], "/nowhere", "http://x").fingerprint)
"""


def test_a_sweep_is_the_same_in_another_process(trained):
    """Of rounded domains too, which have no name of their own."""
    prints = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT, trained.data_uri], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }  # fmt: skip
    assert len(prints) == 1
