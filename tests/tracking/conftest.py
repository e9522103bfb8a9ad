"""Stores, and an experiment in one for each test: a new store takes seconds."""

from collections.abc import Iterator

import pytest

from ldns_ray.tracking import patience
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.experiments import Tracking
from tests.tracking.faulty import FaultyServer, mlflow_server


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture
def tracking(uri, request) -> Tracking:
    """An experiment of its own in a store without a server."""
    return connect(uri, request.node.name)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[FaultyServer]:
    """A server that can be told to fail."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def served(server, request, monkeypatch) -> Tracking:
    """An experiment of its own on that server; waiting takes milliseconds."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,))
    found = connect(server.address, request.node.name, patience_s=30.0)
    server.forget()
    return found
