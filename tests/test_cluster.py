"""`cluster.yaml` is one that Ray's launcher accepts, and says what the README promises of it."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.utils import credentials
from packaging.requirements import Requirement

from ldns_ray.sweeps import places
from ldns_ray.sweeps.command import sweep_parser

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "cluster.yaml"
HOME = "/home/ubuntu"
SECRETS = (".ray/auth_token", ".mlflow/credentials", ".pgpass")


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text())


def _validate(cluster: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def _commands(cluster: dict[str, Any]) -> list[str]:
    return [c for key, commands in cluster.items() if key.endswith("_commands") for c in commands]


def _run(command: str, home: Path) -> str:
    """What a shell of a new machine prints, whose home folder is `home`."""
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", command], env=env, cwd=home, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def environment(cluster, tmp_path) -> dict[str, str]:
    """What a machine that was set up twice exports, and Ray is started with."""
    writes = [c for c in cluster["setup_commands"] if "ldns_environment" in c]
    assert len(writes) == 2
    for command in 2 * writes:
        _run(command, tmp_path)
    assert (tmp_path / ".profile").read_text().count("ldns_environment") == 1
    printed = _run(". ~/.profile && env", tmp_path)
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


def test_the_launcher_accepts_it(cluster):
    prepared = _validate(cluster)
    assert prepared["max_workers"] == cluster["max_workers"]


@pytest.mark.parametrize("change", [{"head_node_type": "nobody"}, {"max_wrkers": 3}])
def test_the_launcher_rejects_mistakes(cluster, change):
    with pytest.raises(Exception, match=r"head_node_type|max_wrkers"):
        _validate(cluster | change)


def test_commands_are_what_a_shell_understands(cluster):
    commands = _commands(cluster)
    assert len(commands) > 8
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_head_trains_nothing(cluster):
    assert cluster["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert any("--num-cpus=0" in c for c in cluster["head_start_ray_commands"])


def test_gpu_workers_come_and_go(cluster):
    worker = cluster["available_node_types"]["gpu_worker"]
    assert worker["resources"]["GPU"] >= 1
    assert (worker["min_workers"], worker["max_workers"]) == (0, cluster["max_workers"])
    assert worker["max_workers"] > 0
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    head = cluster["available_node_types"]["head"]["node_config"]
    assert "InstanceMarketOptions" not in head


def test_spot_workers_tell_ray_of_their_notice(cluster, tmp_path):
    """The line returns at once, starts one watch however often it is run, and reaches a command that there is."""
    (line,) = [c for c in cluster["worker_start_ray_commands"] if "ldns_ray.spot" in c]
    assert not any("ldns_ray.spot" in c for c in cluster["head_start_ray_commands"])
    (words,) = re.findall(r"python (-m ldns_ray\.spot)", line)
    subprocess.run([sys.executable, *words.split(), "--help"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    watch = programs / "python"
    watch.write_text('#!/bin/sh\necho "$@" $$ >> ~/started\nexec sleep 600\n')
    watch.chmod(0o755)
    (tmp_path / ".ldns_environment").write_text(f"export PATH={programs}:$PATH\n")
    try:
        for _ in range(2):
            _run(line, tmp_path)
        started = tmp_path / "started"
        for _ in range(100):
            if started.exists():
                break
            time.sleep(0.1)
        time.sleep(0.5)
        (said,) = started.read_text().splitlines()
        assert said.startswith(words)
    finally:
        for said in started.read_text().splitlines():
            os.kill(int(said.split()[-1]), signal.SIGKILL)


def test_the_head_can_start_instances(cluster):
    """Ray's launcher for AWS speaks through boto3, which Ray does not bring."""
    assert any("boto3" in command for command in cluster["head_setup_commands"])
    assert any("--autoscaling-config=" in c for c in cluster["head_start_ray_commands"])


