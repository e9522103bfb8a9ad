"""Runs on a real store: what is logged can be read back, once, whoever asked and however often."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow.artifacts
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException

from ldns_ray import local, services
from ldns_ray.tracking import connection, experiments, outbox
from ldns_ray.tracking.connection import connect, default_uri
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.runs import FINGERPRINT


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture
def tracking(uri, request) -> Tracking:
    """An experiment of its own for each test: a new store takes seconds."""
    return connect(uri, request.node.name)


def _get(tracking: Tracking, run_id: str):
    return tracking.client.get_run(run_id)


def _steps(tracking: Tracking, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in tracking.client.get_metric_history(run_id, key)]


def _artifact(tracking: Tracking, run_id: str, path: str) -> bytes:
    uri = f"{_get(tracking, run_id).info.artifact_uri}/{path}"
    return Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=tracking.uri)).read_bytes()


def test_a_finished_run(tracking):
    with tracking.run("first", tags={"colour": "blue"}, description="What it is.") as run:
        run.params({"width": 64, "name": "x"})
        run.metrics({"loss": np.float32(0.5)}, step=1)
        run.metrics({"loss": 0.25}, step=2)
    stored = _get(tracking, run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "first"
    assert stored.data.params == {"width": "64", "name": "x"}
    assert _steps(tracking, run.run_id, "loss") == [(1, 0.5), (2, 0.25)]
    tags = stored.data.tags
    assert tags["colour"] == "blue"
    assert tags["mlflow.note.content"] == "What it is."
    assert tags["ldns.version"]


def test_the_commit_comes_from_the_environment_in_a_copy(tracking, monkeypatch):
    monkeypatch.setenv("LDNS_COMMIT", "abc123")
    with tracking.run("r") as run:
        pass
    assert _get(tracking, run.run_id).data.tags["mlflow.source.git.commit"] == "abc123"


def test_a_failed_run_keeps_its_traceback(tracking):
    with pytest.raises(ZeroDivisionError), tracking.run("r") as run:
        run.metrics({"loss": 1.0})
        _ = 1 / 0
    assert _get(tracking, run.run_id).info.status == "FAILED"
    assert b"ZeroDivisionError" in _artifact(tracking, run.run_id, "traceback.txt")
    assert _steps(tracking, run.run_id, "loss") == [(0, 1.0)]


def test_an_interrupted_run_is_killed(tracking):
    with pytest.raises(KeyboardInterrupt), tracking.run("r") as run:
        raise KeyboardInterrupt
    assert _get(tracking, run.run_id).info.status == "KILLED"


def test_the_same_key_continues_the_same_run(tracking):
    with pytest.raises(RuntimeError), tracking.run("r", key="k1") as first:
        first.params({"a": 1})
        for step in range(3):
            first.metrics({"loss": float(step)}, step=step)
        raise RuntimeError
    with tracking.run("r", key="k1") as second:
        assert second.run_id == first.run_id
        assert _get(tracking, first.run_id).info.status == "RUNNING"
        second.params({"a": 1, "b": 2})
        for step in range(1, 5):  # as from a checkpoint at step 1
            second.metrics({"loss": float(step)}, step=step)
    assert _get(tracking, first.run_id).info.status == "FINISHED"
    assert _get(tracking, first.run_id).data.params == {"a": "1", "b": "2"}
    assert _steps(tracking, first.run_id, "loss") == [(s, float(s)) for s in range(5)]
    with tracking.run("r", key="k2") as other:
        assert other.run_id != first.run_id


def test_a_deleted_run_is_not_continued(tracking):
    with tracking.run("r", key="k") as first:
        pass
    tracking.client.delete_run(first.run_id)
    with tracking.run("r", key="k") as second:
        assert second.run_id != first.run_id


def test_racing_for_a_key_leaves_one_run(tracking):
    barrier, ids = threading.Barrier(4), []

    def ask() -> None:
        barrier.wait()
        with tracking.run("r", key="same") as run:
            ids.append(run.run_id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(ids) == 4
    assert len(tracking.client.search_runs([tracking.experiment_id])) == 1


def test_a_parameter_does_not_change(tracking):
    with tracking.run("r") as run:
        run.params({"width": 64})
        run.params({"width": 64})
        with pytest.raises(ValueError, match=r"width .* is '64' and cannot become '65'"):
            run.params({"width": 65})


def test_many_and_long_parameters(tracking):
    with tracking.run("r") as run:
        run.params({f"p{i}": i for i in range(250)} | {"long": "x" * 10_000})
    params = _get(tracking, run.run_id).data.params
    assert len(params) == 251
    assert len(params["long"]) == 6000
    assert params["long"].endswith("(cut: 10000 characters)")
    with tracking.attach(run.run_id) as again:
        again.params({"long": "x" * 10_000})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_are_finite(tracking, value):
    with (
        tracking.run("r") as run,
        pytest.raises(ValueError, match=r"realism at step 3 must be finite"),
    ):
        run.metrics({"loss": 1.0, "realism": value}, step=3)
    assert _get(tracking, run.run_id).data.metrics == {}


def test_many_metrics(tracking):
    with tracking.run("r") as run:
        for step in range(2500):
            run.metrics({"loss": float(step)}, step=step)
    steps = _steps(tracking, run.run_id, "loss")
    assert steps == [(s, float(s)) for s in range(2500)]


def test_flush_waits_for_the_store(tracking):
    with tracking.run("r") as run:
        run.metrics({"loss": 1.0})
        run.flush()
        assert _get(tracking, run.run_id).data.metrics == {"loss": 1.0}


def test_an_absent_server_does_not_block_and_loses_nothing(tracking, monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.01)
    real, failures = tracking.client.log_batch, [3]

    def away(*args, **kwargs):
        if failures[0]:
            failures[0] -= 1
            raise MlflowException("connection refused")
        return real(*args, **kwargs)

    with tracking.run("r") as run:
        monkeypatch.setattr(tracking.client, "log_batch", away)
        began = time.monotonic()
        for step in range(20):
            run.metrics({"loss": 1.0}, step=step)
        assert time.monotonic() - began < 0.5
    assert failures == [0]
    assert len(_steps(tracking, run.run_id, "loss")) == 20


def test_a_server_that_stays_away_is_an_error(tracking, monkeypatch):
    def away(*args, **kwargs):
        raise MlflowException("connection refused")

    run = tracking.run("r")
    real = tracking.client.log_batch
    monkeypatch.setattr(tracking.client, "log_batch", away)
    run.metrics({"loss": 1.0})
    with pytest.raises(ConnectionError, match=r"1 metrics of run"):
        run._outbox.flush(limit_s=0.2)
    monkeypatch.setattr(tracking.client, "log_batch", real)
    run.flush()


def test_refused_metrics_are_an_error(tracking):
    run = tracking.run("r")
    tracking.client.delete_run(run.run_id)
    run.metrics({"loss": 1.0})
    with pytest.raises(RuntimeError, match="refused metrics"):
        run.flush()
    with pytest.raises(RuntimeError, match="refused metrics"):
        run._outbox.close()


def test_files_figures_and_tables(tracking, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    figure = Figure()
    figure.subplots().plot([0, 1])
    rows = [
        {"sampler": "ddpm", "a.steps": np.int64(1000)},
        {"sampler": "dpmpp_2m", "a.steps": 20},
    ]
    with tracking.run("r") as run:
        run.text("notes/read.md", "hello")
        run.artifact(tmp_path / "folder", "data")
        run.artifact(tmp_path / "folder" / "a.txt")
        run.figures({"rates": figure})
        run.table("samplers", rows)
        run.table("samplers", rows)
        with pytest.raises(ValueError, match=r"Row 1 of table t must have columns \['a'\]"):
            run.table("t", [{"a": 1}, {"b": 1}])
        with pytest.raises(FileNotFoundError, match="nowhere"):
            run.artifact(tmp_path / "nowhere")
    assert _artifact(tracking, run.run_id, "notes/read.md") == b"hello"
    assert _artifact(tracking, run.run_id, "data/folder/a.txt") == b"a"
    assert _artifact(tracking, run.run_id, "a.txt") == b"a"
    assert _artifact(tracking, run.run_id, "plots/rates.png").startswith(b"\x89PNG")
    table = json.load(io.BytesIO(_artifact(tracking, run.run_id, "samplers.json")))
    assert table == {"columns": ["sampler", "a/steps"], "data": [["ddpm", 1000], ["dpmpp_2m", 20]]}
    tag = json.loads(_get(tracking, run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert tag == [{"path": "samplers.json", "type": "table"}]


def test_parquet_tables(tracking):
    units = pa.table({"unit": ["u0", "u1"], "rate_hz": [3.5, 0.25]})
    with tracking.run("r") as run:
        run.parquet("units", units)
    stored = _artifact(tracking, run.run_id, "units.parquet")
    assert pq.read_table(io.BytesIO(stored)).equals(units)
    assert pd.read_parquet(io.BytesIO(stored)).to_dict("list") == units.to_pydict()
    # The UI takes what is tagged as a table for JSON, and shows an error in its place.
    assert "mlflow.loggedArtifacts" not in _get(tracking, run.run_id).data.tags


def test_a_note_is_replaced(tracking):
    with tracking.run("r", description="Begun.") as run:
        run.describe("Done.")
    assert _get(tracking, run.run_id).data.tags["mlflow.note.content"] == "Done."


def _logged(tracking, run, fingerprint):
    """The address of a logged model without files."""
    made = tracking.client.create_logged_model(
        tracking.experiment_id, name="m", source_run_id=run.run_id, tags={FINGERPRINT: fingerprint}
    )
    return f"models:/{made.model_id}"


def test_metrics_of_a_model_lead_to_it_and_to_the_data(tracking):
    with tracking.run("r") as run:
        address = _logged(tracking, run, "f1")
        run.metrics({"loss": 3.0})
        run.metrics({"score": 1.5}, model=address, dataset=("speech", "0123"))
        run.model(address, "output")
    with tracking.run("evaluate") as other:
        other.model(address, "input")
    (metric,) = tracking.client.get_logged_model(address.removeprefix("models:/")).metrics
    assert (metric.key, metric.value) == ("score", 1.5)
    assert (metric.dataset_name, metric.dataset_digest) == ("speech", "0123")
    assert _get(tracking, run.run_id).data.metrics == {"loss": 3.0, "score": 1.5}
    (made,) = _get(tracking, run.run_id).outputs.model_outputs
    (used,) = _get(tracking, other.run_id).inputs.model_inputs
    assert [made.model_id, used.model_id] == [address.removeprefix("models:/")] * 2


def test_a_model_is_found_by_its_fingerprint_from_any_experiment(tracking, uri):
    with tracking.run("r") as run:
        _logged(tracking, run, "same")
        time.sleep(0.002)  # models are dated in milliseconds
        latest = _logged(tracking, run, "same")
        _logged(tracking, run, "another")
    elsewhere = connect(uri, "elsewhere")
    assert elsewhere.find_model("same") == latest
    assert elsewhere.find_model("unknown") == ""


def _view(tracking, name):
    tags = tracking.client.get_experiment(tracking.experiment_id).tags
    return json.loads(tags[f"mlflow.sharedViewState.{name}"])


def test_runs_side_by_side(tracking):
    said = tracking.compare_url(columns=["score", "kl_psc"])
    assert said == f"view 'Best first' of experiment {tracking.experiment!r} in {tracking.uri}"
    view = _view(tracking, "best-first")
    assert view["name"] == "Best first"
    state = json.loads(view["state"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`score`", True)
    assert state["selectedColumns"] == ["metrics.`score`", "metrics.`kl_psc`", "attributes.`Dataset`"]  # fmt: skip
    assert state["columnOrder"] == state["selectedColumns"]
    with tracking.run("a", tags={"ldns.kind": "sweep"}) as sweep:
        pass
    with tracking.run("b", tags={"ldns.kind": "trial"}, parent=sweep.run_id) as trial:
        pass
    with tracking.run("c", tags={"ldns.kind": "train"}) as train:
        pass

    def listed(where):
        return {r.info.run_id for r in tracking.client.search_runs([tracking.experiment_id], where)}

    assert listed(state["searchFilter"]) == {trial.run_id, train.run_id}
    tracking.compare_url("loss", settings=["seed"], parent=sweep.run_id, name="Sweep 12, best first")  # fmt: skip
    state = json.loads(_view(tracking, "sweep-12-best-first")["state"])
    assert listed(state["searchFilter"]) == {trial.run_id}
    assert state["orderByKey"] == "metrics.`loss`"
    assert "params.`seed`" in state["selectedColumns"]
    assert tracking.view_link("Sweep 12, best first").endswith("viewStateShareKey=sweep-12-best-first")  # fmt: skip


def test_a_servers_addresses(tracking):
    served = Tracking(tracking.client, "http://me:secret@h:1/", tracking.experiment_id, "e")
    e = tracking.experiment_id
    page = f"#/experiments/{e}/runs/ab?workflowType=machine_learning"
    assert served.url("ab") == f"http://h:1/{page}"
    assert tracking.link("runs", "ab") == page
    assert served.compare_url() == f"http://h:1/{served.view_link()}"
    with tracking.run("r") as run:
        assert run.link("report.html").startswith(f"#/experiments/{e}/runs/{run.run_id}/artifacts/report.html?")  # fmt: skip


def test_a_note_on_the_experiment_stays_as_it_is(tracking):
    tracking.describe("What the columns mean.")
    tracking.describe("Another.")
    tags = tracking.client.get_experiment(tracking.experiment_id).tags
    assert tags["mlflow.note.content"] == "What the columns mean."


def test_a_dataset_can_be_searched(tracking):
    with tracking.run("r") as run:
        run.dataset("speech", "0123456789abcdef", "/data/speech", "training", {"trials": 160})
    query = "dataset.digest = '0123456789abcdef' AND dataset.context = 'training'"
    (found,) = tracking.client.search_runs([tracking.experiment_id], query)
    (entry,) = found.inputs.dataset_inputs
    assert entry.dataset.name == "speech"
    assert json.loads(entry.dataset.source) == {"uri": "/data/speech"}
    assert json.loads(entry.dataset.profile) == {"trials": 160}


def test_children_and_attached_runs(tracking):
    with tracking.run("parent", key="p") as parent:
        for i in range(3):
            with tracking.run(f"trial {i}", key=f"t{i}", parent=parent.run_id) as child:
                child.params({"width": i})
                child.metrics({"realism": i / 10})
        with tracking.attach(parent.run_id) as elsewhere:
            elsewhere.metrics({"best": 0.2})
        assert _get(tracking, parent.run_id).info.status == "RUNNING"
    rows = tracking.children(parent.run_id)
    assert [r["name"] for r in rows] == ["trial 0", "trial 1", "trial 2"]
    assert [r["key"] for r in rows] == ["t0", "t1", "t2"]
    assert [r["metrics"]["realism"] for r in rows] == [0.0, 0.1, 0.2]
    assert {r["status"] for r in rows} == {"FINISHED"}
    assert _get(tracking, parent.run_id).data.metrics == {"best": 0.2}


def test_a_servers_artifacts_are_written_beside_the_store(tracking):
    served = tracking.repository_uri("mlflow-artifacts:/3/run/artifacts")
    store = Path(tracking.uri.removeprefix("sqlite:///")).parent
    assert served == (store / "mlartifacts/3/run/artifacts").as_uri()


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri(str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI"):
        default_uri("s3://bucket/x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://h:1")
    assert default_uri("s3://bucket/x") == "http://h:1"
    with pytest.raises(ValueError, match=r"must start with http://.* got 'file:///x'"):
        connect("file:///x", "e")
    # A name and password in the address stay out of what is printed.
    assert experiments.public("http://me:secret@h:1/mlflow/") == "http://h:1/mlflow"


def test_no_server(monkeypatch):
    monkeypatch.setattr(connection, "REACH_LIMIT_S", 1.0)
    with pytest.raises(
        ConnectionError, match=r"at http://127\.0\.0\.1:9: .* make ui, or set MLFLOW"
    ):
        connect("http://127.0.0.1:9", "e")


@pytest.mark.slow
def test_no_server_is_told_in_time():
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        connect("http://127.0.0.1:9", "e")
    assert time.monotonic() - began < 15


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
            # Far less than the server was away for, however busy the machine.
            assert float(writer.stdout.readline()) < 2
            assert writer.wait(timeout=120) == 0
        tracking = connect(server.address, "outage")
        for key, scale in (("loss", 7), ("val_loss", 3)):
            assert _steps(tracking, run_id, key) == [(s, s / scale) for s in range(80)]
        assert _get(tracking, run_id).info.status == "FINISHED"
        with tracking.attach(run_id) as run:
            run.text("a.txt", "served")
        assert _artifact(tracking, run_id, "a.txt") == b"served"
        # The same store without its server: same runs, same artifacts.
        embedded = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", "outage")
        with embedded.run("r", key="k") as run:
            assert run.run_id == run_id
            run.text("b.txt", "beside")
        assert _artifact(tracking, run_id, "b.txt") == b"beside"
    finally:
        local.down(tmp_path)
    assert not psutil.pid_exists(server.pid)
