"""`make` as a newcomer types it, with the environment of the tests."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "--n-trials 2 dataset.n_trials=24 dataset.n_units=16 dataset.min_bins=30 dataset.max_bins=60 "
    "autoencoder.width=16 autoencoder.n_blocks=1 autoencoder.optimisation.epochs=3 "
    "diffusion.n_blocks=1 diffusion.optimisation.epochs=3 evaluation.n_splits=4"
)
"""A sweep of two trials within a minute or two."""


def make(target, root, token, *, args=""):
    """Output of `make target`, with this test's environment in the place of .venv, and its seconds."""
    command = [
        "make", "--no-print-directory", target, f"ROOT={root}", f"VENV={sys.prefix}", f"ARGS={args}",
        "-o", f"{sys.prefix}/.installed",
    ]  # fmt: skip
    # As from a terminal: without what these tests set for their own Ray.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "LDNS_", "PYTHONPATH"))}  # fmt: skip
    env["RAY_AUTH_TOKEN_PATH"] = str(token)
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, text=True, timeout=420, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout, time.monotonic() - start
