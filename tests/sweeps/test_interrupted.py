"""A sweep that is interrupted from the keyboard ends at once, and goes on where it was when it is submitted again."""

import json
import signal
import time

import psutil
import pytest

from tests.sweeps.planned import RATE
from tests.sweeps.submitted import Submitted, check_histories, overrides, result, runs, states

EPOCHS = {"autoencoder": 3, "diffusion": 60}
POINTS = [
    {"autoencoder.n_latents": 8, "diffusion.width": 48, RATE: rate, "diffusion.smooth_l1_beta": 0.04,
     "observation.kind": "poisson"}
    for rate in (0.002, 0.003)
]  # fmt: skip

pytestmark = pytest.mark.slow


def test_ctrl_c(trained, tracking_uri, tmp_path):
    (tmp_path / "points.json").write_text(json.dumps(POINTS))
    epochs = {f"{part}__optimisation__epochs": n for part, n in EPOCHS.items()}
    arguments = [
        *overrides(trained.experiment, **epochs), "hardware.checkpoint_s=0.2", "--points", str(tmp_path / "points.json"),
        "--n-trials", "2", "--data", trained.data_uri, "--root", str(tmp_path / "root"),
        "--tracking-uri", tracking_uri, "--name", "interrupted",
    ]  # fmt: skip
    cut = Submitted(arguments, tmp_path / "cut.log")
    cut.wait_for("diffusion    started")
    family = psutil.Process(cut.process.pid).children(recursive=True)
    pressed = time.monotonic()
    cut.process.send_signal(signal.SIGINT)
    assert cut.process.wait(60) == 130
    assert time.monotonic() - pressed < 30
    assert cut.said().splitlines()[-1] == "error: interrupted"
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert not list(tmp_path.glob("root/sweeps/*/sweep.json"))
    assert states(tmp_path / "root") == ["RUNNING", "WAITING"]
    parent, children, _ = runs(tracking_uri, "interrupted")
    assert parent == "KILLED"
    assert set(children) == {"trial 1"}

    again = Submitted(arguments, tmp_path / "again.log")
    said = again.end()
    assert "trial 1  begins again" in said
    assert states(tmp_path / "root") == ["COMPLETE"] * 2
    assert [row["status"] for row in result(tmp_path / "root")["trials"]] == ["FINISHED"] * 2
    parent, children, histories = runs(tracking_uri, "interrupted")
    assert parent == "FINISHED"
    assert children == {f"trial {i}": ["FINISHED"] for i in (1, 2)}
    check_histories(histories, EPOCHS)
