"""One trial of a sweep: where its point comes from, how it runs, and what it shares with others."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna
import ray
import torch
from optuna.trial import TrialState
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.util.queue import Queue

from ldns_ray.config import Experiment, Hardware
from ldns_ray.observers import Several, Terminal, Tracked
from ldns_ray.pipeline import Pipeline, unguarded
from ldns_ray.plan import Sweep
from ldns_ray.settings import override
from ldns_ray.tracking import notes
from ldns_ray.tracking.connection import connect

NUMBER = "trial_number"
"""Key of a trial's number, from 1, beside the settings that Tune hands to it."""
SCORE = "score"
LOCK_POLL_SECONDS = 2.0


class StudySearch(Searcher):
    """Points of a search space from an Optuna study, which alone remembers what was tried and how it ended.

    Trials that the study holds as running were interrupted: they come first, as they were. Whatever
    process searches next, every point is evaluated once. `OptunaSearch` keeps a memory of its own
    beside the study's, and the two part when a process dies between writing one and the other.

    Points are drawn by multivariate TPE (Bergstra et al. 2011) from a generator keyed by the seed and
    the trial's number: a process that goes on does not draw again what the first one drew.
    """

    def __init__(self, study: optuna.Study, space: Mapping[str, Any], seed: int) -> None:
        super().__init__(metric=SCORE, mode="min")
        self.study = study
        self.seed = seed
        self.distributions = OptunaSearch.convert_search_space(dict(space))
        self.interrupted = study.get_trials(states=(TrialState.RUNNING,))
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        trial = self.interrupted.pop(0) if self.interrupted else self._ask()
        self.numbers[trial_id] = trial.number
        return {**trial.params, NUMBER: trial.number + 1}

    def _ask(self) -> optuna.Trial:
        key = np.random.SeedSequence([self.seed, len(self.study.get_trials(deepcopy=False))])
        self.study.sampler = optuna.samplers.TPESampler(
            multivariate=True, seed=int(key.generate_state(1)[0])
        )
        return self.study.ask(self.distributions)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number = self.numbers.pop(trial_id)
        if error or not result or SCORE not in result:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, result[SCORE])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is stored as it grows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def trial_experiment(experiment: Experiment, point: Mapping[str, Any]) -> Experiment:
    """The experiment of a point of the search space, scored on the validation split."""
    return override(experiment, {**point, "evaluation.split": "val"})


def run_trial(
    config: dict[str, Any],
    *,
    sweep: Sweep,
    parent_id: str,
    tags: Mapping[str, str],
    threads: int,
    at_once: int,
    tables: Any,
    lines: Queue,
) -> None:
    """The pipeline at a point of the search space, as a child of the sweep's run in MLflow.

    Args:
        config: the point, and the trial's number.
        sweep: what it belongs to.
        at_once: trials that run at the same time, and may do the same stages.
        tables: the dataset's Arrow blocks by split, see `Pipeline.tables`.
        lines: where its lines for the terminal go.
    """
    torch.set_num_threads(threads)
    number = config[NUMBER]
    point = {k: v for k, v in config.items() if k != NUMBER}
    prefix = f"trial {number:<2}  "
    described = ", ".join(f"{short(k)} {as_text(v)}" for k, v in point.items())
    lines.put(prefix + described)
    tracking = connect(sweep.tracking_uri, sweep.name)
    key = child_key(sweep, number)
    with tracking.run(f"trial {number}", key=key, parent=parent_id, tags=tags) as run:
        pipeline = Pipeline(
            trial_experiment(sweep.experiment, point), sweep.data_uri, sweep.root,
            Hardware(workers=0, data=sweep.data), guard=stage_guard if at_once > 1 else unguarded, tables=tables,
            at_once=at_once, verified=True,
        )  # fmt: skip
        sweep_page = notes.link(f"sweep {sweep.name}", tracking.link("runs", parent_id))
        what = f"Trial {number} of the {sweep_page}, with {described}."
        pipeline.observer = Several([Terminal(prefix, lines.put), Tracked(run, pipeline, what)])
        summary = pipeline.run()["evaluation"]["summary"]
        tune.report({SCORE: summary[SCORE]})


def child_key(sweep: Sweep, number: int) -> str:
    """What a trial's run in MLflow is found by."""
    return f"{sweep.fingerprint}-{number}"


def short(name: str) -> str:
    """A setting's name as short as it is clear: optimisation levels are left out."""
    return name.replace(".optimisation.", ".")


def as_text(value: Any) -> str:
    """A setting's value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _holder_class() -> Any:
    """The class of the actor that holds a stage's name while its owner works on it.

    Made here, so that it travels by value: the actor's process then imports none of this package.
    """

    class Holder:
        def ready(self) -> bool:
            return True

    return ray.remote(num_cpus=0)(Holder)


@contextlib.contextmanager
def stage_guard(name: str, is_done: Callable[[], bool]) -> Iterator[None]:
    """One process of the cluster at a time does the stage `name`; others wait until it is done or given up.

    The lock is a named actor owned by this process: if the process dies, Ray removes it, and a waiting
    process takes over.
    """
    actor: Any = _holder_class()
    holder: Any = None
    while not is_done():
        try:
            holder = actor.options(name=f"stage-{name}", namespace="ldns").remote()
            ray.get(holder.ready.remote())
            break
        except ValueError:  # the name is taken
            holder = None
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if holder is not None:
            ray.kill(holder)
