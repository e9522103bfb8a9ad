"""The services of one machine: an MLflow server and a Ray head, both on the loopback address.

    python -m ldns_ray.local up       start what is missing
    python -m ldns_ray.local status   what is running
    python -m ldns_ray.local submit -- python jobs/sweep_speech.py
    python -m ldns_ray.local down     stop what `up` started, nothing else

Everything is kept under one storage root (`--root`, else `LDNS_ROOT`, else `./results`): the MLflow
store `mlflow.db` and `mlartifacts/`, the services' `logs/`, and `services.json`, which says what runs.
After `eval "$(python -m ldns_ray.local env)"` Ray's own command works as well:

    ray job submit --working-dir . -- python jobs/sweep_speech.py

Ray leaves out of the working directory it uploads what `.gitignore` names, and `.git` and `.venv`.
The Ray head asks for the token in the user's Ray folder; one is written if there is none.
"""

import argparse
import contextlib
import fcntl
import getpass
import hashlib
import http.client
import json
import os
import re
import secrets
import shlex
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

from ldns_ray.revision import commit_of

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


# ---------------------------------------------------------------------------------------------
# Commands


def up(root: Path, only: Sequence[Name] = ("mlflow", "ray")) -> dict[Name, Service]:
    """Start what is missing of `only`; returns all running services of this root.

    Raises RuntimeError with the end of the log when a service does not come up.
    """
    with _locked(root):
        known = _read(root)
        for name in only:
            old = known.get(name)
            if old is not None and _serves(old, limit_s=15):
                _say(name, old.address, "already running")
                continue
            if old is not None:
                _stop(old)
            began = time.monotonic()
            if name == "mlflow":
                new = _retrying(_start_mlflow, root, old.port if old else 5000)
            else:
                uri = known["mlflow"].address if "mlflow" in known else ""
                new = _retrying(_start_ray, root, uri)
            known[name] = new
            _write(root, known)
            _say(name, new.address, f"started in {time.monotonic() - began:.0f} s")
        return known


def down(root: Path) -> None:
    """Stop the services of this root, by process, and nothing else."""
    with _locked(root):
        known = _read(root)
        for name in ("ray", "mlflow"):
            if name in known:
                service = known.pop(name)
                _say(name, service.address, "stopped" if _stop(service) else "was not running")
                _write(root, known)


def status(root: Path) -> dict[Name, bool]:
    """Print and return which services of this root answer."""
    known = _read(root)
    state: dict[Name, bool] = {}
    for name in TITLES:
        service = known.get(name)
        state[name] = service is not None and _serves(service, limit_s=5)
        if service is None:
            _say(name, "-", "not running")
        elif state[name]:
            _say(name, service.address, "running")
        else:
            _say(name, service.address, f"does not answer: see {service.log}")
    return state


def environment(root: Path) -> dict[str, str]:
    """The environment variables with which a job is submitted to the services of this root.

    Raises RuntimeError when one of them is not running.
    """
    known = _read(root)
    for name, title in TITLES.items():
        if name not in known or not _alive(known[name]):
            raise RuntimeError(
                f"{title} is not running for {root}. Start it with: "
                f"python -m ldns_ray.local up --root {shlex.quote(str(root))}"
            )
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_API_SERVER_ADDRESS": known["ray"].address,
        "MLFLOW_TRACKING_URI": known["mlflow"].address,
        "LDNS_ROOT": str(root),
    }


