"""News of trials: what a pipeline's observer sends, and what a study tells of earlier processes."""

import pickle

import optuna
import pytest
from optuna.trial import TrialState

from ldns_ray.observers import Several, Terminal
from ldns_ray.pipeline import Pipeline
from ldns_ray.sweeps import news
from ldns_ray.sweeps.news import News, Reporter, told
from ldns_ray.sweeps.standing import Standing


class Sent:
    """News as they were sent, and a clock by hand."""

    def __init__(self):
        self.news, self.now = [], 0.0
        self.reporter = Reporter(3, self.news.append, clock=lambda: self.now)

    def epoch(self, at, epoch, n_epochs=100, **row):
        self.now = at
        row = {"epoch": epoch, "seconds": 1.0, "train_loss": 0.5, **row}
        self.reporter.epoch("diffusion", row, n_epochs)

    def epochs(self):
        return [n.epoch for n in self.news if n.kind in ("epoch", "rung")]


def test_epochs_are_sent_now_and_then_and_the_last_and_scored_ones_always():
    sent = Sent()
    for epoch in range(1, 27):
        sent.epoch(at=epoch, epoch=epoch, n_epochs=26)
    assert sent.epochs() == [1, 11, 21, 26]
    sent.reporter.stage_started("diffusion", "/uri")
    sent.epoch(27, 1, val_loss=0.25)
    sent.epoch(28, 2, val_loss=0.25, score=1.5)
    sent.epoch(29, 3)
    assert sent.epochs()[4:] == [1, 2]
    last, rung = sent.news[-2:]
    assert (last.kind, last.text, last.score) == ("epoch", "train 0.50000  val 0.25000", None)
    assert (rung.kind, rung.n_epochs, rung.score) == ("rung", 100, 1.5)
    assert pickle.loads(pickle.dumps(rung)) == rung


def test_an_end_says_how():
    with pytest.raises(ValueError, match=r"Trial 3 must have ended as one of finished, .*got ''"):
        News(3, "ended")


def test_a_pipeline_that_is_done_reuses_every_stage(trained):
    sent = Sent()
    sent.reporter.began({"diffusion.optimisation.learning_rate": 0.00123456, "kind": "a"})
    sent.reporter.stage_waits("autoencoder")
    observer = Several([Terminal(say=sent.reporter.line), sent.reporter])
    Pipeline(trained.experiment, trained.data_uri, trained.root, observer=observer).run()
    began, waits, *stages = sent.news
    assert (began.kind, began.text) == ("began", "diffusion.learning_rate 0.00123, kind a")
    assert (waits.stage, waits.status, waits.text) == ("autoencoder", "waiting", "")
    assert [n.kind for n in stages] == ["line", "stage"] * 6
    assert [n.stage for n in stages[1::2]] == list(trained.fingerprints)
    assert {n.status for n in stages[1::2]} == {"reused"}
    assert stages[0].text.startswith("autoencoder  already done: best validation ")


def test_a_stage_that_is_done_anew_starts_and_ends():
    sent = Sent()
    sent.reporter.stage_started("samples", "/uri")
    sent.reporter.remark("samples", "few")
    sent.reporter.stage_finished("samples", "/uri", {}, reused=False)
    assert [(n.kind, n.status, n.text) for n in sent.news] == [
        ("stage", "started", ""), ("remark", "", "few"), ("stage", "done", "")
    ]  # fmt: skip


def test_a_study_tells_of_what_ended_and_what_was_interrupted():
    study = optuna.create_study()
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    finished, interrupted, failed, stopped = (study.ask(space) for _ in range(4))
    study.tell(finished, 2.0)
    study.tell(failed, state=TrialState.FAIL)
    stopped.report(5.0, step=3)
    study.tell(stopped, state=TrialState.PRUNED)
    heard = told(study)
    assert [n.time for n in heard] == sorted(n.time for n in heard)
    assert [(n.number, n.status, n.score) for n in heard if n.kind == "ended"] == [
        (1, "finished", 2.0), (3, "failed", None), (4, "stopped", 5.0)
    ]  # fmt: skip
    assert heard[0].text == news.described(finished.params)
    standing = Standing(9, 2, heard)
    assert {n: t.status for n, t in standing.trials.items()} == {
        1: "finished", 2: "interrupted", 3: "failed", 4: "stopped"
    }  # fmt: skip
    assert standing.best == (2.0, 1)
    assert standing.trials[2].point == news.described(interrupted.params)
    assert abs(heard[0].time - finished.datetime_start.timestamp()) < 1e-6
