"""Sweeps: tracked while they run, done once."""

import json
import math
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow.artifacts
import optuna
import pytest
from ray import tune

from jobs import train
from ldns_ray import storage
from ldns_ray.config import experiment
from ldns_ray.data.shards import read_card
from ldns_ray.logged import COMPARED
from ldns_ray.pipeline import Pipeline
from ldns_ray.settings import parse_overrides
from ldns_ray.stages import model_fingerprint
from ldns_ray.sweeps import sweep
from ldns_ray.sweeps.collecting import collect
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import open_study
from ldns_ray.sweeps.sweep import run_sweep
from ldns_ray.sweeps.tables import format_result
from ldns_ray.sweeps.trial import trial_experiment
from ldns_ray.tracking.connection import connect
from tests.sweeps.planned import RATE, planned

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(trained, tmp_path):
    return planned(trained, tmp_path)


N_TRIALS = 3


@pytest.fixture(scope="module")
def swept(trained, ray_session, tracking_uri, tmp_path_factory):
    """A sweep in which some learning rates make the training fail, its result, and what it said."""
    space = {RATE: tune.choice([1e-3, 1e30]), "diffusion.smooth_l1_beta": tune.uniform(0.02, 0.1)}
    whole = Sweep(
        "swept", trained.experiment, space, trained.data_uri, str(tmp_path_factory.mktemp("swept")),
        tracking_uri, n_trials=N_TRIALS, seed=2,
    )  # fmt: skip
    lines = []
    return SimpleNamespace(sweep=whole, result=run_sweep(whole, lines.append), lines=lines)


def rows(swept, status):
    return [row for row in swept.result["trials"] if row["status"] == status]


def tracked(swept):
    """The sweep's run in MLflow, and its children by name."""
    tracking = connect(swept.sweep.tracking_uri, "swept")
    parent = tracking.find(swept.sweep.fingerprint)
    return tracking, parent, {child["name"]: child for child in tracking.children(parent)}


def artifacts(tracking, run_id, folder=None):
    return {f.path for f in tracking.client.list_artifacts(run_id, folder)}


def test_trials_are_ranked_and_failures_are_told(swept):
    trials = swept.result["trials"]
    assert {row["name"] for row in trials} == {"trial 1", "trial 2", "trial 3"}
    finished, failed = rows(swept, "FINISHED"), rows(swept, "FAILED")
    assert len(finished) == 2
    assert len(failed) == 1
    assert trials == [*finished, *failed]
    scores = [row["score"] for row in finished]
    assert scores == sorted(scores)
    assert all(math.isfinite(score) for score in scores)
    assert swept.result["best"] == finished[0]
    for row in trials:
        assert set(row["settings"]) == set(swept.sweep.space)
        assert (row["settings"][RATE] > 1) == (row["status"] == "FAILED")
        assert 0.02 <= row["settings"]["diffusion.smooth_l1_beta"] <= 0.1
    assert "loss became" in failed[0]["error"]
    first, *_, errors = format_result(list(swept.sweep.space), swept.result).split("\n\n")
    listed = [line.split("  ")[0] for line in first.splitlines()[-N_TRIALS:]]
    assert listed == [row["name"] for row in trials]
    assert errors.startswith(f"{failed[0]['name']} failed: ")


def test_trials_share_the_autoencoder(swept, trained):
    folder = Path(swept.sweep.root, "autoencoder")
    assert [p.name for p in folder.iterdir()] == [trained.fingerprints["autoencoder"]]
    said = [line for line in swept.lines if "  autoencoder " in line]
    assert sum("started" in line for line in said) == 1
    assert sum("already done" in line for line in said) == N_TRIALS - 1
    assert len(list(Path(swept.sweep.root, "diffusion").glob("*/stage.json"))) == 2
    assert sum("shared with other processes through the object store" in line for line in said) == 1
    # The trials read the dataset from the object store, the pipeline from disk.
    here = replace(trained, root=swept.sweep.root).history("autoencoder")
    assert [row["val_loss"] for row in here] == pytest.approx(
        [row["val_loss"] for row in trained.history("autoencoder")], rel=1e-4
    )


def test_the_best_trial_is_evaluated_on_the_test_split(swept):
    test = swept.result["test"]
    assert test["summary"]["split"] == "test"
    assert math.isfinite(test["summary"]["rows"][0]["score"])
    assert storage.exists(storage.join(test["model"], "model.safetensors"))
    best = trial_experiment(swept.sweep.experiment, swept.result["best"]["settings"])
    pipeline = Pipeline(best, swept.sweep.data_uri, swept.sweep.root)
    assert pipeline.model_uri == test["model"]


