"""The Optuna study of a sweep: what was tried, how it ended, and what to try next."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ldns_ray.redaction import without_secrets
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.wording import last_line

NUMBER = "trial_number"
"""Key of a trial's number, from 1, beside the settings that Tune hands to it."""
SCORE, EPOCH, ERROR = "score", "epoch", "error"
"""Keys of what a trial reports: a score; the epoch it was measured at, if training goes on; why there is none."""
AGAIN = "again"
"""Key of what a trial of the study holds that tries a failed one again: that one's place in the study."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
ERROR_CHARACTERS = 500
NO_WORD = "Its process died without a word: out of memory, or killed."
PROCESS_DIED = "The actor is dead because its worker process has died."
"""How Ray begins to tell of it, before it lists what may have been the cause of any such death."""
RANDOM_TRIALS = 10
"""Trials at random points before the sampler models the score, and before any trial is stopped early."""


def open_study(sweep: Sweep) -> optuna.Study:
    """The sweep's Optuna study, as far as it has come; its first points are those that the sweep names."""
    url = sweep.optuna_storage
    if not url:
        os.makedirs(sweep.uri, exist_ok=True)
        url = f"sqlite:///{os.path.abspath(sweep.uri)}/optuna.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A database that was restarted closes connections: they are tried before they are used.
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    study = optuna.create_study(
        study_name=sweep.fingerprint, storage=storage, direction="minimize", load_if_exists=True
    )
    for point in sweep.points:
        study.enqueue_trial(dict(point), skip_if_exists=True)
    return study


def error_of(trial: FrozenTrial) -> str:
    """Why a trial has no score, in a line; nothing unless it failed."""
    if trial.state != TrialState.FAIL:
        return ""  # what failed may have been tried again
    return str(trial.user_attrs.get(ERROR, NO_WORD))


