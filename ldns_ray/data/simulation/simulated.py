"""The dataset of an experiment that simulates its own."""

from collections.abc import Iterator

from ldns_ray import storage
from ldns_ray.config import Dataset, Experiment
from ldns_ray.data.publishing import find_present, is_whole
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset
from ldns_ray.data.simulation import speech
from ldns_ray.settings import fingerprint, to_dict


def simulated_dataset(experiment: Experiment, root: str) -> str:
    """The URI of the experiment's simulated dataset, made if it is not there, not whole, or of another schema."""
    d = experiment.dataset
    if not d.simulator:
        raise ValueError(
            f"The experiment {experiment.name} needs a dataset. Ingest one with python jobs/ingest.py --help, "
            "then pass --data URI."
        )
    uri = storage.join(root, "datasets", f"{d.simulator}-{fingerprint(d)}")
    present = find_present(uri, overwrite=True)
    if present is not None and is_whole(uri, present):
        return uri
    trials, bin_width_s, covariate_units = _simulate(d)
    write_dataset(
        trials, uri, name=d.simulator, bin_width_s=bin_width_s, covariate_units=covariate_units,
        source="simulated", provenance={"simulator": to_dict(d)}, overwrite=True,
    )  # fmt: skip
    return uri


def _simulate(d: Dataset) -> tuple[Iterator[Trial], float, dict[str, str]]:
    """The trials, the width of their bins in seconds, and the physical units of their covariates."""
    n, n_units, seed = d.n_trials, d.n_units, d.seed
    if d.simulator == "lorenz":
        return speech.lorenz(n, d.max_bins, n_units, seed=seed), 1.0, {}
    if d.simulator == "reach":
        trials = speech.reach(n, n_units, seed=seed, bin_width_s=0.005, n_bins=d.max_bins)
        return trials, 0.005, {"velocity": "m/s"}
    trials = speech.speech(
        n, n_units, seed=seed, bin_width_s=0.02, min_bins=d.min_bins, max_bins=d.max_bins
    )
    return trials, 0.02, {}
