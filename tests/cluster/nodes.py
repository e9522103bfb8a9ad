"""A Ray cluster over hosts: a head that trains nothing, workers that can be lost and replaced, and jobs' drivers."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import sqlalchemy

from tests.cluster.hosts import ROOT, Host
from tests.cluster.services import User, wait_for

START_LIMIT_S = 120.0
END_LIMIT_S = 60.0
OBJECT_STORE_BYTES = 100_000_000
PORT = 6379
HASTE = {
    # A lost node is noticed after seconds rather than a minute, and a notice at once.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
}


class Node:
    """Ray on a host: the head, or a worker of the head at an address."""

    def __init__(
        self, host: Host, folder: Path, env: Mapping[str, str], n_cpus: int, head: str = ""
    ) -> None:
        self.host = host
        self._folder, self._env, self._n_cpus, self._head = folder, env, n_cpus, head
        self._n_starts = 0

    def start(self, temporary: Path | None = None) -> None:
        """Start Ray with nothing of what an earlier one on this host had; where it ends, it is started again.

        temporary: the folder for all that Ray writes there.
        """
        self._n_starts += 1
        temporary = temporary or self._folder / f"{self.host.name}-{self._n_starts}"
        role = ["--address", self._head] if self._head else ["--head", "--port", str(PORT), "--include-dashboard=false"]  # fmt: skip
        command = [
            str(Path(sys.executable).parent / "ray"), "start", *role, "--block", "--node-ip-address", self.host.address,
            "--num-cpus", str(self._n_cpus), "--object-store-memory", str(OBJECT_STORE_BYTES),
            "--temp-dir", str(temporary), "--disable-usage-stats", "--log-style", "record", "--log-color", "false",
        ]  # fmt: skip
        log = self._folder / f"{self.host.name}-{self._n_starts}.log"
        supervised = ["sh", "-c", f"while :; do {shlex.join(command)}; sleep 1; done"]
        with log.open("wb") as out:
            self.host.run(supervised, self._env, out.fileno())

        def started() -> bool:
            return "Ray runtime started" in log.read_text(errors="replace")

        wait_for(f"Ray runs on {self.host.name}", started, START_LIMIT_S, log)

    @property
    def runs(self) -> bool:
        return bool(self.host.processes("raylet/raylet"))

    def lose(self) -> None:
        """All of its processes are gone, from one moment to the next."""
        self.host.end_all()

    def spot_watch(self, service: str) -> subprocess.Popen[bytes]:
        """What waits here for a spot machine's notice, by a metadata service at this address."""
        command = [sys.executable, "-m", "ldns_ray.spot", "--service", service, "--every", "0.5"]
        env = {**self._env, "RAY_ADDRESS": self._head}
        with (self._folder / f"{self.host.name}-spot.log").open("wb") as out:
            return self.host.run(command, env, out.fileno())

    def training(self) -> list[psutil.Process]:
        """The processes in which Ray Train trains here."""
        return self.host.processes("RayTrainWorker")


class Job:
    """A job's driver on the head's host, as a user starts it there."""

    def __init__(self, host: Host, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = host.run([sys.executable, *arguments], env, out.fileno())

    @property
    def said(self) -> str:
        """What it has printed so far, errors included."""
        return self.log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """The driver is gone, from one moment to the next."""
        self._process.kill()
        self._process.wait()

    def end(self, limit_s: float = 300.0) -> str:
        """What it printed, once it has ended well."""
        wait_for("the job ends", lambda: not self.runs, limit_s, self.log)
        assert self._process.returncode == 0, self.said[-5000:]
        return self.said


class Cluster:
    """A head without CPUs and workers with one each. Jobs find Ray, storage, tracking and studies in their environment.

    root: the storage root of jobs, a URI that all hosts reach. tracking_uri, user: the MLflow server, and as whom jobs ask
    it. optuna: address of the database of studies, with its password, which goes into a file of its own.
    """

    def __init__(
        self, hosts: list[Host], folder: Path, *, root: str, tracking_uri: str, user: User, optuna: str, endpoint: str,
    ) -> None:  # fmt: skip
        self.root, self.tracking_uri = root, tracking_uri
        token = folder / "token"
        token.write_text("a-token-that-all-nodes-of-this-test-share")
        token.chmod(0o600)
        database = sqlalchemy.make_url(optuna)
        passwords = folder / "pgpass"
        passwords.write_text(
            f"{database.host}:{database.port}:{database.database}:{database.username}:{database.password}"
        )
        passwords.chmod(0o600)
        ours = ("LDNS_", "RAY_", "MLFLOW_", "AWS_ENDPOINT", "OMP_")
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(ours)},
            **HASTE,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "AWS_ENDPOINT_URL": endpoint,
            **user.environment,
            "LDNS_OPTUNA_STORAGE": optuna.replace(f":{database.password}@", "@"),
            "PGPASSFILE": str(passwords),
            "GLOO_SOCKET_IFNAME": "eth0",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""),
            "PYTHONUNBUFFERED": "1",
        }
        first, *others = hosts
        self.address = f"{first.address}:{PORT}"
        self.head = Node(first, folder, self._env, 0)
        self.workers = [Node(host, folder, self._env, 1, self.address) for host in others]
        self._folder = folder
        self._n_jobs = 0
        self._jobs: list[Job] = []

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in (*self.workers, self.head):
            node.lose()

    def start(self) -> None:
        """Start what does not run: the head first."""
        for node in (self.head, *self.workers):
            if not node.runs:
                node.start()

    def submit(self, *arguments: str, root: str = "") -> Job:
        """Start `python ARGUMENTS` on the head's host; root: its storage root, if another than the cluster's."""
        self._n_jobs += 1
        env = {
            **self._env,
            "LDNS_ROOT": root or self.root,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "RAY_ADDRESS": self.address,
        }
        job = Job(self.head.host, list(arguments), env, self._folder / f"job-{self._n_jobs}.log")
        self._jobs.append(job)
        return job

    def clear(self) -> None:
        """End what a test that failed has left: its jobs, and cuts in the network."""
        for node in (self.head, *self.workers):
            node.host.mend()
        left = [job for job in self._jobs if job.runs]
        for job in left:
            job.kill()
        self._jobs.clear()
        if left:
            wait_for("what they have started ends", lambda: not any(self.training()), END_LIMIT_S)

    def secrets(self) -> set[str]:
        """The token, and the passwords of MLflow and the database of studies."""
        passwords = Path(self._env["PGPASSFILE"]).read_text().rpartition(":")[2]
        token = Path(self._env["RAY_AUTH_TOKEN_PATH"]).read_text()
        return {token, passwords, self._env["MLFLOW_TRACKING_PASSWORD"]}

    def training(self) -> list[list[psutil.Process]]:
        """The processes in which Ray Train trains, by worker node."""
        return [node.training() for node in self.workers]

    def wait_for_training(self, job: Job, limit_s: float = 120.0) -> None:
        """Wait until every worker node trains. Raises AssertionError where the job ends before."""
        deadline = time.monotonic() + limit_s
        while not all(self.training()):
            assert job.runs, f"the job ended without training:\n{job.said[-3000:]}"
            assert time.monotonic() < deadline, f"no training on every node:\n{job.said[-3000:]}"
            time.sleep(0.1)
