"""Metrics on their way: none is lost, and nobody waits for them."""

import time

import pytest
import requests

from ldns_ray.tracking import outbox
from tests.tracking.stored import history_of, run_of


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


def test_metrics_sent_again_by_another_are_kept_once(served):
    """As by a process that began before the first one's arrived, and by one that found them there."""
    history = [(step, step / 7) for step in range(30)]

    def send(run, value=lambda step: step / 7):
        for step in range(30):
            run.metrics({"loss": value(step)}, step=step, at=1e9 + step)

    with served.run("r", key="k") as first, served.attach(first.run_id) as beside:
        send(first)
        first.flush()
        send(beside)
    assert history_of(served, first.run_id, "loss") == history
    with served.run("r", key="k") as later:
        send(later, lambda step: -1.0)
        later.metrics({"loss": 4.5}, step=30)
    assert history_of(served, first.run_id, "loss") == [*history, (30, 4.5)]
