"""The processes behind the services of one machine: started, recognised, recorded under their root, stopped."""

import contextlib
import fcntl
import getpass
import hashlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

Name = Literal["mlflow", "ray"]
TITLES: dict[Name, str] = {"mlflow": "MLflow", "ray": "Ray"}
START_LIMIT_S = 180.0
STOP_LIMIT_S = 20.0
# Every process of a service inherits this variable, however deep it sits; `down` knows them by it.
MARKER = "LDNS_LOCAL_SERVICE"
# No bars for artifacts in a job's log.
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


@dataclass(frozen=True)
class Service:
    """A service that `up` started."""

    name: Name
    pid: int
    """Its first process, which leads a session of its own."""
    created: float
    """When that process began, in seconds since the epoch: a pid alone may be someone else's by now."""
    marker: str
    """Value of the environment variable `LDNS_LOCAL_SERVICE` of all its processes."""
    address: str
    port: int
    log: str


class PortTaken(RuntimeError):
    """Someone else came first to a port that was free a moment ago."""


def retrying(start: Callable[..., Service], *arguments: object) -> Service:
    """`start`, again on other ports when someone else took one meanwhile."""
    for _ in range(2):
        with contextlib.suppress(PortTaken):
            return start(*arguments)
    return start(*arguments)


def start_mlflow(root: Path, port: int) -> Service:
    """The MLflow server of a root, on the first free port from `port`."""
    port = _free_port(port)
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}",
        "--artifacts-destination", str(root / "mlartifacts"),
    ]  # fmt: skip
    variables = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return _start(root, "mlflow", command, variables, [port])


def start_ray(root: Path, tracking_uri: str) -> Service:
    """A Ray head whose jobs keep their results under `root`, and track them at `tracking_uri` if it is given."""
    ensure_token()
    # Unix socket paths end at 107 characters, so Ray's folder cannot be under the root.
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    temp_dir = Path(tempfile.gettempdir()) / f"ldns-{getpass.getuser()[:12]}-{digest}"
    shutil.rmtree(temp_dir, ignore_errors=True)
    temp_dir.mkdir(mode=0o700)  # refuses a folder that someone else put there
    # Ray gives ports 10002 to 19999 to workers.
    ports = [_free_port(first) for first in (8265, 6379, 52365, 20001)]
    port, gcs, agent, client = ports
    command = [
        tool("ray"), "start", "--head", "--block",
        "--node-ip-address", "127.0.0.1",
        "--port", str(gcs),
        "--dashboard-host", "127.0.0.1", "--dashboard-port", str(port),
        "--dashboard-agent-listen-port", str(agent),
        "--ray-client-server-port", str(client),
        "--object-store-memory", str(_object_store_bytes()),
        "--temp-dir", str(temp_dir),
        "--disable-usage-stats", "--log-style", "record", "--log-color", "false",
    ]  # fmt: skip
    variables = QUIET | {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # One machine only: without this Ray replaces 127.0.0.1 by the machine's outer address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Jobs inherit these, and find `python`, unless they are submitted with others.
        "LDNS_ROOT": str(root),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if tracking_uri:
        variables["MLFLOW_TRACKING_URI"] = tracking_uri
    return _start(root, "ray", command, variables, ports)


def _start(
    root: Path,
    name: Name,
    command: Sequence[str],
    variables: dict[str, str],
    ports: Sequence[int],
) -> Service:
    """Start a service in a session of its own and wait until it answers on the first of `ports`."""
    log = root / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    marker = f"{root}:{name}:{secrets.token_hex(8)}"
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=clean_environment() | variables | {MARKER: marker},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    address = f"http://127.0.0.1:{ports[0]}"
    service = Service(name, process.pid, created, marker, address, ports[0], str(log))
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not (serves(service, limit_s=0) and _ready(service)):
            if process.poll() is not None:
                failure = _failure(service, f"ended with status {process.returncode}")
                stop(service)
                taken = any(_free_port(port) != port for port in ports)
                raise PortTaken(failure) if taken else RuntimeError(failure)
            if time.monotonic() > deadline:
                raise RuntimeError(_failure(service, f"did not answer in {START_LIMIT_S:.0f} s"))
            time.sleep(0.2)
    except BaseException:
        stop(service)
        raise
    return service


def _ready(service: Service) -> bool:
    # Ray's dashboard answers some seconds before the node can run anything.
    return service.name != "ray" or "Ray runtime started" in Path(service.log).read_text()


def _failure(service: Service, what: str) -> str:
    lines = Path(service.log).read_text(errors="replace").splitlines()
    tail = "\n".join(f"    {line}" for line in lines[-15:])
    return f"{TITLES[service.name]} {what}. The end of {service.log}:\n{tail}"


def serves(service: Service, limit_s: float) -> bool:
    """Whether the service answers over HTTP, within `limit_s` seconds or at the first try."""
    deadline = time.monotonic() + limit_s
    while alive(service):
        # That something answers is not enough: the port may be another's.
        if _answers(service) and _listens(service):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)
    return False


