"""Every call survives a server that is away for a while, and what is made is made once."""

import logging
import os
import socket
import ssl
import time

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from ldns_ray.tracking import patience
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.patience import Patience, passes
from tests.tracking.stored import artifact_of, history_of, run_of


def _error_of(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


# -- What passes


def test_what_a_server_says_is_told_from_no_answer(server, served, tmp_path):
    direct = served.client.direct
    (tmp_path / "a.txt").write_text("a")
    run_id = served.client.create_run(served.experiment_id).info.run_id
    upload = served.repository(run_of(served, run_id).info.artifact_uri).direct.log_artifact
    for call, word in (
        (lambda: direct.get_run(run_id), "runs/get"),
        (lambda: upload(str(tmp_path / "a.txt")), "a.txt"),
    ):
        for fault, away in (
            ("500", True), ("502", True), ("503", True), ("504", True), ("408", True), ("429", True), ("507", True),
            ("lose", True), ("400", False), ("401", False), ("403", False), ("404", False), ("501", False),
        ):  # fmt: skip
            server.will(fault, word)
            assert passes(_error_of(call)) is away, (word, fault)
        call()


def test_a_refusal_of_the_store_does_not_pass(served):
    direct = served.client.direct
    assert not passes(_error_of(lambda: direct.get_run("0" * 32)))
    with pytest.raises(MlflowException, match="not found"):
        served.client.get_run("0" * 32)


def test_nobody_there_passes_and_a_bad_address_does_not(served):
    began = time.monotonic()
    assert passes(_error_of(lambda: MlflowClient("http://127.0.0.1:9").get_run("a")))
    assert time.monotonic() - began < 1.0  # none of MLflow's own repetitions
    assert not passes(_error_of(lambda: MlflowClient("http://:::").get_run("a")))
    assert not passes(FileNotFoundError("a.txt"))
    assert not passes(ValueError("a parameter"))


def test_a_busy_store_passes_and_a_wrong_certificate_does_not():
    assert passes(MlflowException("database is locked", TEMPORARILY_UNAVAILABLE))
    assert passes(requests.exceptions.SSLError("the handshake was cut short"))
    error = requests.exceptions.SSLError("no handshake")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert not passes(error)


def test_a_hung_server_passes(served, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert passes(_error_of(lambda: MlflowClient(address).get_run("a")))


# -- Waiting


def test_a_wait_is_told_once_when_it_begins_and_once_when_it_is_over(server, served, caplog):
    caplog.set_level(logging.WARNING, "ldns_ray.tracking")
    run_id = served.client.create_run(served.experiment_id).info.run_id
    server.will("503", "runs/get")
    assert served.client.get_run(run_id).info.run_id == run_id
    assert caplog.messages == []  # once is a connection that was idle
    server.will("503", "runs/get", times=5)
    assert served.client.get_run(run_id).info.run_id == run_id
    away, back = caplog.messages
    assert away.startswith(f"The MLflow server at {server.address} is away; waiting for it up to 30 s: ")  # fmt: skip
    assert back.startswith(f"The MLflow server at {server.address} is back after ")


def test_patience_ends_in_an_error_that_says_what_got_next(monkeypatch):
    tries = []

    def away():
        tries.append(time.monotonic())
        raise requests.ConnectionError("nobody there")

    with pytest.raises(ConnectionError, match=r"^get_run was not done: the MLflow server at here did not answer for 1 s: nobody there\. Start it and submit again\.$"):  # fmt: skip
        Patience(1.0, "here").wait_for("get_run", away)
    assert 0.5 < tries[-1] - tries[0] <= 1.0
    assert len(tries) == 3  # after pauses of 0.1 and 0.5 s; another of 1 s would be too long


def test_connect_waits_for_a_server_that_is_not_up_yet(server, monkeypatch):
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,))
    server.forget()
    server.will("503", "health", times=3)
    server.will("503", "experiments/get-by-name", times=2)
    server.will("lose", "experiments/create")
    made = connect(server.address, "late")
    assert [r for r in server.requests if r[1] == "create"] == [("POST", "create")]
    assert connect(server.address, "late").experiment_id == made.experiment_id