def superseded(study: optuna.Study) -> set[int]:
    """Failed trials, by their place in the study, that were tried again under another number."""
    trials = study.get_trials(deepcopy=False)
    return {int(t.user_attrs[AGAIN]) for t in trials if AGAIN in t.user_attrs}


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that a sweep has had: all but the failed ones that were tried again under another number."""
    given_up = superseded(study)
    return [t for t in study.get_trials(deepcopy=False) if t.number not in given_up]


def try_failed_again(study: optuna.Study) -> int:
    """Put the points of failed trials first, under new numbers. How many there are."""
    failed = [t for t in counted(study) if t.state == TrialState.FAIL]
    for trial in failed:
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
    return len(failed)


class StudySearch(Searcher):
    """Points of a search space from an Optuna study, which alone remembers what was tried and how it ended.

    Trials that the study holds as running were interrupted: they come first, as they were. Whatever
    process searches next, every point is evaluated once. `OptunaSearch` keeps a memory of its own
    beside the study's, and the two part when a process dies between writing one and the other.

    Points are drawn by multivariate TPE (Bergstra et al. 2011) from a generator keyed by the seed and
    the trial's number: a process that goes on does not draw again what the first one drew. Points of
    trials that are running count as bad ones, so that trials at the same time look at different places.

    Args:
        study: what is remembered.
        distributions: dotted setting → its part of the space.
        seed: of the points.
        rungs: epochs at which trials are compared, see `Halving`.
        until: no trial starts after this moment, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        study: optuna.Study,
        distributions: dict[str, BaseDistribution],
        seed: int,
        rungs: Sequence[int] = (),
        reduction_factor: int = 3,
        until: float = math.inf,
    ) -> None:
        super().__init__(metric=SCORE, mode="min")
        self.study = study
        self.seed, self.until = seed, until
        self.rungs = tuple(rungs)
        if rungs:
            study.pruner = optuna.pruners.SuccessiveHalvingPruner(
                min_resource=rungs[0], reduction_factor=reduction_factor
            )
        self.distributions = distributions
        self.interrupted = study.get_trials(states=(TrialState.RUNNING,))
        self.trials: dict[str, optuna.Trial] = {}
        self.stopped: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        if self.interrupted:
            self.study.sampler = self._sampler(self.interrupted[0].number)
            trial = optuna.Trial(self.study, self.interrupted.pop(0)._trial_id)
            for name, distribution in self.distributions.items():  # a point may be half drawn
                trial._suggest(name, distribution)
        elif time.monotonic() > self.until:
            return Searcher.FINISHED
        else:
            self.study.sampler = self._sampler(self._next_number())
            trial = self.study.ask(self.distributions)
        self.trials[trial_id] = trial
        return {**trial.params, NUMBER: trial.number + 1}

    def _next_number(self) -> int:
        """Of the trial that the study hands out next: the first of the points that wait, else a new one."""
        trials = self.study.get_trials(deepcopy=False)
        waiting = (trial.number for trial in trials if trial.state == TrialState.WAITING)
        return next(waiting, len(trials))

    def _sampler(self, number: int) -> optuna.samplers.TPESampler:
        key = np.random.SeedSequence([self.seed, number])
        return optuna.samplers.TPESampler(
            multivariate=True, constant_liar=True, n_startup_trials=RANDOM_TRIALS,
            seed=int(key.generate_state(1)[0]),
        )  # fmt: skip

    def judge(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether a trial that has just reported goes on training."""
        epoch, score = result.get(EPOCH), result[SCORE]
        trial = self.trials[trial_id]
        if epoch not in self.rungs or not math.isfinite(score):
            return True
        trials = self.study.get_trials(deepcopy=False)
        if (
            epoch not in trials[trial.number].intermediate_values
        ):  # an interrupted trial reports again
            trial.report(score, int(epoch))
        falls_behind = trial.should_prune()  # asked of every trial: others are compared with it
        scored = (TrialState.COMPLETE, TrialState.PRUNED)
        if not falls_behind or sum(t.state in scored for t in trials) < RANDOM_TRIALS:
            return True
        self.stopped.add(trial_id)
        return False

    def note(self, trial_id: str, error: str) -> None:
        """Keep what a trial said that is about to fail."""
        self.trials[trial_id].set_user_attr(ERROR, error)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended; one that neither failed nor came to its score was interrupted."""
        trial = self.trials.pop(trial_id)
        said = dict(result or {})
        if trial_id in self.stopped:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif error or said.get(ERROR):
            if said.get(ERROR):
                trial.set_user_attr(ERROR, said[ERROR][:ERROR_CHARACTERS])
            self.study.tell(trial, state=TrialState.FAIL)
        elif SCORE in said and said.get(EPOCH) is None:
            if math.isfinite(said[SCORE]):
                self.study.tell(trial, said[SCORE])
            else:
                trial.set_user_attr(ERROR, f"The score was {said[SCORE]}.")
                self.study.tell(trial, state=TrialState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is stored as it grows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def error_text(trial: Any) -> str:
    """The last line of the error that Tune keeps of a trial; `NO_WORD` where its process could say none."""
    file = Path(trial.error_file or "")
    said = without_secrets(last_line(file.read_text())) if file.is_file() else ""
    died = not said or said.startswith(PROCESS_DIED)
    return NO_WORD if died else said[:ERROR_CHARACTERS]


class Halving(FIFOScheduler):
    """Asynchronous successive halving (Li et al. 2020): at each rung, the best of every few trials go on.

    Trials are compared at the same epochs of their diffusion training, by the score of a small sample; of those
    that have reached a rung, one in `reduction_factor` trains on. What they scored is kept in the study, so that a
    sweep that was interrupted compares with all trials before it. No trial is stopped before `RANDOM_TRIALS` have
    come to a score.
    """

    def __init__(self, search: StudySearch) -> None:
        super().__init__()
        self.search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self.search.judge(trial.trial_id, result)
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self.search.note(trial.trial_id, error_text(trial))


def rungs(epochs: int, reduction_factor: int, n_rungs: int = 2) -> tuple[int, ...]:
    """Epochs at which trials are compared: training divided by powers of the factor, the first epoch at least.

    `rungs(900, 3)` is (100, 300). Multiples of the first, so that rungs of all trials agree.
    """
    if reduction_factor == 0:
        return ()
    first = max(1, epochs // reduction_factor**n_rungs)
    ladder = (first * reduction_factor**i for i in range(n_rungs))
    return tuple(epoch for epoch in ladder if epoch < epochs)
