"""`cluster.yaml` is one that Ray's launcher accepts, and says what the README promises of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[1] / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text())


def _validate(cluster: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def test_the_launcher_accepts_it(cluster):
    _validate(cluster)


@pytest.mark.parametrize("change", [{"head_node_type": "nobody"}, {"max_wrkers": 3}])
def test_the_launcher_rejects_mistakes(cluster, change):
    with pytest.raises(Exception, match=r"head_node_type|max_wrkers"):
        _validate(cluster | change)


def test_the_head_trains_nothing(cluster):
    assert cluster["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert any("--num-cpus=0" in c for c in cluster["head_start_ray_commands"])


def test_gpu_workers_come_and_go(cluster):
    worker = cluster["available_node_types"]["gpu_worker"]
    assert worker["resources"]["GPU"] >= 1
    assert (worker["min_workers"], worker["max_workers"] > 0) == (0, True)
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


@pytest.mark.parametrize(
    "variable",
    ["RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0", "LDNS_ROOT=s3://", "MLFLOW_TRACKING_URI="],
)
def test_jobs_inherit_what_they_need(cluster, variable):
    assert any(f"export {variable}" in command for command in cluster["setup_commands"])
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert all(c.startswith(". ~/.profile") for c in cluster[commands])


def test_the_dashboard_is_not_open_to_the_network(cluster):
    (start,) = [c for c in cluster["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host=127.0.0.1" in start
    assert cluster["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
