"""One cluster for the session: three hosts on a network, Ray on them, and the services beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cluster.hosts import Network, why_no_hosts
from tests.cluster.nodes import Cluster
from tests.cluster.services import BUCKET, mlflow_server, object_store, postgres


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name, for Ray's sockets, that every user may enter, for PostgreSQL's."""
    made = Path(tempfile.mkdtemp(prefix="ldns-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """A network for hosts. The tests that need one take twenty minutes, and root: they run when asked for."""
    why = (
        why_no_hosts() if "LDNS_CLUSTER" in os.environ else "cluster tests run with LDNS_CLUSTER=1"
    )
    if why:
        pytest.skip(why)
    with Network() as made:
        yield made


@pytest.fixture(scope="session")
def services(network: Network, folder: Path) -> Iterator[SimpleNamespace]:
    """The services of a cluster: `endpoint` of the S3 server and the `way` to it, `mlflow` (a Service) and its
    `tracking_uri`, and `optuna`, the address of a database.
    """
    with contextlib.ExitStack() as stack:
        endpoint, way = stack.enter_context(object_store(network.address, folder))
        databases = stack.enter_context(postgres(network.address, folder, ["mlflow", "optuna"]))
        url, server = mlflow_server(network.address, folder, databases["mlflow"], endpoint)
        stack.enter_context(server)
        yield SimpleNamespace(
            endpoint=endpoint, way=way, mlflow=server, tracking_uri=url, optuna=databases["optuna"]
        )


@pytest.fixture(scope="session")
def running(network: Network, services: SimpleNamespace, folder: Path) -> Iterator[Cluster]:
    """A head and two workers."""
    with network.hosts(3) as hosts:
        cluster = Cluster(
            hosts, folder, root=f"s3://{BUCKET}/results", tracking_uri=services.tracking_uri, endpoint=services.endpoint
        )  # fmt: skip
        with cluster:
            yield cluster


@pytest.fixture
def cluster(
    running: Cluster, services: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Cluster:
    """The cluster with all of its nodes, also after a test that lost one. This process reads its object store too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", services.endpoint)
    running.start()
    return running
