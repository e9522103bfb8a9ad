"""The Optuna study of a sweep: what was tried, how it ended, and what to try next."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ldns_ray.sweeps.plan import Sweep

NUMBER = "trial_number"
"""Key of a trial's number, from 1, beside the settings that Tune hands to it."""
SCORE = "score"
FINISHED = (TrialState.COMPLETE, TrialState.FAIL)


def open_study(sweep: Sweep) -> optuna.Study:
    """The sweep's Optuna study, as far as it has come."""
    url = sweep.optuna_storage
    if not url:
        if "://" in sweep.root:
            raise ValueError(
                f"The Optuna study cannot live under {sweep.root}. Pass --optuna-storage URL of a database."
            )
        os.makedirs(sweep.uri, exist_ok=True)
        url = f"sqlite:///{os.path.abspath(sweep.uri)}/optuna.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=sweep.fingerprint,
        storage=url,
        direction="minimize",
        load_if_exists=True,
    )


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
