"""What a cluster needs beside Ray, on the network's address: an S3 server, PostgreSQL, and MLflow on both, with users."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs
import pytest
import requests

from tests.cluster import recipe
from tests.cluster.faulty_store import FaultyWay

BUCKET = "ldns"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0


def free_port(address: str) -> int:
    """A port of an address that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, true: Callable[[], bool], limit_s: float, log: Path | None = None) -> None:
    """Wait until something is so. Raises AssertionError, with the end of `log`, where it never is."""
    deadline = time.monotonic() + limit_s
    while not true():
        said = f":\n{log.read_text(errors='replace')[-3000:]}" if log else ""
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}{said}"
        time.sleep(0.1)


class Service:
    """A server's process, which can be killed and started again as it was.

    answers: whether the server does, asked until it is so.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        answers: Callable[[], bool],
        folder: Path,
        env: Mapping[str, str],
        user: str | None = None,
    ) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._command, self._answers, self._env, self._user = command, answers, env, user
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, env=dict(self._env), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                cwd=self._folder, user=self._user, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(f"{self.name} answers", self._alive_and_answers, START_LIMIT_S, self.log)
        except BaseException:
            self.kill()
            raise

    def _alive_and_answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
        return self._answers()

    def stop(self) -> None:
        """Ask the server to end, as Ctrl-C does, and kill what has not."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_LIMIT_S)
        self.kill()

    def kill(self) -> None:
        """Kill the server and what it started in its session."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def listens(address: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


@contextlib.contextmanager
def object_store(address: str, folder: Path) -> Iterator[tuple[str, FaultyWay]]:
    """An S3 server with one bucket, and the way to it: where clients find it, and what can be told to fail."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with Service("s3", command, lambda: listens("127.0.0.1", port), folder, os.environ):
        way = FaultyWay(address, ("127.0.0.1", port))
        with way.relaying() as endpoint:
            admin = pyarrow.fs.S3FileSystem(
                endpoint_override=endpoint.removeprefix("http://"), scheme="http", allow_bucket_creation=True
            )  # fmt: skip
            admin.create_dir(BUCKET)
            yield endpoint, way


def postgres_programs() -> Path | None:
    """The folder with the programs of this machine's newest PostgreSQL, which Debian keeps out of PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=shutil.which("initdb"))
    return Path(newest).resolve().parent if newest else None


@contextlib.contextmanager
def postgres(address: str, folder: Path, databases: Sequence[str]) -> Iterator[dict[str, str]]:
    """A PostgreSQL server with empty databases: by name their addresses, for SQLAlchemy with psycopg2.

    folder: all of its parents must be open to the user postgres, as whom it runs.
    """
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    port, password = free_port(address), secrets.token_hex(8)
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir=folder))
    data = home / "data"
    secret = home / "password"
    secret.write_text(password)
    for path in (home, secret):
        shutil.chown(path, "postgres", "postgres")
    run = {"user": "postgres", "cwd": home, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "ldns", "-A", "scram-sha-256", "--pwfile", secret, "--no-sync"],
        **run,
    )  # fmt: skip
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet scram-sha-256\n")
    command = [
        str(programs / "postgres"),
        "-D",
        str(data),
        "-h",
        address,
        "-p",
        str(port),
        "-k",
        "",
    ]
    client = [programs / "psql", "-q", "-h", address, "-p", str(port), "-U", "ldns", "postgres"]
    ready = [programs / "pg_isready", "-q", "-h", address, "-p", str(port)]
    server = Service(
        "postgres", command, lambda: subprocess.run(ready).returncode == 0, home, os.environ, "postgres"
    )  # fmt: skip
    with server:
        for name in databases:
            subprocess.run(
                [*client, "-c", f"create database {name}"], env={**os.environ, "PGPASSWORD": password}, **run
            )  # fmt: skip
        where = f"postgresql+psycopg2://ldns:{password}@{address}:{port}"
        yield {name: f"{where}/{name}" for name in databases}


@dataclass(frozen=True)
class User:
    """Of an MLflow server."""

    name: str
    password: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process this user."""
        return {
            "MLFLOW_TRACKING_USERNAME": self.name,
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }


class MlflowServer(Service):
    """The README's MLflow server: it keeps runs in a database, artifacts in the object store, and knows its users.

    url: its address. admin: the user that its first start makes.
    """

    def __init__(
        self, address: str, folder: Path, databases: Mapping[str, str], endpoint: str
    ) -> None:
        port = free_port(address)
        self.url = f"http://{address}:{port}"
        self.admin = User("admin", secrets.token_hex(8))
        auth = folder / "auth.ini"
        auth.write_text(recipe.auth_file(databases["mlflow_users"]))
        auth.chmod(0o600)
        options = {
            "--host": address, "--port": str(port), "--workers": "1", "--allowed-hosts": f"{address}:{port}",
            "--backend-store-uri": databases["mlflow"], "--artifacts-destination": f"s3://{BUCKET}/mlflow",
        }  # fmt: skip
        said = {
            "MLFLOW_AUTH_CONFIG_PATH": str(auth),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        }
        assert set(said) == recipe.variables()
        env = {
            **os.environ,
            **said,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", "mlflow", "server", *recipe.server_command(options)]
        super().__init__("mlflow", command, self._healthy, folder, env)

    def _healthy(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=5).ok
        return False

    def add(self, name: str) -> User:
        """A new user, who may do what `default_permission` says."""
        user = User(name, secrets.token_hex(8))
        answer = requests.post(
            f"{self.url}/api/2.0/mlflow/users/create",
            json={"username": user.name, "password": user.password},
            auth=(self.admin.name, self.admin.password),
            timeout=30,
        )
        answer.raise_for_status()
        return user