def test_every_machine_has_the_same_versions(cluster):
    """Those that the project allows; a database for Optuna needs a driver, which the project does not bring."""
    (install,) = [c for c in cluster["setup_commands"] if " -e " in c]
    pins = dict(re.findall(r"\s([a-z0-9_-]+)==([\d.]+)", install))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    assert set(pins) == {"ray", "torch", "mlflow", "optuna"}
    for name, version in pins.items():
        assert version in allowed[name], f"{name}=={version}, but {name}{allowed[name]}"
    assert "psycopg2-binary" in install
    (python,) = re.findall(r"--python (3\.\d+) ", " ".join(cluster["setup_commands"]))
    assert f"{python}.0" in Requirement(f"python{project['requires-python']}").specifier


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RAY_AUTH_MODE", "token"),
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("LDNS_ROOT", "s3://BUCKET/ldns"),
        ("LDNS_OPTUNA_STORAGE", "postgresql+psycopg2://ldns@TRACKING_HOST/optuna"),
        ("MLFLOW_TRACKING_URI", "https://TRACKING_HOST"),
    ],
)
def test_jobs_inherit_what_they_need(cluster, environment, tmp_path, variable, value):
    assert environment[variable] == value
    assert environment["PATH"].split(":")[0] == f"{tmp_path}/venv/bin"
    assert environment["AWS_DEFAULT_REGION"] == cluster["provider"]["region"]
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert all(c.startswith(". ~/.ldns_environment && ") for c in cluster[commands])


def test_sweeps_wait_for_its_workers(environment, monkeypatch):
    """The cluster begins with none: without the variable a sweep would be refused."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv(places.WAIT, environment[places.WAIT])
    assert places.autoscaler_wait_s() == 20 * 60


def test_secrets_are_files_that_only_their_owner_reads(cluster, tmp_path):
    for name in SECRETS:
        assert cluster["file_mounts"][f"{HOME}/{name}"] == f"~/{name}"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(0o644)
    _run(cluster["setup_commands"][0], tmp_path)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in SECRETS} == {0o600}
    assert set(cluster["file_mounts"]) == {f"{HOME}/ldns_ray", *(f"{HOME}/{n}" for n in SECRETS)}
    said = "".join(line.split("#")[0] for line in CLUSTER.read_text().splitlines())
    assert not re.search(r"(?i)password|secret|AKIA|RAY_AUTH_TOKEN", said)


def test_mlflow_finds_its_user_in_the_file(tmp_path, monkeypatch):
    """As the comment beside the mount writes it."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (comment,) = re.findall(r"# (\[mlflow\], .*);", CLUSTER.read_text())
    assert credentials.read_mlflow_creds() == (None, None)
    (tmp_path / ".mlflow").mkdir()
    text = comment.replace(", ", "\n")
    for value in ("anna", "hush"):
        text = text.replace("…", value, 1)
    (tmp_path / ".mlflow" / "credentials").write_text(text)
    assert credentials.read_mlflow_creds() == ("anna", "hush")


def test_the_dashboard_is_not_open_to_the_network(cluster):
    (start,) = [c for c in cluster["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host=127.0.0.1" in start


def test_sweeps_there_need_no_option_for_their_study(environment, monkeypatch):
    """A root on S3 holds no study: its database is the cluster's."""
    monkeypatch.delenv("LDNS_OPTUNA_STORAGE", raising=False)
    assert sweep_parser("", "", {}, "speech_small").parse_args([]).optuna_storage == ""
    monkeypatch.setenv("LDNS_OPTUNA_STORAGE", environment["LDNS_OPTUNA_STORAGE"])
    args = sweep_parser("", "", {}, "speech_small").parse_args([])
    assert args.optuna_storage == "postgresql+psycopg2://ldns@TRACKING_HOST/optuna"
    args = sweep_parser("", "", {}, "speech_small").parse_args(["--optuna-storage", "sqlite://"])
    assert args.optuna_storage == "sqlite://"
