"""What a sweep costs beside its trials: one trial of it against the same pipeline without Ray."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ldns_ray.config import experiment
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.pipeline import Pipeline
from ldns_ray.sweeps import budget
from tests.sweeps.planned import planned

ROOT = Path(__file__).resolve().parents[2]
FIXED_S, SHARE = 15.0, 0.05
"""Allowed: start and end of Ray, of Tune and of the trial's process; and a share of what the pipeline takes."""
SETTINGS = ("autoencoder.optimisation.epochs=10", "diffusion.optimisation.epochs=20")
"""About forty seconds on two idle cores."""


@pytest.mark.parametrize("small", [True, False])
def test_small_data_is_shared_without_ray_data(trained, ray_session, tmp_path, monkeypatch, small):
    """Whoever reads the trials, they are the same."""
    if not small:
        monkeypatch.setattr(budget, "READ_HERE_BYTES", 0)
    asked = []
    materialized = budget.Stream.materialized
    monkeypatch.setattr(budget.Stream, "materialized", lambda s: asked.append(s.split) or materialized(s))  # fmt: skip
    tables = budget.shared_tables(planned(trained, tmp_path), 1, lambda _: None)
    assert sorted(asked) == ([] if small else ["test", "train", "val"])
    for split in ("train", "val", "test"):
        got = Pipeline(trained.experiment, trained.data_uri, trained.root, tables=tables).trials(split)  # fmt: skip
        wanted = trained.trials(split)
        assert got.trial_ids == wanted.trial_ids
        assert (got.spikes == wanted.spikes).all()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return simulated_dataset(experiment("lorenz_small"), str(tmp_path_factory.mktemp("data")))


def seconds(job, root, *arguments):
    """Wall time of a job on a storage root of its own."""
    env = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", *arguments, "--root", str(root), *SETTINGS], cwd=ROOT,
        env=env, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - begun


def evaluated_s(root, split):
    """What the evaluation on a split took."""
    records = [json.loads(p.read_text()) for p in root.glob("evaluation/*/stage.json")]
    (took,) = [r["seconds"] for r in records if r["summary"]["split"] == split]
    return took


@pytest.mark.slow
@pytest.mark.skipif(
    "LDNS_OVERHEAD" not in os.environ, reason="whole processes are timed: set LDNS_OVERHEAD=1 on an idle machine"
)  # fmt: skip
def test_a_sweep_of_one_trial_costs_little_more_than_its_trial(dataset, tmp_path, monkeypatch):
    """The sweep also scores its best model on the test split, which is no overhead. In turns, the faster of two each."""
    (tmp_path / "one_point.py").write_text(
        "from ray import tune\n"
        "SPACE = {'diffusion.optimisation.learning_rate': tune.choice([4e-3])}\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", path)
    plain, swept = [], []
    for turn in ("a", "b"):
        root = tmp_path / f"plain-{turn}"
        plain.append(
            seconds("train", root, "lorenz_small", "--workers", "0", "--data", dataset, "evaluation.split=val")
        )  # fmt: skip
        root = tmp_path / f"swept-{turn}"
        took = seconds("sweep_lorenz", root, "--space", "one_point", "--n-trials", "1", "--data", dataset)  # fmt: skip
        swept.append(took - evaluated_s(root, "test"))
    print(f"plain {plain} s, sweep without its test evaluation {swept} s")
    allowed = min(plain) + FIXED_S + SHARE * min(plain)
    assert min(swept) <= allowed
