"""One trial of a sweep: the pipeline at a point of the search space, as a run in MLflow."""

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from ray import tune
from ray.exceptions import RayError

from ldns_ray import storage
from ldns_ray.config import Experiment
from ldns_ray.observers import Several, Terminal, Tracked
from ldns_ray.pipeline import Observer, Pipeline, unguarded
from ldns_ray.probe import Probe
from ldns_ray.redaction import without_secrets
from ldns_ray.settings import override
from ldns_ray.sweeps.budget import hardware, neighbours
from ldns_ray.sweeps.locks import stage_guard
from ldns_ray.sweeps.news import News, Reporter, described
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import EPOCH, ERROR, NUMBER, SCORE
from ldns_ray.tracking import notes
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.runs import Run
from ldns_ray.training.attempts import SupersededError
from ldns_ray.training.distributed import Relay

ERROR_TAG = "ldns.error"
"""Tag of a trial's run in MLflow: the error that ended its last attempt, in a line."""
TRACKING_PATIENCE_S = 600.0
PERMANENT = (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""Errors of a point or of the code."""
BROKEN = (json.JSONDecodeError, UnicodeDecodeError, pa.ArrowInvalid)
TRIAL_TAGS = {"ldns.kind": "trial"}


def trial_experiment(experiment: Experiment, point: Mapping[str, Any]) -> Experiment:
    """The experiment of a point of the search space, scored on the validation split."""
    return override(experiment, {**point, "evaluation.split": "val"})


def is_permanent(error: Exception) -> bool:
    """Whether a trial that is tried again would meet the error again: every draw is keyed.

    Not so with what was read while it was written, or came broken over a network.
    """
    return isinstance(error, PERMANENT) and not isinstance(error, BROKEN)


class Rungs(Observer):
    """Reports to Tune what the diffusion model scores while it trains, once a checkpoint and the run hold it.

    Tune may end the process there and then.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def saved(self, stage: str, rows: Sequence[Mapping[str, float]]) -> None:
        for row in rows:
            if stage == "diffusion" and "score" in row:
                self.run.flush()
                tune.report({SCORE: row["score"], EPOCH: int(row["epoch"])})


def run_trial(
    config: dict[str, Any],
    *,
    sweep: Sweep,
    rungs: tuple[int, ...],
    parent_id: str,
    tags: Mapping[str, str],
    at_once: int,
    guarded: bool,
    tables: Any,
    news: Relay,
) -> None:
    """The pipeline at a point of the search space, as a child of the sweep's run in MLflow.

    Reports the score to Tune, or an error that trying again would meet again; raises any other.

    Args:
        config: the point, and the trial's number.
        sweep: what it belongs to.
        rungs: epochs of the diffusion training after which a small sample is scored and reported.
        parent_id: the sweep's run.
        tags: of the trial's run.
        at_once: trials that run at the same time.
        guarded: whether others may do the same stages at the same time.
        tables: the dataset's Arrow blocks by split, see `Pipeline.tables`.
        news: where what happens is told, as `News`.
    """
    storage.expect_answers()
    beside = neighbours(sweep, at_once)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // beside))
    number = config[NUMBER]
    point = {k: v for k, v in config.items() if k != NUMBER}
    reporter = Reporter(number, functools.partial(_send, news))
    reporter.began(point)
    tracking = connect(sweep.tracking_uri, sweep.name, wait_s=TRACKING_PATIENCE_S)
    try:
        with (
            tracking.run(
                f"trial {number}", key=child_key(sweep, number), parent=parent_id, tags=tags
            ) as run,
            _named_errors(run),
        ):
            pipeline = Pipeline(
                trial_experiment(sweep.experiment, point), sweep.data_uri, sweep.root, hardware(sweep),
                guard=stage_guard if guarded else unguarded, tables=tables, at_once=beside, verified=True,
                probe=Probe(rungs) if rungs else None,
            )  # fmt: skip
            what = about(sweep, number, point, tracking, parent_id)
            detail = [Terminal("", reporter.line)] if at_once == 1 else []
            pipeline.observer = Several(
                [reporter, *detail, Tracked(run, pipeline, what), Rungs(run)]
            )
            try:
                score = pipeline.run()["evaluation"]["summary"][SCORE]
            except SupersededError as error:
                raise SystemExit from error  # the run is another process's by now: not a word to it
    except Exception as error:
        if not is_permanent(error):
            raise
        tune.report({SCORE: float("inf"), ERROR: in_a_line(error)})
    else:
        tune.report({SCORE: score})


def _send(relay: Relay, news: News) -> None:
    """Tell it, if anyone is there to hear it: no trial ends for want of a listener."""
    with contextlib.suppress(RayError):
        relay.put(news)


@contextlib.contextmanager
def _named_errors(run: Run) -> Iterator[None]:
    """Tag the run with the error that ends the block; that of an earlier attempt goes."""
    run.tracking.patience.wait_for("delete_tag", lambda: _forget_error(run))
    try:
        yield
    except Exception as error:
        run.tag({ERROR_TAG: in_a_line(error)})
        raise


def _forget_error(run: Run) -> None:
    """May be called again: the store refuses to delete a tag that is not there."""
    client = run.tracking.client.direct
    if ERROR_TAG in client.get_run(run.run_id).data.tags:
        client.delete_tag(run.run_id, ERROR_TAG)


def in_a_line(error: BaseException) -> str:
    """An error's kind and the first line of what it says, without passwords and keys."""
    said = without_secrets(str(error)).strip()
    return f"{type(error).__name__}: {said.splitlines()[0]}" if said else type(error).__name__


def about(
    sweep: Sweep, number: int, point: Mapping[str, Any], tracking: Tracking, parent_id: str
) -> str:
    """A trial in a sentence, for its page."""
    page = notes.link(f"sweep {sweep.name}", tracking.link("runs", parent_id))
    return f"Trial {number} of the {page}, with {described(point)}."


def child_key(sweep: Sweep, number: int) -> str:
    """What a trial's run in MLflow is found by."""
    return f"{sweep.fingerprint}-{number}"
