"""Stores, experiments and their pages: reached, named, and searched."""

import json
import time
from pathlib import Path

import pytest

from ldns_ray.tracking import experiments
from ldns_ray.tracking.connection import connect, default_uri
from ldns_ray.tracking.experiments import Tracking
from tests.tracking.stored import logged_model, run_of


def test_a_model_is_found_by_its_fingerprint_from_any_experiment(tracking, uri):
    with tracking.run("r") as run:
        logged_model(tracking, run, "same")
        time.sleep(0.002)  # models are dated in milliseconds
        latest = logged_model(tracking, run, "same")
        logged_model(tracking, run, "another")
    elsewhere = connect(uri, "elsewhere")
    assert elsewhere.find_model("same") == latest
    assert elsewhere.find_model("unknown") == ""
    # What a card says may be anything.
    for hostile in ("", "same' OR name = 'm", "' or 'a' = 'a", "%"):
        assert elsewhere.find_model(hostile) == ""


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


def test_children_and_attached_runs(tracking):
    with tracking.run("parent", key="p") as parent:
        for i in range(3):
            with tracking.run(f"trial {i}", key=f"t{i}", parent=parent.run_id) as child:
                child.params({"width": i})
                child.metrics({"realism": i / 10})
        with tracking.attach(parent.run_id) as elsewhere:
            elsewhere.metrics({"best": 0.2})
        assert run_of(tracking, parent.run_id).info.status == "RUNNING"
    rows = tracking.children(parent.run_id)
    assert [r["name"] for r in rows] == ["trial 0", "trial 1", "trial 2"]
    assert [r["key"] for r in rows] == ["t0", "t1", "t2"]
    assert [r["metrics"]["realism"] for r in rows] == [0.0, 0.1, 0.2]
    assert {r["status"] for r in rows} == {"FINISHED"}
    assert run_of(tracking, parent.run_id).data.metrics == {"best": 0.2}


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


def test_no_server():
    with pytest.raises(
        ConnectionError, match=r"at http://127\.0\.0\.1:9: .* make ui, or set MLFLOW"
    ):
        connect("http://127.0.0.1:9", "e", wait_s=1.0)


@pytest.mark.slow
def test_no_server_is_told_in_time():
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        connect("http://127.0.0.1:9", "e")
    assert time.monotonic() - began < 15
