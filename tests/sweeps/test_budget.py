"""What a sweep takes of a cluster: trials at once, the share of each, and what they have in common."""

from dataclasses import replace

import pytest
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

from ldns_ray.config import Hardware
from ldns_ray.pipeline import Pipeline
from ldns_ray.sweeps import budget
from tests.sweeps.planned import planned


@pytest.fixture
def plan(trained, tmp_path):
    return planned(trained, tmp_path)


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
    monkeypatch.setattr(budget.ray, "cluster_resources", lambda: cluster)
    assert budget.concurrency(replace(plan, **changes)) == expected


def test_a_trial_that_no_node_holds_is_refused(plan, monkeypatch):
    monkeypatch.setattr(budget.ray, "cluster_resources", lambda: {"CPU": 4})
    with pytest.raises(ValueError, match=r"needs 4 CPUs and 0 GPUs beside 1 CPU .* has 4 CPUs"):
        budget.concurrency(replace(plan, cpus_per_trial=4))
    with pytest.raises(ValueError, match=r"1 GPUs .* 0 GPUs\. Lower .*--gpus-per-trial"):
        budget.concurrency(replace(plan, gpus_per_trial=1))


def test_a_trial_is_its_process_or_its_workers(plan):
    alone = replace(plan, cpus_per_trial=2, gpus_per_trial=0.5)
    assert budget.process_resources(alone) == {"cpu": 2, "gpu": 0.5}
    assert budget.hardware(alone) == Hardware(workers=0)
    several = replace(
        alone, workers_per_trial=2, cpus_per_trial=4, gpus_per_trial=2, data="streamed"
    )
    reserved = budget.process_resources(several)
    assert reserved == {"cpu": budget.WAITING_CPUS, "gpu": 0}
    assert resource_dict_to_pg_factory(reserved).required_resources == {"CPU": budget.WAITING_CPUS}
    assert budget.hardware(several) == Hardware(2, 1.0, 2.0, data="streamed")
    assert budget.hardware(replace(plan, checkpoint_s=2.0)).checkpoint_s == 2.0


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
    monkeypatch.setattr(budget.ray, "nodes", lambda: [{"Alive": True, "Resources": node}])
    lines = []
    tables = budget.shared_tables(replace(plan, data=data), 2, lines.append)
    assert lines[0].startswith(f"Sweep planned: trials are {said}")
    assert (tables is not None) == shared
    if tables is not None:
        assert set(tables) == {"train", "val", "test"}
        pipeline = Pipeline(plan.experiment, plan.data_uri, plan.root)
        for split in tables:
            got, wanted = replace(pipeline, tables=tables).trials(split), pipeline.trials(split)
            assert got.trial_ids == wanted.trial_ids
            assert (got.spikes == wanted.spikes).all()
