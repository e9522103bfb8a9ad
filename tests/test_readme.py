"""What the README tells to type: jobs, options and environment variables that there are."""

import argparse
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import mlflow
import mlflow.environment_variables
import pytest
import ray
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LINE = "ray job submit --working-dir . -- python jobs/sweep_speech.py"


def blocks(text):
    """Indented blocks of the README, without their indentation."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in found]


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def job_lines():
    """Every command line of a job, as (name, arguments)."""
    for block in blocks(README):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.search(r"python jobs/(\w+)\.py(.*)", line)
            if match:
                yield match[1], tuple(shlex.split(match[2], comments=True))


class Understood(Exception):
    """Stands in for the rest of a job."""


@pytest.mark.parametrize(("name", "arguments"), sorted(set(job_lines())))
def test_jobs_understand_their_lines(name, arguments, monkeypatch):
    """Each by its own parser; a line that it refuses ends the job, and the test."""
    job = importlib.import_module(f"jobs.{name}")
    for method in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, method)

        def parsed(self, *args, parse=parse):
            parse(self, *args)
            raise Understood

        monkeypatch.setattr(argparse.ArgumentParser, method, parsed)
    with pytest.raises(Understood):
        job.main(list(arguments))


def test_there_are_lines_to_check():
    names = {name for name, _ in job_lines()}
    assert names >= {"ingest", "describe", "train", "sample", "evaluate", "sweep_speech"}


def test_the_line_is_the_same_everywhere():
    """On one machine, on hosts of your own, on AWS, and on Kubernetes."""
    ends = [b.splitlines()[-1] for b in blocks(README) if LINE in b and "\\" not in b]
    assert ends == 4 * [LINE]


def test_environment_variables_are_read_by_someone():
    """Ours by the code, Ray's and MLflow's by theirs."""
    named = set(re.findall(r"\b(?:LDNS|RAY|MLFLOW)_[A-Z_]+[A-Z]\b", README))
    assert {"LDNS_ROOT", "RAY_AUTH_MODE", "MLFLOW_TRACKING_URI"} <= named
    sources = [*(ROOT / "ldns_ray").rglob("*.py"), *(ROOT / "jobs").glob("*.py")]
    ours = {name for s in sources for name in re.findall(r"\"(LDNS_[A-Z_]+)\"", s.read_text())}
    assert {name for name in named if name.startswith("LDNS_")} <= ours
    servers = {"MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_CONFIG_PATH"}
    for name in (n for n in named if n.startswith("MLFLOW_")):
        known = hasattr(mlflow.environment_variables, name)
        assert known or name in servers, f"MLflow {mlflow.__version__} knows no {name}"
    folder = Path(ray.__file__).parent
    for name in (n for n in named if n.startswith("RAY_")):
        files = ["_private", "dashboard", "_raylet.so"]
        command = ["grep", "-rlqa", name, *files]
        assert subprocess.run(command, cwd=folder).returncode == 0, f"Ray knows no {name}"


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of Ray Serve, which its command line imports
def test_options_of_ray_and_mlflow_exist():
    """Those of the commands that start and reach a cluster, and of the server."""
    from mlflow.cli import cli as mlflow_cli
    from ray.scripts.scripts import cli as ray_cli

    text = section("The same on a cluster, with your data, with your MLflow")
    seen = []
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].split()
            if words[:2] in (["ray", "start"], ["ray", "up"], ["ray", "dashboard"], ["mlflow", "server"]):  # fmt: skip
                cli = ray_cli if words[0] == "ray" else mlflow_cli
                known = {o for p in cli.commands[words[1]].params for o in p.opts}
                options = {word.split("=")[0] for word in words if word.startswith("--")}
                assert options <= known, f"{line}: {options - known}"
                seen.append(" ".join(words[:2]))
    assert sorted(set(seen)) == ["mlflow server", "ray dashboard", "ray start", "ray up"]
    assert Version(ray.__version__) >= Version("2.60")
