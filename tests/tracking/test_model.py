"""A logged model: its signature is its own, it samples what the model samples, and says what it cannot."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import DataType
from mlflow.types.schema import Array

from ldns_ray.data.shards import load_trialset
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.model import log_model
from ldns_ray.tracking.registry import register
from tests.models.untrained import model

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "plain": ((), ()),
    "angle": (("angle", "length"), ()),
    "velocity": (("speed",), ("velocity",)),
}
VELOCITY = [[0.1 * t, 1.0] for t in range(9)]
OWN = {"n", "length", "seed", "first_trial", "sampler", "n_steps", "guidance"}


@pytest.fixture(scope="module")
def logged(uri, tmp_path_factory):
    """By kind: the address of a logged model, and the model."""
    tracking = connect(uri, "models")
    out = {}
    with tracking.run("r") as run:
        for kind, (conditions, covariates) in KINDS.items():
            ldns = model(conditions, covariates, history=True)
            folder = tmp_path_factory.mktemp(kind)
            ldns.save(folder)
            out[kind] = log_model(run, folder, what="A model."), ldns
    return tracking, out


@pytest.fixture(scope="module")
def loaded(logged):
    tracking, models = logged
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking.uri)
    yield {kind: mlflow.pyfunc.load_model(address) for kind, (address, _) in models.items()}
    mlflow.set_tracking_uri(before)


def _row_of(signature: ModelSignature):
    """Name → type of the columns of a request, all optional."""
    (rows,) = signature.inputs.inputs
    assert not any(p.required for p in rows.type.properties)
    return {p.name: p.dtype for p in rows.type.properties}


def test_signatures_are_made_from_the_model(loaded):
    rows = {kind: _row_of(m.metadata.signature) for kind, m in loaded.items()}
    assert rows["plain"].keys() == OWN
    assert rows["angle"].keys() == OWN | {"angle"}
    assert rows["velocity"].keys() == OWN | {"speed", "velocity"}
    assert rows["plain"]["n"] == DataType.long
    assert rows["plain"]["guidance"] == DataType.double
    assert rows["angle"]["angle"] == Array(DataType.double)
    assert rows["velocity"]["speed"] == DataType.double
    assert rows["velocity"]["velocity"] == Array(Array(DataType.double))
    outputs = {kind: m.metadata.signature.outputs.input_names() for kind, m in loaded.items()}
    assert outputs["plain"] == ["request", "trial", "n_bins", "spikes"]
    assert outputs["velocity"] == ["request", "trial", "n_bins", "spikes", "speed", "velocity"]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_model(logged, loaded, kind):
    _, ldns = logged[1][kind]
    answer = loaded[kind].predict([{"n": 3, "seed": 5}])
    assert list(answer.columns) == loaded[kind].metadata.signature.outputs.input_names()
    samples = ldns.sample(3, seed=5)
    assert [np.array(s).tolist() for s in samples.spikes] == answer["spikes"].tolist()
    assert sum(np.sum(s) for s in answer["spikes"]) > 0


def test_frames_and_rows_ask_the_same(loaded):
    rows = [{"n": 2, "length": 12, "seed": 3}, {"seed": 4}]
    frame = pd.DataFrame(rows)  # whole numbers beside missing ones are floats
    assert frame["length"].dtype == float
    assert frame["length"].isna().any()
    listed = loaded["angle"].predict(rows)
    pd.testing.assert_frame_equal(loaded["angle"].predict(frame), listed)
    assert listed["n_bins"].tolist()[:2] == [12, 12]


def test_conditions_and_covariates_arrive(logged, loaded):
    _, ldns = logged[1]["velocity"]
    asked = pd.DataFrame({"n": [2], "speed": [4], "velocity": [np.array(VELOCITY)]})
    answer = loaded["velocity"].predict(asked)
    samples = ldns.sample(
        2,
        condition={"speed": np.full((2, 1), 4.0)},
        covariates={"velocity": [np.array(VELOCITY)] * 2},
    )
    assert answer["spikes"].tolist() == [s.tolist() for s in samples.spikes]
    assert answer["speed"].tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([{"n": 1, "lenght": 9}], "Request 0: unknown column 'lenght'. Did you mean length?"),
        (pd.DataFrame({"n": [1], "lenght": [9]}), "Did you mean length?"),
        (pd.DataFrame({"lenght": [9]}), "Did you mean length?"),
        ([{"n": 1}, {"n": 2.5}], "Request 1: n must be a whole number, got 2.5"),
        ([{"angle": [1.0, 2.0, 3.0]}], "angle must be 2 numbers, got shape (3,)"),
        (pd.DataFrame({"angle": [[1.0, np.nan]]}), "angle must be numbers, got object"),
        ([], "at least one request"),
        (pd.DataFrame({"n": []}), "at least one request"),
        (pd.DataFrame({"n": [np.nan]}), "it asks for nothing"),
        ([{"n": 10**9}], "at most 10,000,000 counts"),
    ],
)
def test_mlflow_passes_on_what_is_wrong(loaded, asked, message):
    with pytest.raises(ValueError, match=r".") as refused:
        loaded["angle"].predict(asked)
    assert message in str(refused.value)


@pytest.mark.parametrize("asked", [{"n": 10}, {"n": [10]}, "10", 10, np.ones(3), [10]])
def test_what_is_no_table_is_refused_by_mlflow(loaded, asked):
    with pytest.raises(mlflow.MlflowException, match=r"Expected list|Expecting example to be a dict"):  # fmt: skip
        loaded["plain"].predict(asked)


def test_a_model_carries_an_example_that_it_answers(loaded):
    example = loaded["velocity"].input_example
    assert example == [{"n": 1, "length": 10, "seed": 0}]
    assert loaded["velocity"].predict(example)["n_bins"].tolist() == [10]


def test_the_models_page_says_what_may_be_asked(logged):
    tracking, models = logged
    address, _ = models["velocity"]
    note = tracking.client.get_logged_model(address.removeprefix("models:/")).tags["mlflow.note.content"]  # fmt: skip
    assert f"load_model('{address}').predict([{{'n': 10, 'seed': 0}}])" in note
    assert "| `velocity` | covariate of the trials, for every bin a list of 2 |" in note


def test_a_model_that_cannot_be_read_is_not_logged(logged, tmp_path):
    tracking, _ = logged
    with tracking.run("bad") as run:
        with pytest.raises(FileNotFoundError, match=r"No model\.safetensors in"):
            log_model(run, tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"no weights")
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ValueError, match="cannot be read"):
            log_model(run, tmp_path)
    assert tracking.client.get_run(run.run_id).outputs.model_outputs == []


def test_trials_are_those_of_the_sampling_job(logged, loaded, job, tracking_uri, tmp_path):
    _, ldns = logged[1]["velocity"]
    ldns.save(tmp_path / "model")
    code, _, err = job(
        "sample", tmp_path / "model", "--n", 70, "--seed", 9, "--out", tmp_path / "out", "--tracking-uri", tracking_uri
    )  # fmt: skip
    assert code == 0, err
    trials = load_trialset(str(tmp_path / "out"), "test", ["spikes"])
    answer = loaded["velocity"].predict([{"n": 70, "seed": 9}])
    assert answer["spikes"].tolist() == [s.tolist() for s in trials.spikes_list()]
    # The second block by itself.
    rest = loaded["velocity"].predict([{"n": 6, "seed": 9, "first_trial": 64}])
    assert rest["spikes"].tolist() == answer["spikes"].tolist()[64:]
    assert rest["trial"].tolist() == list(range(64, 70))


def _elsewhere(tracking_uri):
    """The environment of a process that knows the store, and not the project."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_REGISTRY_URI")}
    return kept | {"MLFLOW_TRACKING_URI": tracking_uri, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # fmt: skip


@pytest.mark.slow
def test_the_champion_samples_in_a_process_without_the_project(logged, tmp_path):
    tracking, models = logged
    address, ldns = models["velocity"]
    registered = register(tracking, address, "ldns-fresh", score=1.0, dataset="d")
    requests = [
        {"n": 2, "seed": 1},
        {"n": 1, "seed": 2, "speed": 4.0, "velocity": VELOCITY},
        {"n": 2, "seed": 1, "length": 10},
    ]
    program = (ROOT / "tests" / "tracking" / "elsewhere.py").read_text()
    ended = subprocess.run(
        [sys.executable, "-c", program, registered.uri, json.dumps(requests), "answer.json"],
        cwd=tmp_path, env=_elsewhere(tracking.uri), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    package = Path(ended.stdout.strip().splitlines()[-1])
    assert package.parts[-3:] == ("code", "ldns_ray", "__init__.py")
    answer = pd.read_json(tmp_path / "answer.json", precise_float=True)
    velocity = {"covariates": {"velocity": [np.array(VELOCITY)]}, "condition": {"speed": [[4.0]]}}
    expected = [ldns.sample(2, seed=1), ldns.sample(1, seed=2, **velocity), ldns.sample(2, seed=1, n_bins=10)]  # fmt: skip
    assert answer["spikes"].tolist() == [s.tolist() for e in expected for s in e.spikes]
    drawn = [x.item() for e in expected for x in e.conditions["speed"]]
    np.testing.assert_array_equal(np.float32(answer["speed"]), np.float32(drawn))


@pytest.fixture(scope="module")
def served(logged, tmp_path_factory):
    """The address of a served champion."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tracking, models = logged
    registered = register(tracking, models["velocity"][0], "ldns-served", score=1.0, dataset="d")
    folder = tmp_path_factory.mktemp("served")
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", registered.uri, "--env-manager", "local",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = _elsewhere(tracking.uri)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


def _post(address, body, kind="application/json"):
    """Status and text of what the server answers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/invocations", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_a_served_champion_answers(logged, served):
    _, ldns = logged[1]["velocity"]
    status, text = _post(served, {"inputs": [{"n": 2, "seed": 3}, {"length": 9, "seed": 4}]})
    assert status == 200, text
    rows = json.loads(text)["predictions"]
    expected = [*ldns.sample(2, seed=3).spikes, *ldns.sample(1, seed=4, n_bins=9).spikes]
    assert [row["spikes"] for row in rows] == [s.tolist() for s in expected]
    assert [row["request"] for row in rows] == [0, 0, 1]
    status, text = _post(served, {"inputs": [{"speed": 3, "velocity": VELOCITY}]})
    assert status == 200, text
    assert json.loads(text)["predictions"][0]["velocity"] == np.float32(VELOCITY).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"inputs": [{"n": 1}', "valid JSON"),
        (b"\xff", "valid JSON"),
        (b"[]", "Received a list"),
        ({"n": 1}, "'inputs'"),
        ({"dataframe_split": {"columns": ["n"], "data": [[1]]}}, "'inputs'"),
        ({"inputs": []}, "at least one request"),
        ({"inputs": {"n": 1}}, "Expected list, but got dict"),
        ({"inputs": [1]}, "dictionary"),
        ({"inputs": [{"n": 1, "lenght": 3}]}, "unknown column 'lenght'. Did you mean length?"),
        ({"inputs": [{"n": 2.5}]}, "n must be a whole number, got 2.5"),
        ({"inputs": [{"n": "2"}]}, "n must be a whole number, got '2'"),
        ({"inputs": [{"n": -1}]}, "n must be at least 1, got -1"),
        (b'{"inputs": [{"n": NaN}]}', "n must be a whole number, got nan"),
        ({"inputs": [{"n": 10**9}]}, "at most 10,000,000 counts"),
        ({"inputs": [{"speed": 1, "velocity": [[1, 2, 3]]}]}, "velocity must be a list of 2 for every bin"),
        ({"inputs": [{"speed": 1, "velocity": VELOCITY, "length": 3}]}, "must have the same bins"),
    ],
)  # fmt: skip
def test_a_served_champion_refuses(served, body, message):
    status, text = _post(served, body)
    assert status == 400, text
    assert message in json.loads(text)["message"]
