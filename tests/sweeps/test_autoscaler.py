"""A sweep on a cluster that starts with a head alone, which trains nothing, and Ray's own autoscaler.

The autoscaler's provider for one machine starts a Ray node wherever a cloud's would start an instance.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import ray

from ldns_ray.services import MARKER, Service, clean_environment, stop, tool
from tests.sweeps.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
WORKER_CPUS = 3
"""Of each node: enough for a trial of two and the one for data, and not for two trials."""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def autoscaling(gcs_address):
    """At most two workers, which go when they have been idle for 15 s."""
    commands = (
        "initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"
    )  # fmt: skip
    return {
        "cluster_name": "growing",
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.25,
        "docker": {},
        "provider": {
            "type": "fake_multinode",
            "gcs_address": gcs_address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "available_node_types": {
            "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": WORKER_CPUS, "object_store_memory": 100_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in commands},
    }


@pytest.fixture
def cluster(tmp_path):
    """The environment of a job on a head with no CPUs and no workers, whose autoscaler adds some."""
    gcs, agent, client = free_ports(3)
    address = f"{ray.util.get_node_ip_address()}:{gcs}"
    config, token, log = (tmp_path / name for name in ("autoscaling.json", "token", "ray.log"))
    config.write_text(json.dumps(autoscaling(address)))
    token.write_text(secrets.token_hex(32))
    folder = tempfile.mkdtemp(prefix="ldns-")  # Unix socket paths end at 107 characters
    shared = clean_environment() | {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token"}
    own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", MARKER: folder}
    with log.open("w") as out:
        head = subprocess.Popen(
            [
                tool("ray"), "start", "--head", "--block", "--num-cpus=0", f"--port={gcs}", f"--temp-dir={folder}",
                f"--autoscaling-config={config}", f"--dashboard-agent-listen-port={agent}",
                f"--ray-client-server-port={client}", "--include-dashboard=false", "--object-store-memory=100000000",
                "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats",
            ],
            env=shared | own, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    created = psutil.Process(head.pid).create_time()
    service = Service("ray", head.pid, created, folder, address, gcs, str(log))
    try:
        wait_until(lambda: "Ray runtime started" in log.read_text(), limit_s=120)
        yield shared | {"RAY_ADDRESS": address, "LDNS_AUTOSCALER_WAIT_MIN": "2"}
    finally:
        stop(service)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_sweep_waits_for_nodes_and_grows_with_them(cluster, tmp_path):
    """Two trials, each of a node's size, run at the same time; their nodes go when nobody asks for them."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweeps.growing", str(folder)], cwd=ROOT,
        env=cluster | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    *said, last = done.stdout.splitlines()
    assert "waits for a node, up to 2 min" in said[0]
    assert "A trial needs 2 CPUs and 0 GPUs beside 1 CPU for data." in said[0]
    assert "of 2 trials fit after" in said[1]
    result = json.loads(last)
    assert result["before"] == 1
    assert sorted(result["scores"]) == [1.0, 2.0]
    assert len(set(result["nodes"])) == 2
