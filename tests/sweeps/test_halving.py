"""Successive halving in a sweep that runs: trials that fall behind are stopped, kept, shown, and not scored."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldns_ray.settings import override
from ldns_ray.sweeps import study, tuning
from ldns_ray.sweeps.sweep import run_sweep
from ldns_ray.sweeps.tables import format_result
from ldns_ray.tracking.connection import connect
from tests.sweeps.planned import RATE, planned
from tests.sweeps.submitted import result, runs, states
from tests.tracking.stored import history_of

pytestmark = pytest.mark.slow

EPOCHS = {"autoencoder": 3, "diffusion": 27}
RUNGS = (3, 9)
POINTS = [{RATE: 5e-3}, {RATE: 4e-3}, {RATE: 1.1e-4}, {RATE: 1e-4}]


@pytest.fixture(scope="module")
def halved(trained, ray_session, tracking_uri, tmp_path_factory):
    """A sweep whose third and fourth trials hardly learn, and the same with one trial more."""
    experiment = override(
        trained.experiment, {"diffusion.optimisation.epochs": EPOCHS["diffusion"]}
    )
    sweep = replace(
        planned(trained, tmp_path_factory.mktemp("halved")), name="halved", experiment=experiment,
        tracking_uri=tracking_uri, n_trials=4, points=POINTS,
    )  # fmt: skip
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (study, tuning):
            patch.setattr(module, "RANDOM_TRIALS", 2)
        first = run_sweep(sweep, lines.append)
        second = run_sweep(replace(sweep, n_trials=5), lines.append)
    tracking = connect(tracking_uri, "halved")
    parent = tracking.find(sweep.fingerprint)
    return SimpleNamespace(
        sweep=sweep, first=first, second=second, lines=lines, tracking=tracking, parent=parent,
        children={child["name"]: child for child in tracking.children(parent)},
    )  # fmt: skip


def stopped(halved):
    return [row for row in halved.second["trials"] if row["status"] == "STOPPED"]


def test_trials_that_fall_behind_are_stopped(halved):
    of_first = {row["name"]: row["status"] for row in halved.first["trials"]}
    assert of_first == {
        "trial 1": "FINISHED", "trial 2": "FINISHED", "trial 3": "STOPPED", "trial 4": "STOPPED"
    }  # fmt: skip
    assert states(Path(halved.sweep.root))[:4] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    counted = history_of(halved.tracking, halved.parent, "trials_stopped")
    assert counted[:4] == [(1, 0.0), (2, 0.0), (3, 1.0), (4, 2.0)]
    lines = [line for line in halved.lines if "stopped early: score" in line]
    assert len(lines) == len(stopped(halved))
    assert all(f"at epoch {RUNGS[0]} of diffusion" in line for line in lines[:2])


def test_a_stopped_trial_is_kept_without_a_score_and_shown(halved):
    table = format_result(list(halved.sweep.space), halved.second).splitlines()
    for row in stopped(halved):
        child = halved.children[row["name"]]
        epoch, score = row["rungs"][-1]
        assert "score" not in row
        assert "score" not in child["metrics"]
        assert (child["status"], child["tags"]["ldns.stopped_at_epoch"]) == ("FINISHED", str(epoch))
        (line,) = [line for line in table if line.startswith(row["name"])]
        assert f"({score:.2f} at epoch {epoch})" in line
        run = halved.tracking.client.get_run(child["run_id"])
        assert run.info.end_time / 1000 == pytest.approx(row["ended"], abs=5), (
            "not when the sweep ended"
        )
        losses = history_of(halved.tracking, child["run_id"], "diffusion/train_loss")
        assert epoch <= len(losses) < EPOCHS["diffusion"]
        assert [step for step, _ in losses] == list(range(1, len(losses) + 1))


def test_rungs_are_logged_once_each(halved):
    for row in halved.second["trials"]:
        run_id = halved.children[row["name"]]["run_id"]
        logged = history_of(halved.tracking, run_id, "diffusion/score")
        assert logged == [tuple(rung) for rung in row["rungs"]]
        if row["status"] == "FINISHED":
            assert [epoch for epoch, _ in logged] == list(RUNGS)


def test_more_trials_continue_it(halved):
    rows = {row["name"]: row for row in halved.second["trials"]}
    assert set(rows) == {f"trial {i}" for i in range(1, 6)}
    assert all(rows[row["name"]] == row for row in halved.first["trials"])
    assert rows["trial 5"]["rungs"][0][0] == RUNGS[0], "compared with the earlier ones"
    begun = [line for line in halved.lines if "  begins" in line]
    assert len(begun) == 5
    _, children, _ = runs(halved.tracking.uri, "halved")
    assert children == {name: ["FINISHED"] for name in rows}
    assert result(Path(halved.sweep.root)) == json.loads(json.dumps(halved.second))