def test_repetitions_that_the_user_asked_for_stay(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    patience.own_the_waiting()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"


# -- Every call of a run


@pytest.mark.parametrize("fault", ["503", "lose"])
def test_every_call_of_a_run_is_stored_once_whatever_fails(server, served, tmp_path, fault):
    """Each request of each kind fails once, before it is done or after."""
    (tmp_path / "a.txt").write_text("a")
    words = (
        "runs/search", "runs/create", "runs/get", "runs/log-batch", "runs/log-inputs", "runs/outputs", "runs/update",
        "logged-models/search", "experiments/set-experiment-tag", "experiments/get", "a.txt", "b.json",
    )  # fmt: skip

    def fail():
        for word in words:
            server.will(fault, word)

    fail()
    with served.run("r", key="k") as run:
        fail()
        run.params({"width": 64})
        run.tag({"colour": "blue"})
        fail()
        run.metrics({"loss": 0.5}, step=1)
        run.flush()
        run.artifact(tmp_path / "a.txt")
        run.table("b", [{"x": 1}])
        run.dataset("speech", "01", "/data/speech", "training")
        fail()
        model = served.client.create_logged_model(
            served.experiment_id, name="m", source_run_id=run.run_id
        )
        run.model(f"models:/{model.model_id}", "output")
        run.model(f"models:/{model.model_id}", "output")
        served.compare_url()
        served.describe("What it is.")
        fail()
    assert set(server.failed) == set(words)
    server.forget()
    (stored,) = served.client.search_runs([served.experiment_id])
    assert stored.info.run_id == run.run_id
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"width": "64"}
    assert stored.data.tags["colour"] == "blue"
    assert history_of(served, run.run_id, "loss") == [(1, 0.5)]
    assert artifact_of(served, run.run_id, "a.txt") == b"a"
    assert [d.dataset.name for d in stored.inputs.dataset_inputs] == ["speech"]
    assert [m.model_id for m in run_of(served, run.run_id).outputs.model_outputs] == [model.model_id]  # fmt: skip
    assert [m.model_id for m in served.client.search_logged_models([served.experiment_id])] == [model.model_id]  # fmt: skip


@pytest.mark.parametrize("key", ["k", None])
def test_a_run_whose_making_was_not_answered_is_made_once(server, served, key):
    server.will("lose", "runs/create")
    with served.run("r", key=key) as run:
        run.metrics({"loss": 1.0})
    assert [r for r in server.requests if r[1] == "create"] == [("POST", "create")]
    (stored,) = served.client.search_runs([served.experiment_id])
    assert (stored.info.run_id, stored.info.status) == (run.run_id, "FINISHED")


def test_a_run_that_was_not_made_is_made_again(server, served):
    server.will("503", "runs/create", times=2)
    with served.run("r") as run:
        pass
    assert [r for r in server.requests if r[1] == "create"] == [("POST", "create")] * 3
    assert [r.info.run_id for r in served.client.search_runs([served.experiment_id])] == [run.run_id]  # fmt: skip


def test_a_double_made_late_is_deleted(served, monkeypatch):
    """The server hangs, and takes up a request that was given up after the run was made again."""
    direct, real, made = served.client.direct, served.client.direct.create_run, []

    def hangs(*args, **kwargs):
        if not made:
            made.append(None)
            raise requests.Timeout("no answer")
        made.append(real(*args, **kwargs))  # the one that was given up
        return real(*args, **kwargs)

    monkeypatch.setattr(direct, "create_run", hangs)
    with served.run("r", key="k") as run:
        pass
    (stored,) = served.client.search_runs([served.experiment_id])
    assert stored.info.run_id == run.run_id


def test_a_version_of_a_model_is_made_once(server, served):
    with served.run("r") as run:
        served.client.create_registered_model("registered")
        server.will("lose", "model-versions/create")
        version = served.client.create_model_version(
            "registered", run_of(served, run.run_id).info.artifact_uri, run_id=run.run_id
        )
    (stored,) = served.client.search_model_versions("name = 'registered'")
    assert stored.version == version.version
