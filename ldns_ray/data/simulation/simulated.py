"""The dataset of an experiment that simulates its own."""

from ldns_ray import storage
from ldns_ray.config import Dataset, Experiment
from ldns_ray.data.publishing import find_present, is_whole
from ldns_ray.data.shards import write_dataset
from ldns_ray.data.simulation.simulators import SIMULATORS
from ldns_ray.settings import fingerprint, to_dict


def simulated_uri(experiment: Experiment, root: str) -> str:
    """Where the experiment's simulated dataset goes. Raises ValueError if it simulates none."""
    d = experiment.dataset
    if not d.simulator:
        raise ValueError(
            f"The experiment {experiment.name} needs a dataset. Ingest one with python jobs/ingest.py --help, "
            "then pass --data URI."
        )
    return storage.join(root, "datasets", f"{d.simulator}-{fingerprint(d)}")


def simulated_dataset(experiment: Experiment, root: str) -> str:
    """The URI of the experiment's simulated dataset, made if it is not there, not whole, or of another schema."""
    uri, d = simulated_uri(experiment, root), experiment.dataset
    present = find_present(uri, overwrite=True)
    if present is not None and is_whole(uri, present):
        return uri
    simulator = SIMULATORS[d.simulator]
    write_dataset(
        simulator.draw(**_settings(d)), uri, name=d.simulator, bin_width_s=simulator.bin_width_s,
        covariate_units=simulator.covariate_units, source="simulated",
        provenance={"simulator": to_dict(d)}, overwrite=True,
    )  # fmt: skip
    return uri


def _settings(d: Dataset) -> dict[str, int]:
    """The simulator's arguments."""
    settings = {"n_trials": d.n_trials, "n_units": d.n_units, "seed": d.seed}
    if d.simulator == "speech":
        return settings | {"min_bins": d.min_bins, "max_bins": d.max_bins}
    return settings | {"n_bins": d.max_bins}
