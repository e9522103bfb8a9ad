"""`make sweep` as a newcomer types it: services, sweep, table, address; again at once; stopped without a trace."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from ldns_ray import local, services

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "--n-trials 2 dataset.n_trials=24 dataset.n_units=16 dataset.min_bins=30 dataset.max_bins=60 "
    "autoencoder.width=16 autoencoder.n_blocks=1 autoencoder.optimisation.epochs=3 "
    "diffusion.n_blocks=1 diffusion.optimisation.epochs=3 evaluation.n_splits=4"
)


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


@pytest.mark.slow
def test_make_sweep_twice_and_stop(tmp_path):
    root, token = tmp_path / "root", tmp_path / "token"
    try:
        first, _ = make("sweep", root, token, args=SMALL)
        assert "Traceback" not in first
        lines = first.splitlines()
        header = next(
            i for i, line in enumerate(lines) if line.startswith("trial   ") and "score" in line
        )
        assert {line.split("  ")[0] for line in lines[header + 2 : header + 4]} == {
            "trial 1",
            "trial 2",
        }
        for title in ("KL population count", "RMSE correlations", "RMSE mean ISI", "RMSE sd ISI"):
            assert title in lines[header]
        assert "on the test split" in first
        assert "PSTH + Poisson" in first
        url = re.search(r"^Results: .* and (http://\S+)$", first, re.M)[1]
        assert urllib.request.urlopen(url.partition("#")[0], timeout=10).status == 200
        assert local.status(root) == {"mlflow": True, "ray": True}

        second, seconds = make("sweep", root, token, args=SMALL)
        assert seconds <= 90
        assert "every trial is done" in second
        assert "started in" not in second
        tables = [text[text.index("Trials, best first") :] for text in (first, second)]
        assert tables[0] == tables[1]

        members = [
            p
            for service in services.read_services(root).values()
            for p in services._members(service)
        ]
        assert len(members) > 3
        stopped, _ = make("stop", root, token)
        assert stopped.count("stopped") == 2
        assert not psutil.wait_procs(members, timeout=5)[1]
        assert services.read_services(root) == {}
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url.partition("#")[0], timeout=5)
    finally:
        local.down(root)
