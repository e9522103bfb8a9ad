"""The services answer from within hosts, keep what they are given, and fail as told."""

import hashlib
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pyarrow.fs
import pytest
import requests
import sqlalchemy

from ldns_ray import storage
from ldns_ray.tracking.connection import connect
from tests.cluster.services import BUCKET, listens, object_store, postgres
from tests.tracking.stored import artifact_of, history_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(network, tmp_path_factory):
    with object_store(network.address, tmp_path_factory.mktemp("store")) as made:
        yield made


def filesystem(endpoint, tries=3):
    """pyarrow's, which tries so often."""
    return pyarrow.fs.S3FileSystem(
        endpoint_override=endpoint.removeprefix("http://"), scheme="http", access_key="a", secret_key="b", region="us-east-1",
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=tries),
    )  # fmt: skip


def test_large_objects_pass_whole_and_are_seen_from_a_host(store, network):
    endpoint, _ = store
    content = os.urandom(12_000_000)
    name = f"{BUCKET}/{uuid.uuid4().hex}"
    with filesystem(endpoint).open_output_stream(name) as stream:
        stream.write(content)
    program = (
        "import sys, hashlib; from ldns_ray import storage;"
        "print(hashlib.sha256(storage.read_bytes(sys.argv[1])).hexdigest())"
    )
    read, write = os.pipe()
    with network.hosts(1) as (host,):
        env = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
        process = host.run([sys.executable, "-c", program, f"s3://{name}"], env, write)
        os.close(write)
        assert process.wait() == 0
    with os.fdopen(read) as said:
        assert said.read().strip() == hashlib.sha256(content).hexdigest()


def test_the_store_fails_while_told_to(store):
    endpoint, way = store
    name = f"{BUCKET}/{uuid.uuid4().hex}"
    open_before = filesystem(endpoint, tries=1)
    with open_before.open_output_stream(name) as stream:
        stream.write(b"before")
    refused = way.refused
    with way.failing(status=503):
        for some in (open_before, filesystem(endpoint, tries=1)):
            with pytest.raises(OSError, match="503|SLOW_DOWN|SERVICE_UNAVAILABLE"):
                some.open_input_file(name)
        with pytest.raises(OSError, match="503|SLOW_DOWN|SERVICE_UNAVAILABLE"), open_before.open_output_stream(name) as stream:  # fmt: skip
            stream.write(os.urandom(2_000_000))
    assert way.refused >= refused + 3
    assert open_before.open_input_file(name).read() == b"before"
    began, delayed = time.monotonic(), way.delayed
    with way.failing(delay_s=0.5):
        assert open_before.open_input_file(name).read() == b"before"
    assert time.monotonic() - began > 0.5
    assert way.delayed > delayed


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"delay_s": 4.0}])
def test_a_store_that_was_heard_of_is_waited_for(store, monkeypatch, fault):
    """Busy for longer than pyarrow's own eight seconds, or slower than its three."""
    endpoint, way = store
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    uri = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    storage.write_bytes(uri, b"before")
    content = os.urandom(12_000_000)
    with ThreadPoolExecutor() as pool:
        with way.failing(**fault):
            writing = pool.submit(storage.write_bytes, f"{uri}-2", content)
            reading = pool.submit(storage.read_bytes, uri)
            time.sleep(12)
        assert reading.result() == b"before"
        writing.result()
    assert storage.read_bytes(f"{uri}-2") == content


@pytest.mark.parametrize(("status", "answered"), [(403, True), (404, True), (503, False)])
def test_a_store_that_refuses_has_answered(store, monkeypatch, status, answered):
    """A fault of its own, or none to be reached, is told within seconds by a process that never heard of it."""
    endpoint, way = store
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setattr(storage, "_answered", set())
    began = time.monotonic()
    with way.failing(status=status), pytest.raises(OSError, match=r"s3://|No such|not found"):
        storage.read_bytes(f"s3://{BUCKET}/nothing")
    assert time.monotonic() - began < 30
    assert bool(storage._answered) == answered


def test_databases_are_apart_and_need_their_password(network, folder):
    with postgres(network.address, folder, ["one", "two"]) as databases:
        engines = {name: sqlalchemy.create_engine(url) for name, url in databases.items()}
        with engines["one"].begin() as one:
            one.execute(sqlalchemy.text("create table facts (n integer)"))
            one.execute(sqlalchemy.text("insert into facts values (3)"))
        with engines["one"].connect() as one:
            assert one.execute(sqlalchemy.text("select n from facts")).scalar() == 3
        assert sqlalchemy.inspect(engines["two"]).get_table_names() == []
        url = sqlalchemy.make_url(databases["one"]).set(password="another")
        with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
            sqlalchemy.create_engine(url).connect()
        for engine in engines.values():
            engine.dispose()
        assert listens(network.address, url.port)
        (postmaster,) = [
            p
            for p in psutil.process_iter(["cmdline"])
            if f"-p {url.port} " in " ".join(p.info["cmdline"] or [])
        ]
        assert postmaster.username() == "postgres"
    assert not postmaster.is_running()
    assert not listens(network.address, url.port)


def test_mlflow_asks_who_one_is(services):
    """Strangers, and those with another's password, are refused; who is known may read and write."""
    address = f"{services.mlflow.url}/api/2.0/mlflow/experiments"
    user = services.user
    wrong = [None, (user.name, "guess"), ("nobody", user.password), ("admin", "password1234")]
    for auth in wrong:
        found = requests.post(f"{address}/search", json={"max_results": 1}, auth=auth or Nobody())
        made = requests.post(f"{address}/create", json={"name": "x"}, auth=auth or Nobody())
        assert (found.status_code, made.status_code) == (401, 401)
    known = (user.name, user.password)
    assert requests.post(f"{address}/search", json={"max_results": 1}, auth=known).ok
    assert requests.get(f"{services.mlflow.url}/signup", auth=known).status_code == 403
    admin = (services.mlflow.admin.name, services.mlflow.admin.password)
    assert "username" in requests.get(f"{services.mlflow.url}/signup", auth=admin).text


class Nobody(requests.auth.AuthBase):
    """Keeps requests from looking for a password in the user's files."""

    def __call__(self, request):
        return request


def test_runs_outlast_their_server(services, monkeypatch):
    """Killed and started again it has the runs, from PostgreSQL, and their artifacts, from the object store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", services.endpoint)
    tracking = connect(services.mlflow.url, "outlasting")
    with tracking.run("run") as run:
        run.metrics({"loss": 0.25}, step=1)
        run.text("note.txt", "kept")
    services.mlflow.kill()
    with pytest.raises(ConnectionError, match="Cannot reach"):
        connect(services.mlflow.url, "outlasting", wait_s=0.5)
    services.mlflow.start()
    assert history_of(tracking, run.run_id, "loss") == [(1, 0.25)]
    assert artifact_of(tracking, run.run_id, "note.txt") == b"kept"
    files = storage.files_of(f"s3://{BUCKET}/mlflow")
    assert [file for file in files if file.endswith(f"/{run.run_id}/artifacts/note.txt")]
