"""Metrics on their way: none is lost, and nobody waits for them."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import requests

from ldns_ray import local, services
from ldns_ray.tracking import outbox
from ldns_ray.tracking.connection import connect
from tests.tracking.stored import artifact_of, history_of, run_of


def test_many_metrics(tracking):
    with tracking.run("r") as run:
        for step in range(2500):
            run.metrics({"loss": float(step)}, step=step)
    steps = history_of(tracking, run.run_id, "loss")
    assert steps == [(s, float(s)) for s in range(2500)]


def test_flush_waits_for_the_store(tracking):
    with tracking.run("r") as run:
        run.metrics({"loss": 1.0})
        run.flush()
        assert run_of(tracking, run.run_id).data.metrics == {"loss": 1.0}


def test_an_absent_server_does_not_block_and_loses_nothing(tracking, monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.01)
    real, failures = tracking.client.direct.log_batch, [3]

    def away(*args, **kwargs):
        if failures[0]:
            failures[0] -= 1
            raise requests.ConnectionError("connection refused")
        return real(*args, **kwargs)

    with tracking.run("r") as run:
        monkeypatch.setattr(tracking.client.direct, "log_batch", away)
        began = time.monotonic()
        for step in range(20):
            run.metrics({"loss": 1.0}, step=step)
        assert time.monotonic() - began < 0.5
    assert failures == [0]
    assert len(history_of(tracking, run.run_id, "loss")) == 20


def test_a_server_that_stays_away_is_an_error(tracking, monkeypatch):
    def away(*args, **kwargs):
        raise requests.ConnectionError("connection refused")

    run = tracking.run("r")
    real = tracking.client.direct.log_batch
    monkeypatch.setattr(tracking.client.direct, "log_batch", away)
    run.metrics({"loss": 1.0})
    with pytest.raises(ConnectionError, match=r"1 metrics of run"):
        run._outbox.flush(limit_s=0.2)
    monkeypatch.setattr(tracking.client.direct, "log_batch", real)
    run.flush()


def test_refused_metrics_are_an_error(tracking):
    run = tracking.run("r")
    tracking.client.delete_run(run.run_id)
    run.metrics({"loss": 1.0})
    with pytest.raises(RuntimeError, match="refused metrics"):
        run.flush()
    with pytest.raises(RuntimeError, match="refused metrics"):
        run._outbox.close()


WRITER = """
import sys, time
from ldns_ray.tracking.connection import connect
tracking = connect(sys.argv[1], "outage")
with tracking.run("r", key="k") as run:
    print(run.run_id, run.url, flush=True)
    slowest = 0.0
    for step in range(80):
        began = time.monotonic()
        run.metrics({"loss": step / 7, "val_loss": step / 3}, step=step)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    print(slowest, flush=True)
"""


@pytest.mark.slow
def test_nothing_is_lost_when_the_server_restarts(tmp_path):
    try:
        server = local.up(tmp_path, ("mlflow",))["mlflow"]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(["."] + sys.path)}
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, server.address],
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        ) as writer:
            assert writer.stdout is not None
            run_id, url = writer.stdout.readline().split()
            assert url.startswith(f"{server.address}/#/experiments/")
            time.sleep(2)
            for process in services._members(server):
                process.send_signal(signal.SIGKILL)
            time.sleep(4)
            again = local.up(tmp_path, ("mlflow",))["mlflow"]
            assert again.address == server.address
            assert float(writer.stdout.readline()) < 0.1
            assert writer.wait(timeout=120) == 0
        tracking = connect(server.address, "outage")
        for key, scale in (("loss", 7), ("val_loss", 3)):
            assert history_of(tracking, run_id, key) == [(s, s / scale) for s in range(80)]
        assert run_of(tracking, run_id).info.status == "FINISHED"
        with tracking.attach(run_id) as run:
            run.text("a.txt", "served")
        assert artifact_of(tracking, run_id, "a.txt") == b"served"
        # The same store without its server: same runs, same artifacts.
        embedded = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", "outage")
        with embedded.run("r", key="k") as run:
            assert run.run_id == run_id
            run.text("b.txt", "beside")
        assert artifact_of(tracking, run_id, "b.txt") == b"beside"
    finally:
        local.down(tmp_path)
    assert not psutil.pid_exists(server.pid)
