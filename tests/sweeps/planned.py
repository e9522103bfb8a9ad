"""A sweep that is not run, of which tests change what they need."""

from ray import tune

from ldns_ray.sweeps.plan import Sweep

RATE = "diffusion.optimisation.learning_rate"


def planned(trained, root):
    """A sweep of the trained experiment, with everything under `root`."""
    return Sweep(
        "planned", trained.experiment, {RATE: tune.loguniform(1e-4, 1e-2)}, trained.data_uri,
        str(root), f"sqlite:///{root}/mlflow.db",
    )  # fmt: skip