def _answers(service: Service) -> bool:
    path = "/health" if service.name == "mlflow" else "/api/gcs_healthz"
    # A proxy is for other machines.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(service.address + path, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _listens(service: Service) -> bool:
    """Whether a process of the service listens on its port."""
    for process in _members(service):
        with contextlib.suppress(psutil.Error):
            for c in process.net_connections(kind="tcp"):
                if c.status == psutil.CONN_LISTEN and c.laddr.port == service.port:
                    return True
    return False


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a service or a client elsewhere."""
    foreign = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", MARKER)
    return {
        k: v
        for k, v in os.environ.items()
        if k not in foreign and not k.startswith(("MLFLOW_", "_MLFLOW_"))
    }


def ensure_token() -> None:
    """Make sure that Ray finds an authentication token, readable by this user only.

    Ray itself writes one that everybody on the machine can read, if it finds none; in the usual place such a one is
    closed to others.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    chosen = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(chosen) if chosen else Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as f:
            f.write(secrets.token_hex(32))
    if not chosen and path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _object_store_bytes() -> int:
    """2 GB, or a fifth of the memory where that is less; Ray needs 80 MB."""
    return max(80_000_000, min(2_000_000_000, psutil.virtual_memory().total // 5))


def _free_port(first: int) -> int:
    """The first port from `first` on which nothing listens. Raises RuntimeError after a hundred."""
    for port in range(first, first + 100):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("", port))
            return port
    raise RuntimeError(f"No free port from {first} to {first + 99}. Stop what listens there.")


def tool(name: str) -> str:
    """A command of this Python's environment."""
    return str(Path(sys.executable).parent / name)


def alive(service: Service) -> bool:
    """Whether the service's first process runs, and is not another one with its number."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(service.pid)
        same = abs(process.create_time() - service.created) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False


def _members(service: Service) -> list[psutil.Process]:
    """All processes of the service, its first one first."""
    found: dict[int, psutil.Process] = {}
    if alive(service):
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(service.pid)
            found = {p.pid: p for p in (first, *first.children(recursive=True))}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in found and process.environ().get(MARKER) == service.marker:
                found[process.pid] = process
    found.pop(os.getpid(), None)
    return list(found.values())


def stop(service: Service) -> bool:
    """End all processes of the service; returns whether there were any."""
    members = _members(service)
    if not members:
        return False
    # The first process ends its children in order; those left are then told themselves.
    steps: list[tuple[Callable[[psutil.Process], None], bool, float]] = [
        (psutil.Process.terminate, True, STOP_LIMIT_S),
        (psutil.Process.terminate, False, 3),
        (psutil.Process.kill, False, 3),
    ]
    for action, only_first, limit_s in steps:
        targets = [p for p in members if p.pid == service.pid] if only_first else members
        for process in targets:
            with contextlib.suppress(psutil.Error):  # psutil checks that the pid is still the same
                action(process)
        if targets:
            psutil.wait_procs(members, timeout=limit_s)
        members = _members(service)
        if not members:
            break
    return True


def read_services(root: Path) -> dict[Name, Service]:
    """What `up` started for this root. Raises RuntimeError for a record that cannot be read."""
    path = root / "services.json"
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text())
        return {r["name"]: Service(**r) for r in records}
    except (ValueError, TypeError, KeyError) as e:
        raise RuntimeError(
            f"Cannot read {path}: {e}. Delete it, and stop by hand what it names."
        ) from e


def write_services(root: Path, known: dict[Name, Service]) -> None:
    """Replace the record of this root."""
    path = root / "services.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(s) for s in known.values()], indent=1) + "\n")
    partial.replace(path)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """One `up` or `down` at a time per root."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
