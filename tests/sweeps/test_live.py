"""A sweep that runs, as MLflow shows it: on a real store, on one that goes away, and where nobody answers."""

import json
import socket
import time

import pytest
from mlflow import MlflowClient

from ldns_ray.sweeps.live import Live
from ldns_ray.sweeps.news import News
from ldns_ray.sweeps.standing import Standing
from ldns_ray.tracking import outbox
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.runs import NOTE
from tests.tracking.stored import artifact_of, history_of, run_of

BEGAN = 1_750_000_000.0


@pytest.fixture
def tracking(tracking_uri, request):
    return connect(tracking_uri, f"live {request.node.name}")


def news(number, score=None, status="finished", after=60.0, text=""):
    """A trial from begin to end, so many seconds after the sweep began."""
    return [
        News(number, "began", text=f"n {number}", time=BEGAN),
        News(number, "ended", text=text, score=score, status=status, time=BEGAN + after),
    ]


def live(run, standing, **options):
    return Live(run, standing, lambda text: f"Page: {text}.", clock=lambda: BEGAN + 120, **options)


def hear(standing, *parts):
    for part in parts:
        for one in part if isinstance(part, list) else [part]:
            standing.heard(one)


RUNNING = [
    News(4, "began", text="n 4", time=BEGAN),
    News(4, "rung", "diffusion", "val 1.5", 3, 9, 2.5, time=BEGAN),
]


def test_counts_are_curves_over_the_trials_that_ended(tracking):
    standing = Standing(9, 2)
    with tracking.run("sweep", key="s") as run, live(run, standing, interval=1e9):
        hear(standing, news(1, status="failed", after=1), news(2, 3.0, after=70))
        hear(standing, RUNNING, news(3, status="stopped", after=80), news(5, 2.0, after=90))
    curves = {
        key: history_of(tracking, run.run_id, key) for key in run_of(tracking, run.run_id).data.metrics
    }  # fmt: skip
    assert curves == {
        "trials_finished": [(1, 0), (2, 1), (3, 1), (4, 2)],
        "trials_failed": [(1, 1), (2, 1), (3, 1), (4, 1)],
        "trials_stopped": [(1, 0), (2, 0), (3, 1), (4, 1)],
        "trials_running": [(1, 0), (2, 0), (3, 1), (4, 1)],
        "best_score": [(2, 3.0), (3, 3.0), (4, 2.0)],
    }
    at = {
        m.step: m.timestamp
        for m in tracking.client.get_metric_history(run.run_id, "trials_finished")
    }
    assert at[2] == int((BEGAN + 70) * 1000)


def test_the_table_and_the_page_tell_how_it_stands(tracking):
    standing = Standing(9, 2)
    with tracking.run("sweep") as run:
        updated = live(run, standing)
        hear(standing, RUNNING, news(2, 3.0), news(5, 2.0))
        hear(standing, news(1, status="failed", text="no –\nlast words"), news(3, 9.0, "stopped"))
        updated.update()
        table = json.loads(artifact_of(tracking, run.run_id, "trials.json"))
        tags = run_of(tracking, run.run_id).data.tags
    assert table["columns"] == ["trial", "status", "stage", "epoch", "score", "settings", "error"]
    assert table["data"] == [
        [5, "finished", "", "", 2.0, "n 5", ""],
        [2, "finished", "", "", 3.0, "n 2", ""],
        [4, "running", "diffusion", "3/9", 2.5, "n 4", ""],
        [3, "stopped", "", "", 9.0, "n 3", ""],
        [1, "failed", "", "", None, "n 1", "last words"],
    ]
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "trials.json", "type": "table"}]
    # The live one began at 120 s of a clock that stands still; 5 trials of 60 s are left, 4 of them to begin.
    assert tags[NOTE] == (
        "Page: **4/9 done**, 1 running, 1 stopped early, 1 failed, best 2.00 (trial 5), 0 s, "
        "about 2 min left (as of 2025-06-15 15:08 UTC)."
    )


def test_what_did_not_change_is_not_written_again(tracking, monkeypatch):
    standing = Standing(9, 2)
    with tracking.run("sweep") as run:
        updated, written = live(run, standing), []
        monkeypatch.setattr(run, "describe", written.append)
        for expected in (1, 1):
            updated.update()
            assert len(written) == expected
        hear(standing, RUNNING)
        updated.update()
        assert len(written) == 2


def test_a_thread_updates_while_the_sweep_runs(tracking):
    standing = Standing(9, 2)
    with tracking.run("sweep") as run, live(run, standing, interval=0.05):
        hear(standing, news(1, 3.0))
        deadline = time.monotonic() + 10
        while "1/9 done" not in run_of(tracking, run.run_id).data.tags.get(NOTE, ""):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_sweep_that_goes_on_adds_to_its_curves(tracking):
    before = [*news(1, 3.0, after=10), *news(2, status="failed", after=20)]
    with tracking.run("sweep", key="s") as run, live(run, Standing(9, 2, before[:2])):
        pass
    # The process died before trial 2 was told of.
    standing = Standing(9, 2, before)
    with tracking.run("sweep", key="s") as run, live(run, standing):
        hear(standing, news(3, 1.0, after=200))
    assert history_of(tracking, run.run_id, "best_score") == [(1, 3.0), (2, 3.0), (3, 1.0)]
    assert history_of(tracking, run.run_id, "trials_failed") == [(1, 0), (2, 1), (3, 1)]


@pytest.fixture
def nobody(monkeypatch):
    """A client of a server at an address where none is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowClient(f"http://127.0.0.1:{port}")


def test_a_server_that_goes_away_is_logged_once_and_caught_up_with(
    tracking, nobody, monkeypatch, caplog
):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.01)
    standing = Standing(9, 2)
    with tracking.run("sweep") as run:
        updated = live(run, standing)
        with monkeypatch.context() as outage:
            outage.setattr(run, "_client", nobody)
            outage.setattr(run._outbox, "_client", nobody)
            for number in (1, 2, 3):
                hear(standing, news(number, float(number)))
                updated.update()
        said = [r.getMessage() for r in caplog.records if r.name == "ldns_ray.sweeps.live"]
        assert len(said) == 1
        assert said[0].startswith("The sweep's table and headline in MLflow are not up to date: ")
        assert "refused" in said[0]
        updated.update()
        run.flush()
        assert history_of(tracking, run.run_id, "trials_finished") == [(1, 1), (2, 2), (3, 3)]
        assert "3/9 done" in run_of(tracking, run.run_id).data.tags[NOTE]
        assert b'"n 3"' in artifact_of(tracking, run.run_id, "trials.json")


def test_the_sweep_does_not_wait_for_a_server_that_does_not_answer(tracking, monkeypatch):
    """What happens in the block costs nothing, and an error leaves it at once."""
    standing, asked = Standing(9, 2), []

    def hangs(*args):
        asked.append(args)
        time.sleep(3)

    run = tracking.run("sweep")
    monkeypatch.setattr(run, "table", hangs)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="of the sweep"), live(run, standing, interval=0.01):
        hear(standing, news(1, 1.0))
        while not asked:
            assert time.monotonic() < began + 2
            time.sleep(0.01)
        hear(standing, news(2, 1.0))
        raise RuntimeError("of the sweep")
    assert time.monotonic() < began + 2
