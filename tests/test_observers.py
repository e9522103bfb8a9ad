"""What is said on the terminal, and what the store holds of trainings that end, go on, or are found done."""

import pytest

from ldns_ray.observers import Several, Terminal, Tracked
from ldns_ray.pipeline import Observer
from ldns_ray.tracking.connection import connect
from tests.pipelines import watched

ROWS = [
    {"epoch": 1, "train_loss": 0.5, "learning_rate": 1e-3, "seconds": 2.0, "time": 1000.25},
    {"epoch": 2, "train_loss": 0.4, "val_loss": 0.45, "learning_rate": 1e-3, "seconds": 2.0, "score": 3.5, "time": 1002.5},
    {"epoch": 3, "train_loss": 0.3, "learning_rate": 1e-3, "seconds": 2.0, "time": 1004.125},
]  # fmt: skip


@pytest.fixture
def tracking(tracking_uri, request):
    return connect(tracking_uri, request.node.name)


def stored(tracking, run, key):
    """(epoch, milliseconds, value) of a metric, in order."""
    found = tracking.client.get_metric_history(run.run_id, key)
    return sorted((m.step, m.timestamp, m.value) for m in found)


def test_rows_that_are_told_again_are_stored_once(trained, tracking):
    """A process dies after two epochs; the next, which finds the run, tells them again and goes on."""
    with pytest.raises(KeyboardInterrupt), tracking.run("r", key="k") as run:
        first = Tracked(run, trained, "A training.")
        first.saved("diffusion", ROWS[:1])
        first.saved("diffusion", ROWS[1:2])
        raise KeyboardInterrupt
    with tracking.run("r", key="k") as run:
        again = Tracked(run, trained, "A training.")
        again.saved("diffusion", ROWS[:2])
        again.saved("diffusion", ROWS[:2])
        again.saved("diffusion", ROWS[2:])
    assert stored(tracking, run, "diffusion/train_loss") == [
        (1, 1000250, 0.5), (2, 1002500, 0.4), (3, 1004125, 0.3),
    ]  # fmt: skip
    assert stored(tracking, run, "diffusion/score") == [(2, 1002500, 3.5)]
    assert stored(tracking, run, "diffusion/val_loss") == [(2, 1002500, 0.45)]


def test_nothing_is_stored_of_epochs_that_no_checkpoint_holds(trained, tracking):
    with tracking.run("r", key="k") as run:
        Tracked(run, trained, "A training.").epoch("diffusion", ROWS[0], 3)
    assert stored(tracking, run, "diffusion/train_loss") == []


@pytest.mark.parametrize("timed", [True, False])
def test_a_stage_that_is_found_done_has_its_metrics_at_their_times(
    trained, tracking, monkeypatch, timed
):
    """Histories that were stored before epochs had times are as old as they are told."""
    rows = trained.history("diffusion")
    if not timed:
        rows = [{k: v for k, v in row.items() if k != "time"} for row in rows]
    with tracking.run("r", key="k") as run:
        pipeline, _ = watched(trained, Observer())
        if not timed:
            monkeypatch.setattr(pipeline, "history", lambda stage: rows)
        tracked = Tracked(run, pipeline, "A training.")
        tracked.stage_finished(
            "diffusion", pipeline.uri("diffusion"), pipeline.record("diffusion"), reused=True
        )
    found = stored(tracking, run, "diffusion/train_loss")
    assert [(step, value) for step, _, value in found] == [
        (row["epoch"], row["train_loss"]) for row in rows
    ]
    if timed:
        assert [at for _, at, _ in found] == [int(row["time"] * 1000) for row in rows]
    else:
        started = tracking.client.get_run(run.run_id).info.start_time
        assert all(at >= started for _, at, _ in found)


def test_an_epoch_with_a_score_has_a_line():
    """Lines are seconds apart but for the first epoch's, the last one's, and those that hold a score."""
    lines = []
    terminal = Terminal("trial 3  ", lines.append)
    terminal.stage_started("diffusion", "uri")
    for row in ROWS:
        terminal.epoch("diffusion", row, 4)
    started, first, scored = lines
    assert started == "trial 3  diffusion    started"
    assert first.startswith("trial 3  diffusion    epoch    1/4  ")
    assert scored == (
        "trial 3  diffusion    epoch    2/4  train 0.40000  val 0.45000  score 3.50  2.00 s/epoch, 4 s left"
    )


def test_several_hear_of_saved_rows():
    class Heard(Observer):
        def __init__(self):
            self.rows = []

        def saved(self, stage, rows):
            self.rows.append((stage, rows))

    observers = Heard(), Heard()
    Several(observers).saved("diffusion", ROWS)
    assert [o.rows for o in observers] == [[("diffusion", ROWS)]] * 2