def test_every_trial_is_a_run(swept):
    tracking, parent, children = tracked(swept)
    assert tracking.client.get_run(parent).info.status == "FINISHED"
    assert {name: child["status"] for name, child in children.items()} == {
        row["name"]: row["status"] for row in swept.result["trials"]
    }
    card = read_card(swept.sweep.data_uri)
    for row in rows(swept, "FINISHED"):
        child = children[row["name"]]
        assert child["run_id"] == row["run_id"]
        assert child["metrics"]["score"] == pytest.approx(row["score"])
        assert {"kl_psc", "rmse_corr", "baseline_score", "bits_per_spike"} <= set(child["metrics"])
        assert {"autoencoder/val_loss", "diffusion/train_loss"} <= set(child["metrics"])
        assert float(child["params"][RATE]) == row["settings"][RATE]
        inputs = tracking.client.get_run(row["run_id"]).inputs.dataset_inputs
        digests = {i.dataset.digest: i.tags[0].value for i in inputs}
        assert digests[card.fingerprint] == "training"
        assert sorted(digests.values()) == ["sampled", "training"]
        assert artifacts(tracking, row["run_id"]) >= {
            "plots",
            "metrics.json",
            "report.html",
            "units.parquet",
        }
        assert artifacts(tracking, row["run_id"], "plots") == {
            f"plots/{p}.png" for p in swept.result["test"]["summary"]["plots"]
        }


def test_every_page_explains_itself(swept):
    tracking, parent, children = tracked(swept)
    best, test = swept.result["best"], swept.result["test"]["summary"]
    said = note(tracking, parent)
    assert said.startswith(f"Of the best trial, [{best['name']}](#/experiments/")
    assert f"**Score {test['rows'][0]['score']:.2f}** (95 % interval" in said
    assert "on the test split" in said
    assert f"- `{RATE}`: `categorical [0.001, 1e+30]`" in said
    for row in rows(swept, "FINISHED"):
        said = note(tracking, row["run_id"])
        assert said.startswith(f"**Score {row['score']:.2f}** (95 % interval")
        assert "on the val split" in said.splitlines()[0]
        assert f"{row['name'].capitalize()} of the [sweep swept](#/experiments/" in said
        assert "diffusion.learning_rate 0.001" in said
        assert f"{RATE}=0.001" in said, "the command that trains it"
    (failed,) = rows(swept, "FAILED")
    assert note(tracking, children[failed["name"]]["run_id"]).startswith("Not evaluated yet.")
    page = tracking.client.get_experiment(tracking.experiment_id).tags["mlflow.note.content"]
    logged = children[best["name"]]["metrics"]
    assert set(COMPARED) <= set(logged)
    told = re.findall(r"^\| `(.*?)`", page, re.M)
    assert all(name in told or f"…{name[name.rindex('_over') :]}" in told for name in COMPARED)


def note(tracking, run_id):
    return tracking.client.get_run(run_id).data.tags["mlflow.note.content"]


def test_the_command_on_a_trials_page_makes_the_trial(swept):
    row = swept.result["best"]
    e = trial_experiment(swept.sweep.experiment, row["settings"])
    pipeline = Pipeline(e, swept.sweep.data_uri, swept.sweep.root)
    python, path, *typed = shlex.split(pipeline.command())
    assert (python, path) == ("python", "jobs/train.py")
    args = train.parser().parse_intermixed_args(typed)
    again = experiment(args.experiment, **parse_overrides(args.overrides))
    assert Pipeline(again, args.data, args.root).fingerprints == pipeline.fingerprints
    assert args.root == swept.sweep.root
    assert replace(pipeline, experiment=replace(e, name="mine")).command() == ""


def test_the_best_model_shows_what_it_scored_on_the_test_split(swept):
    tracking, parent, children = tracked(swept)
    address = children[swept.result["best"]["name"]]["tags"]["ldns.logged_model"]
    (made,) = tracking.client.get_run(parent).outputs.model_outputs
    assert f"models:/{made.model_id}" == address
    metrics = tracking.client.get_logged_model(made.model_id).metrics
    (score,) = [m for m in metrics if m.key == "score" and m.run_id == parent]
    assert score.value == pytest.approx(swept.result["test"]["summary"]["rows"][0]["score"])
    assert score.dataset_digest == read_card(swept.sweep.data_uri).fingerprint
    assert tracking.find_model(model_fingerprint(swept.result["test"]["model"])) == address


def test_the_sweeps_trials_can_be_seen_side_by_side(swept):
    tracking, parent, _ = tracked(swept)
    view = f"Sweep {swept.sweep.fingerprint[:6]}, best first"
    assert repr(view) in swept.result["compare_url"]
    tags = tracking.client.get_experiment(tracking.experiment_id).tags
    (value,) = [v for v in tags.values() if v.startswith(json.dumps({"name": view})[:-1])]
    state = json.loads(json.loads(value)["state"])
    assert parent in state["searchFilter"]
    assert f"params.`{RATE}`" in state["selectedColumns"]


def test_a_failed_trial_keeps_its_traceback(swept):
    tracking, _, children = tracked(swept)
    (row,) = rows(swept, "FAILED")
    run_id = children[row["name"]]["run_id"]
    uri = f"{tracking.client.get_run(run_id).info.artifact_uri}/traceback.txt"
    text = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=tracking.uri)).read_text()
    assert "Traceback" in text
    assert "FloatingPointError" in text
    assert "score" not in children[row["name"]]["metrics"]


