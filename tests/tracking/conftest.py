"""A store of its own, and an experiment in it for each test."""

import pytest

from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.experiments import Tracking


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture
def tracking(uri, request) -> Tracking:
    """An experiment of its own for each test: a new store takes seconds."""
    return connect(uri, request.node.name)
