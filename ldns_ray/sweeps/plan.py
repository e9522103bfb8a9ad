"""What a sweep searches: the experiment, the space, the data, and what it is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain, Quantized

from ldns_ray import storage
from ldns_ray.checks import NON_NEGATIVE, POSITIVE, SEED, Rule, at_least, check
from ldns_ray.config import Experiment, Hardware, Reading
from ldns_ray.data.shards import read_card
from ldns_ray.settings import did_you_mean, fingerprint, override, settings
from ldns_ray.sweeps.axes import axes
from ldns_ray.tracking.registry import NAME

PLAIN = (bool, int, float, str)
"""Types of values that a study stores as they are."""


@dataclass(frozen=True)
class Sweep:
    """What to search, on which data, and where everything goes."""

    name: str
    experiment: Experiment
    space: Mapping[str, Any]
    """Dotted setting → Tune domain."""
    data_uri: str
    root: str
    tracking_uri: str
    n_trials: int = 4
    """Trials that the sweep has when it is done; more than before continue it."""
    hours: float = 0.0
    """No trial starts when so much time has passed since the sweep was submitted; 0: no limit."""
    seed: int = 0
    """Seed of the points."""
    points: Sequence[Mapping[str, Any]] = ()
    """Points to begin with, dotted setting → value; settings that a point leaves out are searched."""
    reduction_factor: int = 3
    """Of the trials that reach a rung of their training, one in so many goes on; 0: all of them."""
    retry_failed: bool = False
    """Whether points of trials that have failed are tried again, as trials of their own."""
    retries: int = 2
    """How often a trial is tried again whose process died, or whose machine or network failed it."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    """May be a fraction: trials then share a GPU."""
    workers_per_trial: int = 1
    """Ray Train workers that train a trial's networks, and share its CPUs and GPUs; 1: the trial's own process."""
    max_concurrent: int = 0
    """Trials at the same time; 0: as many as the cluster holds with CPUs left for Ray Data."""
    data: Reading = "auto"
    """Whether trials of the dataset are kept in memory: see `Hardware.data`."""
    checkpoint_s: float = Hardware.checkpoint_s
    """See `Hardware.checkpoint_s`."""
    optuna_storage: str = ""
    """Database URL of the Optuna study; empty: a SQLite file under a local storage root."""

    def __post_init__(self) -> None:
        check(
            self,
            "",
            name=Rule(
                "letters, digits, dots, dashes and underscores",
                lambda name: bool(NAME.fullmatch(name)),
            ),
            n_trials=at_least(1),
            hours=NON_NEGATIVE,
            seed=SEED,
            reduction_factor=Rule("0, or at least 2", lambda n: n == 0 or n >= 2),
            retries=NON_NEGATIVE,
            cpus_per_trial=POSITIVE,
            gpus_per_trial=NON_NEGATIVE,
            workers_per_trial=at_least(1),
            max_concurrent=NON_NEGATIVE,
            checkpoint_s=NON_NEGATIVE,
        )
        if not self.space:
            raise ValueError("The search space is empty. Add a dotted setting and a Tune domain.")
        if "://" in self.root and not self.optuna_storage:
            raise ValueError(
                f"The Optuna study cannot live under {self.root}. Pass --optuna-storage URL of a database."
            )
        known = settings(self.experiment)
        for name, domain in self.space.items():
            if name not in known:
                raise ValueError(
                    f"Unknown setting {name!r} in the search space. {did_you_mean(name, known)}"
                )
            if not isinstance(domain, Domain):
                raise ValueError(
                    f"{name} in the search space must be a Tune domain such as tune.choice([…]), got {domain!r}."
                )
            if name == "evaluation.split":
                raise ValueError(
                    "evaluation.split cannot be searched: trials are scored on val, the best on test."
                )
            for value in _extremes(domain):
                override(self.experiment, {name: value})
                if not isinstance(value, PLAIN):
                    raise ValueError(
                        f"{name} in the search space must be searched among numbers, words and yes or no, got "
                        f"{value!r}: a study cannot be continued with other values."
                    )
        axes(self.space)
        _ = self.distributions
        share = self.gpus_per_trial / self.workers_per_trial
        if self.workers_per_trial > 1 and 0 < share < 1:
            raise ValueError(
                f"gpus_per_trial must be at least workers_per_trial={self.workers_per_trial}, or 0, got "
                f"{self.gpus_per_trial:g}: workers that train together cannot share a GPU."
            )
        for i, point in enumerate(self.points):
            self._check_point(f"Point {i + 1}", point)

    def _check_point(self, what: str, point: Mapping[str, Any]) -> None:
        for name, value in point.items():
            if name not in self.space:
                raise ValueError(
                    f"{what} sets {name!r}, which is not searched. {did_you_mean(name, self.space)}"
                )
            domain = self.space[name]
            try:
                valid = domain.is_valid(value)
            except TypeError:
                valid = False
            if not valid:
                raise ValueError(
                    f"{what} sets {name} to {value!r}, which is not in its domain, {domain.domain_str}."
                )
            override(self.experiment, {name: value})

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The space as Optuna has it. Raises ValueError for domains that it cannot search."""
        found: dict[str, BaseDistribution] = {}
        for name, domain in self.space.items():
            try:
                found |= OptunaSearch.convert_search_space({name: domain})
            except ValueError as error:
                raise ValueError(
                    f"{name} in the search space cannot be searched: {error} Use tune.choice, tune.uniform, "
                    "tune.loguniform, tune.randint or their like."
                ) from error
        return found

    @property
    def corners(self) -> list[Mapping[str, Any]]:
        """Points that show whether all of the space is allowed: of each setting every choice, or the ends."""
        return [{name: value} for name, domain in self.space.items() for value in _extremes(domain)]

    @cached_property
    def fingerprint(self) -> str:
        """Depends on what is searched, not on what it is searched with, nor on how long."""
        described = {n: distribution_to_json(d) for n, d in self.distributions.items()}
        dataset = read_card(self.data_uri).fingerprint
        points = [dict(point) for point in self.points]
        return fingerprint(
            "sweep",
            self.name,
            self.experiment,
            described,
            dataset,
            self.seed,
            points,
            self.reduction_factor,
        )

    @property
    def uri(self) -> str:
        return storage.join(self.root, "sweeps", f"{self.name}-{self.fingerprint}")


def _extremes(domain: Domain) -> Sequence[Any]:
    """Values that show whether all of the domain is allowed: every choice, or both ends and one within."""
    categories = getattr(domain, "categories", None)
    if categories is not None:
        return list(categories)
    ends = [getattr(domain, name, None) for name in ("lower", "upper")]
    if isinstance(ends[1], int) and not isinstance(domain.get_sampler(), Quantized):
        ends[1] -= 1  # Tune's integer domains leave the upper end out, unless they are rounded
    return [
        value
        for value in (*ends, domain.sample())
        if value is not None and abs(value) != float("inf")
    ]
