"""What the README tells to type: jobs, options and environment variables that there are."""

import argparse
import importlib
import re
import shlex
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import mlflow
import mlflow.environment_variables
import pytest
import ray
import torch
from packaging.version import Version

from ldns_ray.benchmark.training import CONFIGURATIONS, linear_operations, training_step
from ldns_ray.config import Hardware, experiment
from ldns_ray.settings import settings
from ldns_ray.sweeps import news

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
            for command in re.split(r";|\bdo\b", line.split("#")[0]):
                words = command.split()
                if words[:2] in (["ray", "start"], ["ray", "up"], ["ray", "dashboard"], ["mlflow", "server"]):  # fmt: skip
                    cli = ray_cli if words[0] == "ray" else mlflow_cli
                    known = {o for p in cli.commands[words[1]].params for o in p.opts}
                    options = {word.split("=")[0] for word in words if word.startswith("--")}
                    assert options <= known, f"{line}: {options - known}"
                    seen.append(" ".join(words[:2]))
    assert seen.count("ray start") == 2
    assert sorted(set(seen)) == ["mlflow server", "ray dashboard", "ray start", "ray up"]
    assert Version(ray.__version__) >= Version("2.60")


def test_capacity_follows_from_the_networks():
    """The table, from the networks that are timed and the epochs that they are trained for."""
    table = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", section("Capacity"), re.MULTILINE))
    by_name = {c.name: c for c in CONFIGURATIONS}
    expected, checkpoints = defaultdict(list), []
    for name in ("lorenz", "speech", "reach"):
        parts = [by_name[f"{name} autoencoder"], by_name[f"{name} denoiser"]]
        n_bins, n_units = parts[0].n_bins, parts[0].n_units
        e = experiment(name)
        epochs = [e.autoencoder.optimisation.epochs, e.diffusion.optimisation.epochs]
        networks = [training_step(replace(c, n_trials=1), torch.device("cpu"))[1] for c in parts]
        n = [sum(p.numel() for p in network.parameters()) for network in networks]
        operations = [linear_operations(network, n_bins) for network in networks]
        training = 3 * 1000 * sum(o * k for o, k in zip(operations, epochs, strict=True))
        counts = n_bins * n_units
        checkpoints += [16 * n[0], 20 * n[1]]
        per_epoch = (e.autoencoder, e.diffusion)
        assert all(part.optimisation.validate_every == 1 for part in per_epoch)
        for row, cell in {
            "parameters, autoencoder + denoiser": f"{n[0] / 1e6:.2f} + {n[1] / 1e6:.2f} M",
            "checkpoint, autoencoder / denoiser (1)": " / ".join(
                f"{size / 1e6:.0f}" for size in checkpoints[-2:]
            )
            + " MB",
            "operations of training, for 1000 training trials (2)": f"{training / 1e15:.2f} × 10¹⁵",
            "counts of 1000 trials in memory (3)": f"{counts / 1e3:.0f} MB",
            "gradients, per step and worker of 8 (4)": f"{7 * n[0] / 1e6:.0f} / {7 * n[1] / 1e6:.0f} MB",
            "rows of metrics in MLflow (5)": f"{3 * sum(epochs)}",
            "operations of sampling a million trials (6)": f"{20 * operations[1] * 1e6 / 1e15:.2f} × 10¹⁵",
            "counts of a million trials (3)": f"{counts / 1e3:.0f} GB",
        }.items():
            expected[row].append(cell)
    assert {row: table[row] for row in expected} == {k: " | ".join(v) for k, v in expected.items()}
    largest = max(checkpoints) / Hardware.checkpoint_s
    cells = [f"{10 * largest / 1e6:.0f} MB/s", f"{100 * largest / 1e6:.0f} MB/s", f"{largest / 1e6:.1f} GB/s"]  # fmt: skip
    assert table["checkpoints to storage, n × 116 MB / 30 s"].startswith(" | ".join(cells))
    assert (Hardware.checkpoint_s, news.SECONDS_BETWEEN_EPOCHS) == (30, 10)
    assert f"Beside them {len(settings(experiment('speech')))} parameters" in section("Capacity")
