"""A real server, killed and crowded: nothing is lost, nothing is there twice."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ldns_ray import services
from ldns_ray.tracking.connection import connect
from tests.tracking.stored import artifact_of, history_of, run_of

pytestmark = pytest.mark.slow

AWAY_S = 30.0


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[services.Service]:
    """An MLflow server as `make ui` starts it, on a port that nobody else looks for. The last test here kills it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = services.start_mlflow(tmp_path_factory.mktemp("root"), port)
    yield started
    services.stop(started)


@contextmanager
def _process(program, *arguments):
    """A Python process that runs `program`; killed if the test ends first."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(["."] + sys.path)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def _stored_files(tracking, run_id, folder):
    """Name below the run's artifacts → content."""
    uri = run_of(tracking, run_id).info.artifact_uri
    folder.mkdir()
    tracking.repository(uri).download_artifacts("", str(folder))
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


CROWD = """
import sys, time
from ldns_ray.tracking.connection import connect

address, parent, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
tracking = connect(address, "crowd")
sys.stdin.readline()
with tracking.run(f"trial {number}", key=f"trial {number}", parent=parent) as run:
    run.params({f"p{i}": number * i for i in range(20)})
    run.dataset("speech", "01", "/data/speech", "training")
    for step in range(200):
        run.metrics({"a": step / 7, "b": number + step / 3, "c": -step}, step=step)
    run.tag({"number": number})
    run.text("number.txt", str(number))
    run.table("numbers", [{"number": number}])
"""


def test_eight_processes_at_once_lose_nothing(service, tmp_path):
    tracking = connect(service.address, "crowd")
    with tracking.run("sweep", key="sweep") as parent:
        env = os.environ | {"PYTHONPATH": os.pathsep.join(["."] + sys.path)}
        crowd = [
            subprocess.Popen(
                [sys.executable, "-c", CROWD, service.address, parent.run_id, str(i)],
                env=env, stdin=subprocess.PIPE, text=True,
            )
            for i in range(8)
        ]  # fmt: skip
        try:
            for process in crowd:
                process.stdin.write("go\n")
                process.stdin.close()
            assert [process.wait(timeout=180) for process in crowd] == [0] * 8
        finally:
            for process in crowd:
                process.kill()
    children = tracking.children(parent.run_id)
    assert sorted(c["name"] for c in children) == [f"trial {i}" for i in range(8)]
    assert {c["status"] for c in children} == {"FINISHED"}
    for row in children:
        run_id, number = row["run_id"], int(row["key"].split()[1])
        assert row["params"] == {f"p{i}": str(number * i) for i in range(20)}
        assert row["tags"]["number"] == str(number)
        histories = {name: history_of(tracking, run_id, name) for name in ("a", "b", "c")}
        steps = range(200)
        assert histories["a"] == [(s, s / 7) for s in steps]
        assert histories["b"] == [(s, number + s / 3) for s in steps]
        assert histories["c"] == [(s, float(-s)) for s in steps]
        assert _stored_files(tracking, run_id, tmp_path / row["key"]) == {
            "number.txt": str(number),
            "numbers.json": f'{{"columns": ["number"], "data": [[{number}]]}}',
        }
        (used,) = run_of(tracking, run_id).inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("speech", "01")


RESENDER = """
import os, signal, sys
from ldns_ray.tracking.connection import connect

first, last, dies = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "dies"
with connect(sys.argv[1], "resent").run("r", key="k") as run:
    for step in range(first, last):
        run.metrics({"loss": step / 7}, step=step, at=1e9 + step)
    if dies:
        run.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_process_sent_before_it_died_is_not_doubled_by_the_next(service):
    with _process(RESENDER, service.address, 0, 60, "dies") as first:
        assert first.wait(timeout=60) == -signal.SIGKILL
    with _process(RESENDER, service.address, 40, 100, "ends") as second:
        assert second.wait(timeout=60) == 0
    tracking = connect(service.address, "resent")
    (run,) = tracking.client.search_runs([tracking.experiment_id])
    assert run.info.status == "FINISHED"
    history = tracking.client.get_metric_history(run.info.run_id, "loss")
    told = [(m.step, m.value, m.timestamp) for m in history]
    assert told == [(s, s / 7, int((1e9 + s) * 1000)) for s in range(100)]


WRITER = """
import sys, threading, time
from ldns_ray.tracking.connection import connect