def submit(root: Path, command: Sequence[str], working_dir: Path) -> int:
    """Run `command` as a Ray job, relay what it prints, and return its exit status.

    Ray's own chatter is left out; it is shown when the job could not be submitted.
    """
    variables = environment(root)
    job_env = QUIET | {k: variables[k] for k in ("MLFLOW_TRACKING_URI", "LDNS_ROOT")}
    commit = commit_of(working_dir)
    if commit:
        job_env["LDNS_COMMIT"] = commit
    runtime_env: dict[str, object] = {"env_vars": job_env}
    if root.is_relative_to(working_dir) and root != working_dir:
        runtime_env["excludes"] = [f"/{root.relative_to(working_dir)}"]
    stem = next((Path(w).stem for w in command if w.endswith(".py")), "job")
    job = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    ray_command = [
        _tool("ray"), "job", "submit",
        "--address", variables["RAY_API_SERVER_ADDRESS"],
        "--submission-id", job,
        "--working-dir", str(working_dir),
        "--runtime-env-json", json.dumps(runtime_env),
        "--log-style", "record", "--log-color", "false",
        "--", *command,
    ]  # fmt: skip
    process = subprocess.Popen(
        ray_command,
        env=_clean_environment() | variables | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    print(f"Job {job}: {shlex.join(command)}", flush=True)
    try:
        submitted, stopped = _relay(process)
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        ray = f"RAY_AUTH_MODE=token {_tool('ray')} job"
        address = f"--address {variables['RAY_API_SERVER_ADDRESS']}"
        print(f"\nThe job goes on. Follow it with: {ray} logs {address} --follow {job}")
        print(f"Stop it with: {ray} stop {address} {job}")
        return 130
    if stopped:
        print(f"Job {job} was stopped.")
        return code or 1
    if code and submitted:
        print(f"Job {job} failed; what it printed is above.")
    return code


_CHATTER = re.compile(
    r"^(\d{4}-\d\d-\d\d [\d:,]+\t((INFO|SUCC) "
    r"(cli|cli_output_helpers|dashboard_sdk|job_manager|packaging|sdk|worker)|ERR cli)\.py:\d+ -- "
    r"|Running entrypoint for job )"
)


def _relay(process: subprocess.Popen[str]) -> tuple[bool, bool]:
    """Print the job's own lines; returns whether it was submitted, and whether it was stopped."""
    assert process.stdout is not None
    held: list[str] = []
    submitted = printed = failed = stopped = False
    for line in process.stdout:
        failed = failed or bool(re.search(r"\tERR cli\.py:\d+ -- Job '", line))
        stopped = stopped or bool(re.search(r"cli\.py:\d+ -- Job '.*' was stopped", line))
        if not submitted or failed:
            held.append(line)
            if "Tailing logs until the job exits" in line:
                submitted = True
                held.clear()
        elif not _CHATTER.match(line):
            printed = True
            print(line, end="", flush=True)
    # Ray repeats the last lines of a failed job; they are news only when there were none before.
    if not printed:
        print("".join(held), end="", flush=True)
    return submitted, stopped


# ---------------------------------------------------------------------------------------------
# Starting


class PortTaken(RuntimeError):
    """Someone else came first to a port that was free a moment ago."""


def _retrying(start: Callable[..., Service], *arguments: object) -> Service:
    """`start`, again on other ports when someone else took one meanwhile."""
    for _ in range(2):
        with contextlib.suppress(PortTaken):
            return start(*arguments)
    return start(*arguments)


def _start_mlflow(root: Path, port: int) -> Service:
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


def _start_ray(root: Path, tracking_uri: str) -> Service:
    _write_token()
    # Unix socket paths end at 107 characters, so Ray's folder cannot be under the root.
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    temp_dir = Path(tempfile.gettempdir()) / f"ldns-{getpass.getuser()[:12]}-{digest}"
    shutil.rmtree(temp_dir, ignore_errors=True)
    temp_dir.mkdir(mode=0o700)  # refuses a folder that someone else put there
    # Ray gives ports 10002 to 19999 to workers.
    ports = [_free_port(first) for first in (8265, 6379, 52365, 20001)]
    port, gcs, agent, client = ports
    command = [
        _tool("ray"), "start", "--head", "--block",
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
            env=_clean_environment() | variables | {MARKER: marker},
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
        while not (_serves(service, limit_s=0) and _ready(service)):
            if process.poll() is not None:
                failure = _failure(service, f"ended with status {process.returncode}")
                _stop(service)
                taken = any(_free_port(port) != port for port in ports)
                raise PortTaken(failure) if taken else RuntimeError(failure)
            if time.monotonic() > deadline:
                raise RuntimeError(_failure(service, f"did not answer in {START_LIMIT_S:.0f} s"))
            time.sleep(0.2)
    except BaseException:
        _stop(service)
        raise
    return service


def _ready(service: Service) -> bool:
    # Ray's dashboard answers some seconds before the node can run anything.
    return service.name != "ray" or "Ray runtime started" in Path(service.log).read_text()


def _failure(service: Service, what: str) -> str:
    lines = Path(service.log).read_text(errors="replace").splitlines()
    tail = "\n".join(f"    {line}" for line in lines[-15:])
    return f"{TITLES[service.name]} {what}. The end of {service.log}:\n{tail}"


def _serves(service: Service, limit_s: float) -> bool:
    """Whether the service answers over HTTP, within `limit_s` seconds or at the first try."""
    deadline = time.monotonic() + limit_s
    while _alive(service):
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


def _clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a service or a client elsewhere."""
    foreign = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", MARKER)
    return {
        k: v
        for k, v in os.environ.items()
        if k not in foreign and not k.startswith(("MLFLOW_", "_MLFLOW_"))
    }


def _write_token() -> None:
    """Make sure that Ray finds an authentication token, readable by this user only."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as f:
            f.write(secrets.token_hex(32))


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


def _tool(name: str) -> str:
    """A command of this Python's environment."""
    return str(Path(sys.executable).parent / name)


# ---------------------------------------------------------------------------------------------
# Stopping


def _alive(service: Service) -> bool:
    """Whether the service's first process runs, and is not another one with its number."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(service.pid)
        same = abs(process.create_time() - service.created) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False


def _members(service: Service) -> list[psutil.Process]:
    """All processes of the service, its first one first."""
    found: dict[int, psutil.Process] = {}
    if _alive(service):
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(service.pid)
            found = {p.pid: p for p in (first, *first.children(recursive=True))}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in found and process.environ().get(MARKER) == service.marker:
                found[process.pid] = process
    found.pop(os.getpid(), None)
    return list(found.values())


def _stop(service: Service) -> bool:
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


# ---------------------------------------------------------------------------------------------
# The record


def _read(root: Path) -> dict[Name, Service]:
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


def _write(root: Path, known: dict[Name, Service]) -> None:
    path = root / "services.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(s) for s in known.values()], indent=1) + "\n")
    partial.replace(path)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One `up` or `down` at a time per root."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(name: Name, address: str, what: str) -> None:
    print(f"{TITLES[name]:<7}{address:<24}{what}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--root",
        default=os.environ.get("LDNS_ROOT", "results"),
        help="storage root (default: LDNS_ROOT, else ./results)",
    )
    parser = argparse.ArgumentParser(prog="python -m ldns_ray.local", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", parents=[common], help="start what is missing")
    start.add_argument("--only", choices=list(TITLES), help="start this one only")
    commands.add_parser("down", parents=[common], help="stop what `up` started")
    commands.add_parser("status", parents=[common], help="say what runs")
    commands.add_parser("env", parents=[common], help="print the variables as shell exports")
    job = commands.add_parser("submit", parents=[common], help="run a command as a Ray job")
    job.add_argument("--working-dir", default=".", help="folder that the job runs in a copy of")
    job.add_argument("job", nargs="+", metavar="WORD", help="the command, after --")
    args = parser.parse_args(argv)
    if "://" in args.root:
        parser.error(f"--root must be a folder of this machine, got {args.root}.")
    root = Path(args.root).expanduser().resolve()
    try:
        if args.command == "up":
            up(root, (args.only,) if args.only else ("mlflow", "ray"))
        elif args.command == "down":
            down(root)
        elif args.command == "status":
            return 0 if all(status(root).values()) else 1
        elif args.command == "env":
            for name, value in environment(root).items():
                print(f"export {name}={shlex.quote(value)}")
        else:
            return submit(root, args.job, Path(args.working_dir).resolve())
    except (RuntimeError, OSError) as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
