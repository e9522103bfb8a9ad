"""One cluster for the session: three hosts on a network, Ray on them, and the services beside it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cluster.hosts import Network, why_no_hosts
from tests.cluster.nodes import Cluster
from tests.cluster.recipe import databases
from tests.cluster.services import BUCKET, MlflowServer, object_store, postgres


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name, for Ray's sockets, that every user may enter, for PostgreSQL's."""
    made = Path(tempfile.mkdtemp(prefix="ldns-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """A network for hosts, where they can be made."""
    why = why_no_hosts()
    if why:
        pytest.skip(why)
    with Network() as made:
        yield made


@pytest.fixture(scope="session")
def services(network: Network, folder: Path) -> Iterator[SimpleNamespace]:
    """The services of a cluster: `endpoint` of the S3 server and the `way` to it, `mlflow` (an MlflowServer), `user` of it,
    as whom this process asks too, and `optuna`, the address of a database.
    """
    with contextlib.ExitStack() as stack:
        endpoint, way = stack.enter_context(object_store(network.address, folder))
        made = stack.enter_context(postgres(network.address, folder, databases()))
        server = stack.enter_context(MlflowServer(network.address, folder, made, endpoint))
        user = server.add("anna")
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in user.environment.items():
            patch.setenv(name, value)
        yield SimpleNamespace(
            endpoint=endpoint, way=way, mlflow=server, user=user, optuna=made["optuna"]
        )


@pytest.fixture(scope="session")
def running(network: Network, services: SimpleNamespace, folder: Path) -> Iterator[Cluster]:
    """A head and two workers."""
    with network.hosts(3) as hosts:
        cluster = Cluster(
            hosts, folder, root=f"s3://{BUCKET}/results", tracking_uri=services.mlflow.url, user=services.user,
            optuna=services.optuna, endpoint=services.endpoint,
        )  # fmt: skip
        with cluster:
            yield cluster


@pytest.fixture
def cluster(
    running: Cluster, services: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """The cluster with all of its nodes, also after a test that lost one. This process reads its object store too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", services.endpoint)
    running.start()
    yield running
    running.clear()