tracking = connect(sys.argv[1], "outage")
slowest = {}

def repeat(what, call, n=60):
    for i in range(n):
        began = time.monotonic()
        call(i)
        slowest[what] = max(slowest.get(what, 0.0), time.monotonic() - began)
        time.sleep(0.1)

def child(i):
    with tracking.run(f"child {i}", key=f"child {i}", parent=run.run_id) as made:
        made.metrics({"loss": i / 7}, step=i)

with tracking.run("r", key="k") as run:
    print(run.run_id, flush=True)
    calls = {
        "metrics": lambda i: run.metrics({"loss": i / 7, "val_loss": i / 3}, step=i),
        "params": lambda i: run.params({f"p{i}": i}),
        "tag": lambda i: run.tag({f"t{i}": i}),
        "text": lambda i: run.text(f"texts/{i}.txt", f"text {i}"),
        "table": lambda i: run.table(f"table{i}", [{"i": i}]),
        "child": child,
    }
    threads = [threading.Thread(target=repeat, args=pair) for pair in calls.items()]
    for t in threads: t.start()
    for t in threads: t.join()
print(*(f"{what}={s:.2f}" for what, s in slowest.items()), flush=True)
"""


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(service, request, tmp_path):
    root = Path(service.log).parents[1]
    with _process(WRITER, service.address) as writer:
        run_id = writer.stdout.readline().strip()
        assert run_id
        time.sleep(2)
        for process in services._members(service):
            process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(AWAY_S)
        assert writer.poll() is None
        again = services.start_mlflow(root, service.port)
        request.addfinalizer(lambda: services.stop(again))
        assert again.address == service.address
        away_s = time.monotonic() - killed
        *_, last = writer.stdout  # MLflow says where each run is
        slowest = dict(word.split("=") for word in last.split())
        assert writer.wait(timeout=60) == 0
    assert float(slowest.pop("metrics")) < 0.5  # they never wait; the rest did
    assert len(slowest) == 5
    assert all(AWAY_S - 5 < float(s) < away_s + 30 for s in slowest.values()), slowest

    tracking = connect(service.address, "outage")
    stored = run_of(tracking, run_id)
    assert stored.info.status == "FINISHED"
    for name, scale in (("loss", 7), ("val_loss", 3)):
        assert history_of(tracking, run_id, name) == [(s, s / scale) for s in range(60)]
    assert stored.data.params == {f"p{i}": str(i) for i in range(60)}
    tags = {k: v for k, v in stored.data.tags.items() if k.startswith("t")}
    assert tags == {f"t{i}": str(i) for i in range(60)}
    tables = {f"table{i}.json": f'{{"columns": ["i"], "data": [[{i}]]}}' for i in range(60)}
    texts = {f"texts/{i}.txt": f"text {i}" for i in range(60)}
    assert _stored_files(tracking, run_id, tmp_path / "all") == tables | texts
    children = tracking.children(run_id)
    assert sorted(c["key"] for c in children) == sorted(f"child {i}" for i in range(60))
    assert {c["status"] for c in children} == {"FINISHED"}
    assert all(c["key"] == c["name"] and len(c["metrics"]) == 1 for c in children)

    # The same store without its server: same runs, same artifacts.
    embedded = connect(f"sqlite:///{root / 'mlflow.db'}", "outage")
    with embedded.run("r", key="k") as run:
        assert run.run_id == run_id
        run.text("b.txt", "beside")
    assert artifact_of(tracking, run_id, "b.txt") == b"beside"
    assert not psutil.pid_exists(service.pid)
