"""Two trials at a time that need the same autoencoder, in a sweep whose time runs out."""

import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ldns_ray.settings import override
from ldns_ray.sweeps.sweep import run_sweep
from ldns_ray.tracking.connection import connect
from tests.sweeps.planned import RATE, planned
from tests.sweeps.processes import TRIAL, busiest, of_ray, wait_until
from tests.sweeps.submitted import check_histories, result, runs, states

pytestmark = pytest.mark.slow

EPOCHS = {"autoencoder": 200, "diffusion": 3}
TIME_S = 20.0
"""Long enough for two trials to begin."""


@pytest.fixture(scope="module")
def shared(trained, ray_session, tracking_uri, tmp_path_factory):
    """Who trains the autoencoder is held until the sweep's time is over, and killed; later the sweep goes on."""
    root = tmp_path_factory.mktemp("shared")
    experiment = override(
        trained.experiment, {"autoencoder.optimisation.epochs": EPOCHS["autoencoder"]}
    )
    sweep = replace(
        planned(trained, root), name="shared", experiment=experiment, tracking_uri=tracking_uri, n_trials=3,
        points=[{RATE: 1e-3}, {RATE: 2e-3}, {RATE: 3e-3}], cpus_per_trial=0.5, checkpoint_s=0.2, hours=TIME_S / 3600,
    )  # fmt: skip
    lines, killed = [], []

    def kill():
        wait_until(lambda: any("waits: " in line for line in lines))
        wait_until(lambda: list(root.glob("autoencoder/*/checkpoint.pt")))
        process = busiest(of_ray(TRIAL))
        process.suspend()
        assert not list(root.glob("autoencoder/*/stage.json"))
        wait_until(lambda: time.monotonic() > began + TIME_S)
        killed.append(time.time())
        process.kill()

    began = time.monotonic()
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    first = run_sweep(sweep, lines.append)
    killer.join()
    second = run_sweep(replace(sweep, hours=0.0), lines.append)
    (at,) = killed
    tracking = connect(tracking_uri, "shared")
    children = tracking.children(tracking.find(sweep.fingerprint))
    trained_at = {
        child["name"]: [
            (m.step, m.value, m.timestamp / 1000)
            for m in tracking.client.get_metric_history(child["run_id"], "autoencoder/train_loss")
        ]
        for child in children
    }
    return SimpleNamespace(
        root=root, lines=lines, killed=at, first=first, second=second, trained_at=trained_at
    )


def test_it_is_trained_once_and_gone_on_with_from_the_checkpoint(shared):
    """Every trial has the same epochs, done at the same times, by one process until it died and by another from there."""
    assert len(list(shared.root.glob("autoencoder/*"))) == 1
    history = shared.trained_at["trial 1"]
    assert shared.trained_at == {f"trial {i}": history for i in (1, 2, 3)}
    assert [step for step, _, _ in history] == list(range(1, EPOCHS["autoencoder"] + 1))
    times = [time for _, _, time in history]
    assert times == sorted(times)
    assert times[0] < shared.killed < times[-1]


def test_who_waits_is_told_and_takes_over(shared):
    (again,) = [line for line in shared.lines if "  begins again" in line]
    number = int(again.split()[1])
    killed, other = f"trial {number}", f"trial {3 - number}"

    def first(text):
        return next(i for i, line in enumerate(shared.lines) if line.startswith(text))

    waits = first(f"{other}  waits: another trial does its autoencoder")
    failed = first(f"{killed}  failed, will be tried again: Its process died without a word")
    goes_on = first(f"{other}  goes on: its autoencoder is not done yet")
    assert waits < failed < first(f"{killed}  begins again")
    assert waits < goes_on < first(f"{other}  finished: score")
    told = [
        line
        for line in shared.lines
        if line.startswith(f"{other}  waits") and "autoencoder" in line
    ]
    assert len(told) == 1


def test_a_sweep_whose_time_is_over_ends_with_what_it_has_and_goes_on_later(shared, tracking_uri):
    assert {row["name"]: row["status"] for row in shared.first["trials"]} == {
        "trial 1": "FINISHED", "trial 2": "FINISHED"
    }  # fmt: skip
    assert shared.first["missing"] == 1
    kept = {row["name"]: row for row in shared.second["trials"]}
    assert set(kept) == {"trial 1", "trial 2", "trial 3"}
    assert all(kept[row["name"]] == row for row in shared.first["trials"])
    assert shared.second["missing"] == 0
    assert result(shared.root) == json.loads(json.dumps(shared.second))
    assert states(shared.root) == ["COMPLETE"] * 3
    parent, children, histories = runs(tracking_uri, "shared")
    assert parent == "FINISHED"
    assert children == {f"trial {i}": ["FINISHED"] for i in (1, 2, 3)}
    check_histories(histories, EPOCHS)
