"""The command line of sweeps: what is wrong with it is told in a line, before anything starts or is written."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray
from ray import tune

from ldns_ray.config import experiment
from ldns_ray.sweeps.command import load_points

RATE = "diffusion.optimisation.learning_rate"


@pytest.fixture
def refuses_at_once(refuses, tmp_path):
    """Runs the small Lorenz sweep, which must end with one line of error, and must not have begun."""

    def run(*arguments):
        root = tmp_path / "root"
        line = refuses("sweep_lorenz", "--root", root, *arguments)
        assert not root.exists()
        return line

    before = ray.is_initialized()
    yield run
    assert ray.is_initialized() == before


@pytest.fixture
def points(tmp_path):
    """Writes a file of points."""

    def write(content):
        file = tmp_path / "points.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


def test_points_of_a_file(points):
    space = {"diffusion.width": tune.choice([48, 64]), RATE: tune.loguniform(1e-3, 6e-3)}
    chosen = [{"diffusion.width": 48, RATE: 2e-3}, {"diffusion.width": 64}]
    assert load_points(str(points(chosen)), experiment("lorenz_small"), space) == chosen


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("width 64", ["points.json is not JSON: Expecting value: line 1 column 1"]),
        ("", ["points.json is not JSON"]),
        ({"diffusion.width": 64}, ["must hold a list of points, such as", "got {'diffusion.width': 64}."]),
        ([64], ["must hold a list of points, such as", "got [64]."]),
        ([{"diffusion.widht": 64}], ["Point 1 sets 'diffusion.widht'", "not searched. Did you mean diffusion.width"]),
        ([{"seed": 1}], ["Point 1 sets 'seed', which is not searched"]),
        ([{}, {"diffusion.width": 60}], ["Point 2 sets diffusion.width to 60, which is not in its domain, [48, 64]."]),
        ([{RATE: 1.0}], [f"sets {RATE} to 1.0, which is not in its domain, (0.001, 0.006)."]),
        ([{RATE: "fast"}], [f"sets {RATE} to 'fast', which is not in its domain"]),
        ([{"diffusion.width": [48]}], ["sets diffusion.width to [48], which is not in its domain"]),
        ([{"diffusion.width": None}], ["sets diffusion.width to None, which is not in its domain"]),
    ],
)  # fmt: skip
def test_bad_points_are_refused(refuses_at_once, points, content, expected):
    line = refuses_at_once("--points", points(content))
    for text in expected:
        assert text in line


def test_a_file_of_points_that_is_not_there(refuses_at_once, tmp_path):
    line = refuses_at_once("--points", tmp_path / "nowhere.json")
    assert "No file of points" in line
    assert "nowhere.json" in line
    assert "the word experiment" in line
    assert f"{tmp_path} is a folder" in refuses_at_once("--points", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "my sweep"], "name must be letters, digits, dots, dashes and underscores, got 'my sweep'"),
        (["--name", "../x"], "name must be letters, digits"),
        (["--n-trials", "0"], "n_trials must be at least 1, got 0"),
        (["--hours", "-1"], "hours must be non-negative, got -1.0"),
        (["--hours", "nan"], "hours must be non-negative, got nan"),
        (["--seed", "-1"], "seed must be in"),
        (["--reduction-factor", "1"], "reduction_factor must be 0, or at least 2, got 1"),
        (["--retries", "-1"], "retries must be non-negative, got -1"),
        (["--cpus-per-trial", "0"], "cpus_per_trial must be positive, got 0.0"),
        (["--cpus-per-trial", "nan"], "cpus_per_trial must be positive, got nan"),
        (["--gpus-per-trial", "-0.5"], "gpus_per_trial must be non-negative, got -0.5"),
        (["--workers-per-trial", "0"], "workers_per_trial must be at least 1, got 0"),
        (["--max-concurrent", "-1"], "max_concurrent must be non-negative, got -1"),
        (["--experiment", "speech_small"], "no search space for the experiment speech_small; it has some for: lorenz_small, lorenz"),
        (["--experiment", "lorenz_smal"], "Did you mean lorenz_small"),
        (["diffusion.width=18"], "diffusion.width must be a multiple of 4, got 18"),
        (["diffusion.widht=16"], "Unknown setting 'diffusion.widht'"),
        (["hardware.workers=2"], "--workers-per-trial"),
        (["hardware.dat=resident"], "hardware.data"),
        (["hardware.checkpoint_s=-1"], "checkpoint_s must be non-negative, got -1.0"),
    ],
)  # fmt: skip
def test_bad_words_and_numbers_are_refused(refuses_at_once, arguments, expected):
    assert expected in refuses_at_once(*arguments)


def test_a_study_needs_a_database_where_the_root_is_no_folder(refuses, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    line = refuses("sweep_lorenz", "--root", "s3://nowhere/ldns")
    assert "cannot live under s3://nowhere/ldns" in line
    assert "--optuna-storage" in line


def test_a_missing_dataset_is_told(refuses_at_once, tmp_path):
    line = refuses_at_once("--data", tmp_path / "nowhere")
    assert line.startswith(f"No dataset.json under {tmp_path}/nowhere.")


def test_an_experiment_without_a_dataset_asks_for_one(refuses):
    assert "jobs/ingest.py" in refuses("sweep_reach")


@pytest.mark.slow
def test_a_job_starts_its_own_ray_where_an_earlier_one_left_its_address():
    """Of a cluster that is gone; with none in RAY_ADDRESS. Joining it would take minutes to fail."""
    with tempfile.TemporaryDirectory() as folder:  # a short name: sockets go below it
        left = Path(folder, "ray", "ray_current_cluster")
        left.parent.mkdir()
        left.write_text("127.0.0.1:9")
        code = "from ldns_ray.training.distributed import connect_ray; connect_ray(); print('up')"
        env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": folder}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=90
        )
    assert done.stdout == "up\n", done.stderr
