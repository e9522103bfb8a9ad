"""Sweeps before their first trial: what is refused, how many trials run at once, and what they share."""

from dataclasses import replace
from pathlib import Path

import pytest
from ray import tune

from ldns_ray.pipeline import Pipeline
from ldns_ray.settings import override
from ldns_ray.sweeps import sweep
from ldns_ray.sweeps.study import open_study
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
    ("cluster", "changes", "expected"),
    [
        ({"CPU": 2}, {}, 1),
        ({"CPU": 9}, {"n_trials": 100}, 8),
        ({"CPU": 9}, {"n_trials": 3}, 3),
        ({"CPU": 9}, {"n_trials": 100, "max_concurrent": 5}, 5),
        ({"CPU": 9}, {"n_trials": 100, "cpus_per_trial": 3}, 2),
        ({"CPU": 9, "GPU": 2}, {"n_trials": 100, "gpus_per_trial": 0.5}, 4),
    ],
)
def test_trials_at_once_leave_room_for_data(plan, monkeypatch, cluster, changes, expected):
    monkeypatch.setattr(sweep.ray, "cluster_resources", lambda: cluster)
    assert sweep._concurrency(replace(plan, **changes)) == expected


def test_a_trial_that_no_node_holds_is_refused(plan, monkeypatch):
    monkeypatch.setattr(sweep.ray, "cluster_resources", lambda: {"CPU": 4})
    with pytest.raises(ValueError, match=r"needs 4 CPUs and 0 GPUs beside 1 CPU .* has 4 CPUs"):
        sweep._concurrency(replace(plan, cpus_per_trial=4))
    with pytest.raises(ValueError, match=r"1 GPUs .* 0 GPUs\. Lower .*--gpus-per-trial"):
        sweep._concurrency(replace(plan, gpus_per_trial=1))


def test_a_sweep_is_known_by_what_it_searches(plan):
    same = {
        "cpus_per_trial": 2,
        "gpus_per_trial": 1,
        "max_concurrent": 3,
        "tracking_uri": "http://x",
    }
    assert replace(plan, **same).fingerprint == plan.fingerprint
    others = [
        {"seed": 1},
        {"n_trials": 5},
        {"name": "other"},
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


@pytest.mark.parametrize(
    ("store", "data", "shared", "said"),
    [
        (1e9, "auto", True, "kept in memory: 0."),
        (1e9, "streamed", False, "streamed: hardware.data=streamed"),
        (1e4, "auto", False, "streamed: 0."),
        (1e4, "resident", False, "kept in memory: hardware.data=resident"),
    ],
)
def test_trials_share_what_fits_into_the_store(
    plan, ray_session, monkeypatch, store, data, shared, said
):
    """Where a store is too small, trials that must be in memory are read by every process for itself."""
    node = {"CPU": 4.0, "memory": 1e9, "object_store_memory": store}
    monkeypatch.setattr(sweep.ray, "nodes", lambda: [{"Alive": True, "Resources": node}])
    lines = []
    tables = sweep._shared_tables(replace(plan, data=data), 2, lines.append)
    assert lines[0].startswith(f"Sweep planned: trials are {said}")
    assert (tables is not None) == shared
    if tables is not None:
        assert set(tables) == {"train", "val", "test"}
        pipeline = Pipeline(plan.experiment, plan.data_uri, plan.root)
        for split in tables:
            got, wanted = replace(pipeline, tables=tables).trials(split), pipeline.trials(split)
            assert got.trial_ids == wanted.trial_ids
            assert (got.spikes == wanted.spikes).all()
