"""The trials that a sweep lacks, under Ray Tune."""

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import optuna
from ray import tune

from ldns_ray.pipeline import verify
from ldns_ray.sweeps.budget import process_resources, shared_tables
from ldns_ray.sweeps.live import Live
from ldns_ray.sweeps.news import News, ending
from ldns_ray.sweeps.news import told as told_by
from ldns_ray.sweeps.places import Places, places
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.progress import Progress, output
from ldns_ray.sweeps.standing import Standing
from ldns_ray.sweeps.study import (
    ENDED,
    NUMBER,
    RANDOM_TRIALS,
    Halving,
    StudySearch,
    counted,
    error_text,
    rungs,
    try_failed_again,
)
from ldns_ray.sweeps.trial import TRIAL_TAGS, run_trial
from ldns_ray.tracking.runs import Run
from ldns_ray.tracking.tags import standard_tags
from ldns_ray.training.distributed import ray_is_shared, relayed


def run_trials(
    sweep: Sweep,
    study: optuna.Study,
    parent: Run,
    page: Callable[[str], str],
    say: Callable[[str], None],
) -> None:
    """Run the trials that the study has not seen the end of, as far as the time suffices.

    Args:
        sweep: what to search.
        study: what was tried; it hears how every trial ends.
        parent: the sweep's run in MLflow, which shows how far it is.
        page: a headline → the markdown of the run's page.
        say: where lines for a person go.
    """
    if sweep.retry_failed:
        n_again = try_failed_again(study)
        say(f"Sweep {sweep.name}: {n_again} failed trials are tried again, under new numbers.")
    n_ended = sum(trial.state in ENDED for trial in counted(study))
    missing = sweep.n_trials - n_ended
    if missing <= 0:
        return
    if study.get_trials(deepcopy=False):
        say(f"Sweep {sweep.name}: goes on, {n_ended} of {sweep.n_trials} trials have ended.")
    until = time.monotonic() + sweep.hours * 3600 if sweep.hours else math.inf
    with places(sweep, missing, say) as room:
        _tune(sweep, study, parent, page, say, room, missing, until)


def _tune(
    sweep: Sweep,
    study: optuna.Study,
    parent: Run,
    page: Callable[[str], str],
    say: Callable[[str], None],
    room: Places,
    missing: int,
    until: float,
) -> None:
    """Run `missing` trials, in the places of `room`, none of them begun after `until`; the rest as in `run_trials`."""
    say(f"Sweep {sweep.name}: {verify(sweep.data_uri)}.")
    tables = shared_tables(sweep, room.most, say)
    tags = {k: v for k, v in standard_tags().items() if "source" in k} | TRIAL_TAGS
    compared_at = _rungs(sweep)
    search = StudySearch(
        study, sweep.distributions, sweep.seed, compared_at, sweep.reduction_factor, until
    )
    standing = Standing(sweep.n_trials, room.now, told_by(study))
    # Tune's handler would end the sweep as if its time had run out; Ctrl-C is to end it as interrupted.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    progress = Progress(sweep.name, standing, output(sys.stdout, say), detailed=room.most == 1)
    with closing(progress), Live(parent, standing, page), relayed(progress.heard) as news:
        trainable = tune.with_parameters(
            run_trial, sweep=sweep, rungs=compared_at, parent_id=parent.run_id, tags=tags,
            at_once=room.most, guarded=room.most > 1 or ray_is_shared(), tables=tables, news=news,
        )  # fmt: skip
        tune.Tuner(
            tune.with_resources(trainable, process_resources(sweep)),
            tune_config=tune.TuneConfig(
                num_samples=missing,
                search_alg=room.limiting(search),
                scheduler=Halving(search),
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=sweep.uri, verbose=0, callbacks=[Ends(study, progress.heard)],
                failure_config=tune.FailureConfig(max_failures=sweep.retries),
            ),
        ).fit()  # fmt: skip


def _rungs(sweep: Sweep) -> tuple[int, ...]:
    """Epochs at which trials are compared; none where no trial would be stopped for it."""
    if sweep.n_trials <= RANDOM_TRIALS:
        return ()
    return rungs(sweep.experiment.diffusion.optimisation.epochs, sweep.reduction_factor)


class Ends(tune.Callback):
    """Tells how trials end, as the study has it by then, and which are tried again."""

    def __init__(self, study: optuna.Study, tell: Callable[[News], None]) -> None:
        self.study, self.tell = study, tell

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks, but a sweep goes on from its study."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config[NUMBER]
        self.tell(News(number, "ended", status="retried", text=error_text(trial)))

    def _ended(self, trial: Any) -> None:
        ended = ending(self.study.get_trials(deepcopy=False)[trial.config[NUMBER] - 1])
        if ended is not None:
            self.tell(ended)
