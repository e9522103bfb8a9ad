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


LISTENING = """
import stat
from pathlib import Path

import psutil
import ray
from ldns_ray.training.distributed import connect_ray

connect_ray()
assert ray.get(ray.remote(lambda: 1).remote()) == 1
me = psutil.Process()
for process in (me, *me.children(recursive=True)):
    for c in process.net_connections(kind="inet"):
        if c.status == psutil.CONN_LISTEN:
            print("listens", c.laddr.ip)
print("mode", oct(stat.S_IMODE(Path("~/.ray/auth_token").expanduser().stat().st_mode)))
print("gcs", ray.get_runtime_context().gcs_address, flush=True)
input()
"""
JOINING = """
import sys
import ray

ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
print("joined", flush=True)
"""


@pytest.mark.slow
def test_a_ray_of_ones_own_listens_on_this_machine_alone_and_asks_for_the_token(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH") and k != "RAY_ADDRESS"}  # fmt: skip
    env["HOME"] = str(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", LISTENING], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.split())
            if said[-1][0] == "gcs":
                break
        listening = {words[1] for words in said if words[0] == "listens"}
        assert listening
        assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        assert ["mode", "0o600"] in said
        other = tmp_path / "other"
        other.write_text("0" * 64)
        env |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        for token, joins in ((other, False), (tmp_path / ".ray" / "auth_token", True)):
            joined = subprocess.run(
                [sys.executable, "-c", JOINING, said[-1][1]], env=env | {"RAY_AUTH_TOKEN_PATH": str(token)},
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert (joined.stdout == "joined\n") == joins, joined.stderr[-2000:]
            assert ("ConnectionError" in joined.stderr) != joins
        process.communicate("\n", timeout=60)
