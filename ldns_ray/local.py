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
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ldns_ray.redaction import without_secrets
from ldns_ray.revision import commit_of
from ldns_ray.services import (
    QUIET,
    TITLES,
    Name,
    Service,
    alive,
    clean_environment,
    locked,
    read_services,
    retrying,
    serves,
    start_mlflow,
    start_ray,
    stop,
    tool,
    write_services,
)


def up(root: Path, only: Sequence[Name] = ("mlflow", "ray")) -> dict[Name, Service]:
    """Start what is missing of `only`; returns all running services of this root.

    Raises RuntimeError with the end of the log when a service does not come up.
    """
    with locked(root):
        known = read_services(root)
        for name in only:
            old = known.get(name)
            if old is not None and serves(old, limit_s=15):
                _say(name, old.address, "already running")
                continue
            if old is not None:
                stop(old)
            began = time.monotonic()
            if name == "mlflow":
                new = retrying(start_mlflow, root, old.port if old else 5000)
            else:
                uri = known["mlflow"].address if "mlflow" in known else ""
                new = retrying(start_ray, root, uri)
            known[name] = new
            write_services(root, known)
            _say(name, new.address, f"started in {time.monotonic() - began:.0f} s")
        return known


def down(root: Path) -> None:
    """Stop the services of this root, by process, and nothing else."""
    with locked(root):
        known = read_services(root)
        for name in ("ray", "mlflow"):
            if name in known:
                service = known.pop(name)
                _say(name, service.address, "stopped" if stop(service) else "was not running")
                write_services(root, known)


def status(root: Path) -> dict[Name, bool]:
    """Print and return which services of this root answer."""
    known = read_services(root)
    state: dict[Name, bool] = {}
    for name in TITLES:
        service = known.get(name)
        state[name] = service is not None and serves(service, limit_s=5)
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
    known = read_services(root)
    for name, title in TITLES.items():
        if name not in known or not alive(known[name]):
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


def _say(name: Name, address: str, what: str) -> None:
    print(f"{TITLES[name]:<7}{address:<24}{what}", flush=True)


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
        tool("ray"), "job", "submit",
        "--address", variables["RAY_API_SERVER_ADDRESS"],
        "--submission-id", job,
        "--working-dir", str(working_dir),
        "--runtime-env-json", json.dumps(runtime_env),
        "--log-style", "record", "--log-color", "false",
        "--", *command,
    ]  # fmt: skip
    process = subprocess.Popen(
        ray_command,
        env=clean_environment() | variables | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    print(f"Job {job}: {without_secrets(shlex.join(command))}", flush=True)
    try:
        submitted, stopped = _relay(process)
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        ray = f"RAY_AUTH_MODE=token {tool('ray')} job"
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