def test_the_sweep_is_a_run(swept):
    tracking, parent, _ = tracked(swept)
    run = tracking.client.get_run(parent)
    row = swept.result["test"]["summary"]["rows"][0]
    assert run.data.metrics["score"] == pytest.approx(row["score"])
    assert len(tracking.client.get_metric_history(parent, "trial_score")) == 2
    assert run.data.params[f"space.{RATE}"] == "categorical [0.001, 1e+30]"
    assert run.data.tags["ldns.best_run"] == swept.result["best"]["run_id"]
    assert [i.dataset.digest for i in run.inputs.dataset_inputs] == [
        read_card(swept.sweep.data_uri).fingerprint
    ]
    assert artifacts(tracking, parent) >= {
        "plots", "sweep", "trials.json", "report.html", "units.parquet"
    }  # fmt: skip
    assert artifacts(tracking, parent, "sweep") == {
        f"sweep/{p}.png" for p in ("history", "parallel_coordinates", "slices")
    }
    assert artifacts(tracking, parent, "plots") == {
        f"plots/{p}.png" for p in swept.result["test"]["summary"]["plots"]
    }


def test_a_finished_sweep_is_not_run_again(swept, monkeypatch):
    monkeypatch.setattr(sweep, "run_trials", None)
    lines, start = [], time.monotonic()
    assert run_sweep(swept.sweep, lines.append) == json.loads(json.dumps(swept.result))
    assert time.monotonic() - start < 10
    assert lines == ["Sweep swept: every trial is done."]
    assert len(tracked(swept)[2]) == N_TRIALS


def test_a_run_that_was_deleted_is_logged_anew(swept, monkeypatch):
    """From what the stages left, for the best model and its metrics are needed at the end."""
    tracking, parent, children = tracked(swept)
    worse = rows(swept, "FINISHED")[-1]
    tracking.client.delete_run(worse["run_id"])
    said = []
    study = open_study(swept.sweep)
    found = collect(swept.sweep, study, tracking, parent, said.append)
    assert said == []
    (again,) = [row for row in found if row["name"] == worse["name"]]
    assert again["run_id"] != worse["run_id"]
    assert again["metrics"] == worse["metrics"]
    run = tracking.client.get_run(again["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == pytest.approx(children[worse["name"]]["metrics"])
    tracking.client.delete_run(again["run_id"])
    tracking.client.restore_run(worse["run_id"])


def test_a_trial_that_is_no_longer_asked_for_is_told_and_ended(swept):
    """It was interrupted, and the sweep is submitted with fewer trials."""
    tracking, parent, _ = tracked(swept)
    with tracking.run("trial 9", key="orphan", parent=parent) as run:
        run_id = run.run_id
    tracking.client.update_run(run_id, status="RUNNING")
    said = []
    collect(swept.sweep, open_study(swept.sweep), tracking, parent, said.append)
    assert said == ["Trial 9 was interrupted, and is not gone on with: ask for more trials."]
    assert tracking.client.get_run(run_id).info.status == "KILLED"
    tracking.client.delete_run(run_id)


def test_a_sweep_in_which_every_trial_failed_is_an_error(plan, tracking_uri, monkeypatch):
    lost = replace(plan, tracking_uri=tracking_uri)
    study = open_study(lost)
    fail = optuna.trial.TrialState.FAIL
    study.add_trial(optuna.create_trial(state=fail, user_attrs={"error": "boom"}))
    monkeypatch.setattr(sweep, "run_trials", lambda *_: None)
    with pytest.raises(
        RuntimeError, match="All 1 trials failed; the last said: boom .*--retry-failed"
    ):
        run_sweep(lost, lambda _: None)
    tracking = connect(tracking_uri, "planned")
    assert tracking.client.get_run(tracking.find(lost.fingerprint)).info.status == "FAILED"
    assert not storage.exists(storage.join(lost.uri, "sweep.json"))


def test_files_are_compared_once_before_the_first_trial(swept):
    compared = [line for line in swept.lines if "checksums match" in line]
    assert compared == [x for x in swept.lines[:3] if x.startswith("Sweep swept: checksums match")]
    assert len(compared) == 1


@pytest.mark.slow
def test_trials_that_stream(trained, ray_session, tracking_uri, tmp_path):
    """Two at the same time would, on a larger machine; each reads through Ray Data from within Tune."""
    whole = Sweep(
        "streaming", trained.experiment, {RATE: tune.choice([1e-3])}, trained.data_uri, str(tmp_path),
        tracking_uri, n_trials=1, data="streamed",
    )  # fmt: skip
    lines = []
    result = run_sweep(whole, lines.append)
    assert [row["status"] for row in result["trials"]] == ["FINISHED"]
    streamed = [x for x in lines if "trials are streamed: hardware.data=streamed" in x]
    assert len(streamed) == 3, "the sweep, the autoencoder, the diffusion model"
