"""Runs on a real store: what is logged can be read back, once, whoever asked and however often."""

import io
import json
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from tests.tracking.stored import artifact_of, history_of, logged_model, run_of


def test_a_finished_run(tracking):
    with tracking.run("first", tags={"colour": "blue"}, description="What it is.") as run:
        run.params({"width": 64, "name": "x"})
        run.metrics({"loss": np.float32(0.5)}, step=1)
        run.metrics({"loss": 0.25}, step=2)
    stored = run_of(tracking, run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "first"
    assert stored.data.params == {"width": "64", "name": "x"}
    assert history_of(tracking, run.run_id, "loss") == [(1, 0.5), (2, 0.25)]
    tags = stored.data.tags
    assert tags["colour"] == "blue"
    assert tags["mlflow.note.content"] == "What it is."
    assert tags["ldns.version"]


def test_the_commit_comes_from_the_environment_in_a_copy(tracking, monkeypatch):
    monkeypatch.setenv("LDNS_COMMIT", "abc123")
    with tracking.run("r") as run:
        pass
    assert run_of(tracking, run.run_id).data.tags["mlflow.source.git.commit"] == "abc123"


def test_the_same_key_continues_the_same_run(tracking):
    with pytest.raises(RuntimeError), tracking.run("r", key="k1") as first:
        first.params({"a": 1})
        for step in range(3):
            first.metrics({"loss": float(step)}, step=step)
        raise RuntimeError
    with tracking.run("r", key="k1") as second:
        assert second.run_id == first.run_id
        assert run_of(tracking, first.run_id).info.status == "RUNNING"
        second.params({"a": 1, "b": 2})
        for step in range(1, 5):  # as from a checkpoint at step 1
            second.metrics({"loss": float(step)}, step=step)
    assert run_of(tracking, first.run_id).info.status == "FINISHED"
    assert run_of(tracking, first.run_id).data.params == {"a": "1", "b": "2"}
    assert history_of(tracking, first.run_id, "loss") == [(s, float(s)) for s in range(5)]
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
    params = run_of(tracking, run.run_id).data.params
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
    assert run_of(tracking, run.run_id).data.metrics == {}


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
    assert artifact_of(tracking, run.run_id, "notes/read.md") == b"hello"
    assert artifact_of(tracking, run.run_id, "data/folder/a.txt") == b"a"
    assert artifact_of(tracking, run.run_id, "a.txt") == b"a"
    assert artifact_of(tracking, run.run_id, "plots/rates.png").startswith(b"\x89PNG")
    table = json.load(io.BytesIO(artifact_of(tracking, run.run_id, "samplers.json")))
    assert table == {"columns": ["sampler", "a/steps"], "data": [["ddpm", 1000], ["dpmpp_2m", 20]]}
    tag = json.loads(run_of(tracking, run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert tag == [{"path": "samplers.json", "type": "table"}]


def test_parquet_tables(tracking):
    units = pa.table({"unit": ["u0", "u1"], "rate_hz": [3.5, 0.25]})
    with tracking.run("r") as run:
        run.parquet("units", units)
    stored = artifact_of(tracking, run.run_id, "units.parquet")
    assert pq.read_table(io.BytesIO(stored)).equals(units)
    assert pd.read_parquet(io.BytesIO(stored)).to_dict("list") == units.to_pydict()
    # The UI takes what is tagged as a table for JSON, and shows an error in its place.
    assert "mlflow.loggedArtifacts" not in run_of(tracking, run.run_id).data.tags


def test_runs_hold_no_secrets(tracking):
    uri, shown = "s3://KEY:HUSH@lab/x?secret_key=HUSH&a=b", "s3://lab/x?secret_key=…&a=b"
    with (
        pytest.raises(OSError, match="HUSH"),
        tracking.run("r", tags={"ldns.a": uri}, description=f"`{uri}`") as run,
    ):
        run.params({"where": uri})
        run.tag({"ldns.b": uri})
        run.text("note.md", uri)
        run.table("places", [{"at": uri, "command": f"X_TOKEN=\"HUSH\" '{uri}'", "n": 1}])
        run.dataset("d", "1", uri, "sampled", {"model": uri})
        raise OSError(uri)
    stored = run_of(tracking, run.run_id)
    assert "HUSH" not in json.dumps(stored.to_dictionary())
    assert stored.data.params == {"where": shown}
    assert [stored.data.tags[f"ldns.{k}"] for k in "ab"] == [shown, shown]
    assert stored.data.tags["mlflow.note.content"] == f"`{shown}`"
    (entry,) = stored.inputs.dataset_inputs
    assert json.loads(entry.dataset.source) == {"uri": shown}
    assert json.loads(entry.dataset.profile) == {"model": shown}
    assert artifact_of(tracking, run.run_id, "note.md").decode() == shown
    table = json.loads(artifact_of(tracking, run.run_id, "places.json"))
    assert table["data"] == [[shown, f"X_TOKEN=… '{shown}'", 1]]
    trace = artifact_of(tracking, run.run_id, "traceback.txt").decode()
    assert trace.endswith(f"OSError: {shown}\n")
    # The same parameter again is the same, though what is given differs from what is kept.
    with tracking.run("r") as again:
        again.params({"where": uri})
        again.params({"where": uri})


def test_a_note_is_replaced(tracking):
    with tracking.run("r", description="Begun.") as run:
        run.describe("Done.")
    assert run_of(tracking, run.run_id).data.tags["mlflow.note.content"] == "Done."


def test_metrics_of_a_model_lead_to_it_and_to_the_data(tracking):
    with tracking.run("r") as run:
        address = logged_model(tracking, run, "f1")
        run.metrics({"loss": 3.0})
        run.metrics({"score": 1.5}, model=address, dataset=("speech", "0123"))
        run.model(address, "output")
    with tracking.run("evaluate") as other:
        other.model(address, "input")
    (metric,) = tracking.client.get_logged_model(address.removeprefix("models:/")).metrics
    assert (metric.key, metric.value) == ("score", 1.5)
    assert (metric.dataset_name, metric.dataset_digest) == ("speech", "0123")
    assert run_of(tracking, run.run_id).data.metrics == {"loss": 3.0, "score": 1.5}
    (made,) = run_of(tracking, run.run_id).outputs.model_outputs
    (used,) = run_of(tracking, other.run_id).inputs.model_inputs
    assert [made.model_id, used.model_id] == [address.removeprefix("models:/")] * 2


def test_a_dataset_can_be_searched(tracking):
    with tracking.run("r") as run:
        run.dataset("speech", "0123456789abcdef", "/data/speech", "training", {"trials": 160})
    query = "dataset.digest = '0123456789abcdef' AND dataset.context = 'training'"
    (found,) = tracking.client.search_runs([tracking.experiment_id], query)
    (entry,) = found.inputs.dataset_inputs
    assert entry.dataset.name == "speech"
    assert json.loads(entry.dataset.source) == {"uri": "/data/speech"}
    assert json.loads(entry.dataset.profile) == {"trials": 160}


def test_a_dataset_that_several_runs_tell_of_at_once(served):
    """The store refuses all but the first of them: it wants to know each dataset once."""
    runs = [served.run(f"r{i}") for i in range(6)]
    barrier, errors = threading.Barrier(6), []

    def tell(run) -> None:
        try:
            for i in range(3):
                barrier.wait(timeout=30)
                run.dataset("speech", str(i), "/data/speech", "training")
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=tell, args=(run,)) for run in runs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    for run in runs:
        told = run_of(served, run.run_id).inputs.dataset_inputs
        assert sorted(d.dataset.digest for d in told) == ["0", "1", "2"]
