"""Sweeps of which parts are killed while they run: nothing is lost, nothing is done twice."""

import json
import os
import random
import signal
import time

import pytest

from tests.sweeps.submitted import (
    Submitted,
    check_histories,
    overrides,
    result,
    runs,
    states,
)

EPOCHS = {"autoencoder": 24, "diffusion": 80}
POINTS = [
    {"autoencoder.n_latents": 8, "diffusion.width": 48, "diffusion.optimisation.learning_rate": 0.002,
     "diffusion.smooth_l1_beta": 0.04, "observation.kind": "poisson"},
    {"autoencoder.n_latents": 8, "diffusion.width": 64, "diffusion.optimisation.learning_rate": 0.004,
     "diffusion.smooth_l1_beta": 0.04, "observation.kind": "spike_history"},
    {"autoencoder.n_latents": 16, "diffusion.width": 48, "diffusion.optimisation.learning_rate": 0.003,
     "diffusion.smooth_l1_beta": 0.08, "observation.kind": "poisson"},
]  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def command(trained, tmp_path):
    """Makes the arguments of a sweep over three fixed points, in which every epoch matters."""
    (tmp_path / "points.json").write_text(json.dumps(POINTS))
    epochs = {f"{part}__optimisation__epochs": n for part, n in EPOCHS.items()}

    def make(root, name, tracking_uri, *more):
        return [
            *overrides(trained.experiment, **epochs), "hardware.checkpoint_s=0.5", "--points", str(tmp_path / "points.json"),
            "--n-trials", str(len(POINTS)), "--data", trained.data_uri, "--root", str(tmp_path / root),
            "--tracking-uri", tracking_uri, "--name", name, *more,
        ]  # fmt: skip

    return make


def compared(root):
    """What must not depend on interruptions: the trials, best first, and the best one on the test split."""
    found = result(root)
    rows = [
        {k: row[k] for k in ("name", "status", "settings", "score", "metrics")}
        for row in found["trials"]
    ]
    return rows, found["test"]["summary"]["rows"][0]["metrics"]


def kill_a_trial(sweep, root):
    """A trial's process dies while the diffusion model trains: it goes on from the checkpoint, in the same run."""
    sweep.wait_for("diffusion")
    deadline = time.monotonic() + 60
    while not list(root.glob("diffusion/*/checkpoint.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (process,) = sweep.trial_processes()
    process.send_signal(signal.SIGKILL)
    sweep.wait_for("begins again")


def test_a_trial_and_drivers_killed_at_any_moment_go_on(command, tracking_uri, tmp_path):
    whole = Submitted(command("whole", "whole", tracking_uri), tmp_path / "whole.log")
    whole.end()
    took = time.monotonic() - whole.started
    draw = random.Random(os.environ.get("LDNS_TEST_SEED", "1"))
    moments = []
    for i in range(2):
        cut = Submitted(command("killed", "killed", tracking_uri), tmp_path / f"killed-{i}.log")
        cut.wait_for("trial ")  # trials run
        if i == 0:
            kill_a_trial(cut, tmp_path / "killed")
        moments.append(draw.uniform(0, 0.3 * took))
        time.sleep(moments[-1])
        if cut.process.poll() is None:
            cut.kill()
    last = Submitted(command("killed", "killed", tracking_uri), tmp_path / "last.log")
    said = last.end()
    assert compared(tmp_path / "killed") == compared(tmp_path / "whole"), moments
    assert states(tmp_path / "killed") == ["COMPLETE"] * 3
    for name in ("whole", "killed"):
        parent, children, histories = runs(tracking_uri, name)
        assert parent == "FINISHED"
        assert children == {f"trial {i}": ["FINISHED"] for i in (1, 2, 3)}
        check_histories(histories, EPOCHS)
    again = Submitted(command("killed", "killed", tracking_uri), tmp_path / "again.log")
    assert "every trial is done" in again.end()
    assert said.splitlines()[-5:] == again.lines[-5:]
