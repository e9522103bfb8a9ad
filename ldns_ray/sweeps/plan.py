"""What a sweep searches: the experiment, the space, the data, and what it is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ray.tune.search.sample import Domain

from ldns_ray import storage
from ldns_ray.config import Experiment, Reading
from ldns_ray.data.shards import read_card
from ldns_ray.settings import did_you_mean, fingerprint, override, settings


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
    seed: int = 0
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_concurrent: int = 0
    """Trials at the same time; 0: as many as the cluster holds with CPUs left for Ray Data."""
    data: Reading = "auto"
    """Whether trials of the dataset are kept in memory: see `Hardware.data`."""
    optuna_storage: str = ""
    """Database URL of the Optuna study; empty: a SQLite file under a local storage root."""

    def __post_init__(self) -> None:
        if self.n_trials < 1:
            raise ValueError(f"n_trials must be at least 1, got {self.n_trials}.")
        if not self.space:
            raise ValueError("The search space is empty. Add a dotted setting and a Tune domain.")
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

    @cached_property
    def fingerprint(self) -> str:
        """Depends on what is searched, not on what it is searched with."""
        described = {
            n: f"{type(d).__name__} {d.domain_str} {d.sampler}" for n, d in self.space.items()
        }
        dataset = read_card(self.data_uri).fingerprint
        return fingerprint(
            "sweep", self.name, self.experiment, described, dataset, self.n_trials, self.seed
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
    if isinstance(ends[1], int):
        ends[1] -= 1  # Tune's integer domains leave the upper end out
    return [
        value
        for value in (*ends, domain.sample())
        if value is not None and abs(value) != float("inf")
    ]
