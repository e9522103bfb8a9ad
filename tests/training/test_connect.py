"""Which Ray a job joins."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

PROGRAM = """
import ray
from ldns_ray.training.distributed import connect_ray

connect_ray()
print(ray.get(ray.remote(lambda: "works").remote()))
"""


@pytest.mark.slow
def test_a_cluster_that_is_gone_is_not_waited_for():
    """`ray start` keeps its address in a file, which stays where the cluster was killed."""
    folder = Path(tempfile.mkdtemp(prefix="ldns-"))  # short: it becomes part of a socket's path
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            gone = f"127.0.0.1:{probe.getsockname()[1]}"
        (folder / "ray").mkdir()
        (folder / "ray" / "ray_current_cluster").write_text(gone)
        env = os.environ | {"RAY_TMPDIR": str(folder)}
        env.pop("RAY_ADDRESS", None)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120
        )
        assert done.stdout.strip() == "works", done.stderr[-2000:]
        assert (
            time.monotonic() - began < 90
        )  # it would be given up after two minutes, with an error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
