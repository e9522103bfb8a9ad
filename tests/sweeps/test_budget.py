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


@pytest.fixture
def cluster(monkeypatch):
    """Makes a cluster of nodes with these resources."""

    def make(*nodes):
        alive = [{"Alive": True, "Resources": node} for node in nodes]
        gone = {"Alive": False, "Resources": {"CPU": 1000.0, "GPU": 1000.0}}
        monkeypatch.setattr(budget.ray, "nodes", lambda: [*alive, gone])

    return make


@pytest.mark.parametrize(
    ("nodes", "changes", "expected"),
    [
        ([{"CPU": 2}], {}, 1),
        ([{"CPU": 9}], {}, 8),
        ([{"CPU": 9}], {"max_concurrent": 5}, 5),
        ([{"CPU": 9}], {"max_concurrent": 50}, 8),
        ([{"CPU": 9}], {"cpus_per_trial": 3}, 2),
        ([{"CPU": 1}], {"cpus_per_trial": 0.1}, 0),
        ([{}, {"CPU": 1}], {}, 0),
        ([{}, {"CPU": 8, "GPU": 1}], {"cpus_per_trial": 2}, 3),
        ([{"CPU": 2}], {"cpus_per_trial": 0.1}, 10),
        ([{"CPU": 9, "GPU": 2}], {"gpus_per_trial": 0.5}, 4),
        ([{"CPU": 9, "GPU": 4}], {"gpus_per_trial": 0.75}, 4),
        ([{"CPU": 9, "GPU": 4}], {"gpus_per_trial": 2}, 2),
        ([{"CPU": 2}, {"CPU": 2}, {"CPU": 2}], {}, 5),
        ([{"CPU": 4}, {"CPU": 4}, {"CPU": 3}], {"cpus_per_trial": 2}, 5),
        ([{"CPU": 4}, {"CPU": 4}, {"CPU": 4}], {"cpus_per_trial": 2}, 5),
        ([{"CPU": 8}, {"CPU": 16, "GPU": 1}, {"CPU": 16, "GPU": 1}], {"gpus_per_trial": 1}, 2),
        ([{"CPU": 4}, {"CPU": 4}, {"CPU": 1}], {"cpus_per_trial": 8, "workers_per_trial": 4}, 1),
        ([{}, {"CPU": 1}, {"CPU": 1}], {}, 1),
        ([{"CPU": 0}, {"CPU": 8, "GPU": 1}], {"cpus_per_trial": 4}, 1),
    ],
)
def test_trials_at_once_leave_room_for_data(plan, cluster, nodes, changes, expected):
    """Node by node: what two nodes have left over holds no trial."""
    cluster(*nodes)
    if expected:
        assert budget.concurrency(replace(plan, **changes), 100) == expected
        assert budget.concurrency(replace(plan, **changes), 1) == 1
    else:
        with pytest.raises(ValueError, match="A trial needs"):
            budget.concurrency(replace(plan, **changes), 100)


def test_a_trial_that_no_node_holds_is_refused(plan, cluster):
    cluster({"CPU": 4})
    with pytest.raises(ValueError, match=r"needs 4 CPUs and 0 GPUs beside 1 CPU .* have 4 CPUs"):
        budget.concurrency(replace(plan, cpus_per_trial=4), 1)
    with pytest.raises(ValueError, match=r"1 GPUs .* 0 GPUs\. Lower .*--gpus-per-trial"):
        budget.concurrency(replace(plan, gpus_per_trial=1), 1)
    cluster({"CPU": 2}, {"CPU": 2})
    with pytest.raises(ValueError, match=r"needs 3 CPUs .* have 2 CPUs and 0 GPUs; 2 CPUs"):
        budget.concurrency(replace(plan, cpus_per_trial=3), 1)


@pytest.mark.parametrize(
    ("cpus", "per_trial", "at_once", "expected"),
    [(2, 1, 1, 1), (8, 8, 8, 1), (8, 2, 8, 4), (8, 2, 3, 3), (2, 4, 3, 1)],
)
def test_only_trials_of_this_machine_share_it(
    plan, monkeypatch, cpus, per_trial, at_once, expected
):
    monkeypatch.setattr(budget.os, "cpu_count", lambda: cpus)
    assert budget.neighbours(replace(plan, cpus_per_trial=per_trial), at_once) == expected


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
