"""The registry: one version for a logged model, and one champion, the best on its data."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from ldns_ray import services
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.model import log_model
from ldns_ray.tracking.registry import Registered, register
from tests.models.untrained import model


@pytest.fixture
def name(request):
    """A registered model for each test."""
    return "ldns-" + re.sub(r"[^A-Za-z0-9.-]", "_", request.node.name)


@pytest.fixture
def made(tracking):
    """Makes logged models without files, each by a run of its own; returns their addresses."""

    def make(status=LoggedModelStatus.READY):
        with tracking.run("r") as run:
            pass
        model = tracking.client.create_logged_model(
            tracking.experiment_id, name="ldns", source_run_id=run.run_id
        )
        if status != LoggedModelStatus.PENDING:
            tracking.client.finalize_logged_model(model.model_id, status)
        return f"models:/{model.model_id}"

    return make


def _versions(tracking, name):
    return tracking.client.search_model_versions(f"name = '{name}'")


def _champion(tracking, name):
    return int(tracking.client.get_model_version_by_alias(name, "champion").version)


def test_a_first_version(tracking, made, name):
    address = made()
    registered = register(tracking, address, name, score=1.25, dataset="ab12", note="Best of 8.", tags={"sweep": "s1"})  # fmt: skip
    assert registered == Registered(
        name, 1, True, 1, f"models:/{name}@champion", f"version 1 of {name} in {tracking.uri}",
        f"Registered as {name} version 1, score 1.25: the first champion.",
    )  # fmt: skip
    logged = tracking.client.get_logged_model(address.removeprefix("models:/"))
    version = tracking.client.get_model_version_by_alias(name, "champion")
    assert version.source == logged.artifact_location
    assert version.run_id == logged.source_run_id
    assert {k: version.tags[k] for k in ("ldns.score", "ldns.dataset", "ldns.run", "ldns.experiment", "ldns.logged_model", "sweep")} == {
        "ldns.score": "1.25", "ldns.dataset": "ab12", "ldns.run": logged.source_run_id,
        "ldns.experiment": tracking.experiment, "ldns.logged_model": logged.model_id, "sweep": "s1",
    }  # fmt: skip
    # The pages lead to one another.
    assert logged.tags["mlflow.modelVersions"] == f'[{{"name": "{name}", "version": 1}}]'
    assert f"(#/experiments/{tracking.experiment_id}/models/{logged.model_id})" in version.description  # fmt: skip
    assert version.description.startswith("Score 1.25: 1 is as close as the data is to itself")
    assert "Best of 8." in version.description
    page = tracking.client.get_registered_model(name).description
    assert f"mlflow.pyfunc.load_model('models:/{name}@champion')" in page


def test_registering_again_changes_nothing(tracking, made, name):
    address = made()
    first = register(tracking, address, name, score=2.0, dataset="d")
    again = register(tracking, address, name, score=2.0, dataset="d")
    assert (again.version, again.champion, again.champion_version) == (1, True, 1)
    assert again.said == f"Registered as {name} version 1, score 2.00: it is the champion."
    assert again.url == first.url
    assert len(_versions(tracking, name)) == 1
    tracking.client.update_model_version(name, "1", "By hand.")
    tracking.client.update_registered_model(name, "By hand.")
    register(tracking, address, name, score=2.0, dataset="d")
    assert tracking.client.get_model_version(name, "1").description == "By hand."
    assert tracking.client.get_registered_model(name).description == "By hand."
    tags = tracking.client.get_logged_model(address.removeprefix("models:/")).tags
    assert tags["mlflow.modelVersions"].count(name) == 1


@pytest.mark.parametrize(
    ("score", "dataset", "wins", "said"),
    [
        (1.5, "d", True, "now the champion, in place of version 1, with 2.00."),
        (2.0, "d", True, "now the champion, in place of version 1, with 2.00."),
        (2.5, "d", False, "version 1 stays the champion, with 2.00."),
        (2.5, "other", True, "now the champion, in place of version 1, which was trained on other data."),
    ],
)  # fmt: skip
def test_who_is_champion(tracking, made, name, score, dataset, wins, said):
    register(tracking, made(), name, score=2.0, dataset="d")
    challenger = register(tracking, made(), name, score=score, dataset=dataset)
    champion = 2 if wins else 1
    assert (challenger.version, challenger.champion, challenger.champion_version) == (2, wins, champion)  # fmt: skip
    assert challenger.said.endswith(said)
    assert _champion(tracking, name) == champion


def test_a_version_stands_for_the_title_once(tracking, made, name):
    """Submitting an old sweep again must not take the title from what came after it."""
    old, new = made(), made()
    register(tracking, old, name, score=1.0, dataset="old data")
    register(tracking, new, name, score=3.0, dataset="new data")
    again = register(tracking, old, name, score=1.0, dataset="old data")
    assert (again.version, again.champion, again.champion_version) == (1, False, 2)
    assert again.said == f"Registered as {name} version 1, score 1.00: version 2 stays the champion."  # fmt: skip
    # Nor what a person has chosen.
    tracking.client.set_registered_model_alias(name, "champion", "1")
    assert register(tracking, new, name, score=3.0, dataset="new data").champion_version == 1
    # Without any champion the title is free.
    tracking.client.delete_registered_model_alias(name, "champion")
    assert register(tracking, new, name, score=3.0, dataset="new data").champion
    assert _champion(tracking, name) == 2


def test_a_champion_made_by_hand_has_no_score(tracking, made, name):
    tracking.client.create_registered_model(name)
    tracking.client.create_model_version(name, source="file:///somewhere")
    tracking.client.set_registered_model_alias(name, "champion", "1")
    tracking.client.set_model_version_tag(name, "1", "ldns.dataset", "d")
    registered = register(tracking, made(), name, score=9.0, dataset="d")
    assert registered.champion_version == 2
    assert registered.said.endswith("now the champion, in place of version 1.")


class Lost(Exception):
    pass


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "call", ["create_registered_model", "create_model_version", "set_logged_model_tags", "set_registered_model_alias", "set_model_version_tag"]
)  # fmt: skip
def test_an_answer_that_is_lost(tracking, made, name, monkeypatch, call, times):
    """The store has done it, as often as it was asked, and the process never hears of it."""
    address, client = made(), tracking.client
    does = getattr(client, call)

    def loses(*args, **kwargs):
        for _ in range(times if call == "create_model_version" else 1):
            does(*args, **kwargs)
        raise Lost

    monkeypatch.setattr(client, call, loses)
    with pytest.raises(Lost):
        register(tracking, address, name, score=1.0, dataset="d")
    monkeypatch.undo()
    registered = register(tracking, address, name, score=1.0, dataset="d")
    assert (registered.version, registered.champion) == (1, True)
    assert _champion(tracking, name) == 1
    assert len(_versions(tracking, name)) == 1


def test_a_request_that_arrives_twice_leaves_one_version(tracking, made, name, monkeypatch):
    client = tracking.client
    does = client.create_model_version

    def twice(*args, **kwargs):
        does(*args, **kwargs)
        return does(*args, **kwargs)

    monkeypatch.setattr(client, "create_model_version", twice)
    assert register(tracking, made(), name, score=1.0, dataset="d").version == 1
    assert [int(v.version) for v in _versions(tracking, name)] == [1]


def test_a_store_that_refuses_is_heard(tracking, made, name, monkeypatch):
    def refuses(*args, **kwargs):
        raise MlflowException("no")

    monkeypatch.setattr(tracking.client, "create_registered_model", refuses)
    with pytest.raises(MlflowException, match="no"):
        register(tracking, made(), name, score=1.0, dataset="d")


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_is_finite(tracking, made, name, score):
    with pytest.raises(ValueError, match="score must be finite, got"):
        register(tracking, made(), name, score=score, dataset="d")
    assert _versions(tracking, name) == []


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "a@champion", "a'b", "-a"])
def test_names_can_stand_in_an_address(tracking, made, bad):
    with pytest.raises(ValueError, match=r"name must be letters, digits, .* got .* Example: ldns-speech"):  # fmt: skip
        register(tracking, made(), bad, score=1.0, dataset="d")


def test_what_cannot_be_registered(tracking, made, name):
    def ask(address):
        return register(tracking, address, name, score=1.0, dataset="d")

    for address in ("/tmp/model", "models:/speech/1", "models:/speech@champion", "m-12"):
        with pytest.raises(ValueError, match=r"address models:/m-…, as on its page, got "):
            ask(address)
    with pytest.raises(ValueError, match=r"No logged model models:/m-123 in this store\. Log it first"):  # fmt: skip
        ask("models:/m-123")
    for status in (LoggedModelStatus.FAILED, LoggedModelStatus.PENDING):
        with pytest.raises(ValueError, match=rf"must be complete, got status {status}\. Log it again"):  # fmt: skip
            ask(made(status))
    with pytest.raises(MlflowException, match="not found"):
        tracking.client.get_registered_model(name)


@pytest.mark.slow
def test_on_a_server(tmp_path):
    """Versions of a server's registry lead to its pages, and load."""
    service = services.retrying(services.start_mlflow, tmp_path, 5000)
    try:
        tracking = connect(service.address, "served")
        model().save(tmp_path / "model")
        with tracking.run("r") as run:
            address = log_model(run, tmp_path / "model")
            other = log_model(run, tmp_path / "model")
        first = register(tracking, address, "ldns-served", score=2.0, dataset="d")
        assert first.url == f"{service.address}/#/models/ldns-served/versions/1"
        assert register(tracking, other, "ldns-served", score=3.0, dataset="d").champion_version == 1  # fmt: skip
        assert register(tracking, address, "ldns-served", score=2.0, dataset="d") == replace(
            first, said="Registered as ldns-served version 1, score 2.00: it is the champion."
        )
        tags = tracking.client.get_logged_model(other.removeprefix("models:/")).tags
        assert json.loads(tags["mlflow.modelVersions"]) == [{"name": "ldns-served", "version": 2}]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": service.address}
        program = "import mlflow, sys; print(mlflow.pyfunc.load_model(sys.argv[1]).model_id)"
        loaded = subprocess.run(
            [sys.executable, "-c", program, first.uri], env=environment, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert f"models:/{loaded.stdout.strip()}" == address
    finally:
        services.stop(service)
