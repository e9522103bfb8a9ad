"""The dataset of an experiment that simulates its own."""

from collections.abc import Iterator

from ldns_ray import storage
from ldns_ray.config import Experiment
from ldns_ray.data import simulate
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset
from ldns_ray.settings import fingerprint, to_dict


def simulated_dataset(experiment: Experiment, root: str) -> str:
    """The URI of the experiment's simulated dataset, made if it is not there."""
    d = experiment.dataset
    if not d.simulator:
        raise ValueError(
            f"The experiment {experiment.name} needs a dataset. Ingest one with python jobs/ingest.py --help, "
            "then pass --data URI."
        )
    uri = storage.join(root, "datasets", f"{d.simulator}-{fingerprint(d)}")
    if storage.exists(storage.join(uri, "dataset.json")):
        return uri
    trials: Iterator[Trial]
    if d.simulator == "lorenz":
        trials = simulate.lorenz(d.n_trials, n_bins=d.max_bins, n_units=d.n_units, seed=d.seed)
        bin_width_s = 1.0
    else:
        bin_width_s = 0.02
        trials = simulate.speech(
            d.n_trials, n_units=d.n_units, min_bins=d.min_bins, max_bins=d.max_bins, seed=d.seed, bin_width_s=bin_width_s
        )  # fmt: skip
    write_dataset(
        trials, uri, name=d.simulator, bin_width_s=bin_width_s, source="simulated", provenance={"simulator": to_dict(d)}
    )  # fmt: skip
    return uri
