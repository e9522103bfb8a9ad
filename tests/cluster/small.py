"""The smallest experiment on a simulated Lorenz system, and what a training of it must have come to, whatever happened."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import torch

from ldns_ray import storage
from ldns_ray.config import experiment
from ldns_ray.data.simulation.simulated import simulated_uri
from ldns_ray.pipeline import Pipeline
from ldns_ray.settings import override, parse_overrides
from ldns_ray.tracking.connection import connect
from tests.cluster.nodes import Cluster, Job
from tests.cluster.services import wait_for
from tests.sweeps.submitted import check_histories
from tests.tracking.stored import history_of
from tests.training.jobs import timeless

EXPERIMENT = "lorenz_small"
SETTINGS = (
    "dataset.n_trials=40", "dataset.n_units=16", "dataset.min_bins=32", "dataset.max_bins=32",
    "autoencoder.width=16", "autoencoder.n_blocks=1", "autoencoder.n_latents=4",
    "autoencoder.optimisation.batch_size=8", "autoencoder.optimisation.warmup_epochs=1",
    "diffusion.width=16", "diffusion.n_blocks=1", "diffusion.optimisation.epochs=3",
    "diffusion.optimisation.batch_size=8", "diffusion.optimisation.warmup_epochs=1",
    "diffusion.optimisation.validate_every=1", "sampling.n_steps=4", "evaluation.n_splits=4",
    "evaluation.n_resamples=10",
)  # fmt: skip
ONE_ON_A_NODE = ("--workers", "2", "--cpus-per-worker", "1")
EPOCHS = 40
"""Of a training that is long enough to be disturbed."""


def small_pipeline(root: str, *settings: str) -> Pipeline:
    """What `jobs/train.py` makes of these settings under a storage root."""
    e = override(experiment(EXPERIMENT), parse_overrides([*SETTINGS, *settings]))
    return Pipeline(e, simulated_uri(e, root), root)


def run_id_of(said: str) -> str:
    """The MLflow run of a job that has printed this."""
    found = re.search(r"^Results: .*/runs/(\w+)", said, re.M)
    assert found is not None, said
    return found[1]


def place(said: str, word: str) -> str:
    """The storage address of a line that a job has printed."""
    found = re.search(rf"^{word}: (s3://\S+)", said, re.M)
    assert found is not None, said
    return found[1]


def study_of(results: str) -> str:
    """The name in Optuna of the sweep whose results lie there."""
    return results.rpartition("-")[2]


def restored(uri: str) -> dict[str, Any]:
    """What a checkpoint holds."""
    found: dict[str, Any] = torch.load(io.BytesIO(storage.read_bytes(uri)), weights_only=True)
    return found


class Training:
    """An autoencoder in training on both worker nodes, with a checkpoint after every epoch.

    number: tells trainings apart in MLflow; their stages are the same, but under storage roots of their own.
    hardware: settings of it, instead of those.
    """

    def __init__(self, cluster: Cluster, number: int, *hardware: str, epochs: int = EPOCHS) -> None:
        self.cluster, self.n_epochs = cluster, epochs
        self.root = f"{cluster.root}/training-{number}"
        self._settings = (f"autoencoder.optimisation.epochs={epochs}", f"evaluation.seed={number}")
        self._hardware = hardware or ("hardware.checkpoint_s=0",)
        self.job = self.submit()

    def submit(self) -> Job:
        """The same command once more."""
        self.job = self.cluster.submit(
            "jobs/train.py", EXPERIMENT, *ONE_ON_A_NODE, "--until", "autoencoder", *self._hardware,
            *SETTINGS, *self._settings, root=self.root,
        )  # fmt: skip
        return self.job

    def _file(self, name: str) -> str:
        return small_pipeline(self.root, *self._settings).uri("autoencoder", name)

    def wait_for_checkpoint(self, limit_s: float = 60) -> None:
        """Wait until an epoch would survive; others are still to be trained."""
        self.cluster.wait_for_training(self.job)
        checkpoint = self._file("checkpoint.pt")
        wait_for("a checkpoint", lambda: storage.exists(checkpoint), limit_s, self.job.log)
        assert not storage.exists(self._file("history.json")), "too late to disturb it"

    def wait_for_progress(self, limit_s: float = 90) -> None:
        """Wait until an epoch more would survive; others are still to be trained."""
        began = self.n_done()
        wait_for("it goes on", lambda: self.n_done() > began, limit_s, self.job.log)
        assert not storage.exists(self._file("history.json")), "too late to disturb it"

    def n_done(self) -> int:
        """Epochs that the checkpoint holds; 0 where there is none."""
        file = self._file("checkpoint.pt")
        return len(restored(file)["history"]) if storage.exists(file) else 0

    def rows(self) -> list[dict[str, float]]:
        """The figures of all epochs, and when they ended, once it is trained."""
        found: list[dict[str, float]] = json.loads(storage.read_bytes(self._file("history.json")))[
            "rows"
        ]
        return found

    def epochs(self) -> list[dict[str, float]]:
        """The figures of all epochs, once the job has ended well, without what the clock put into them.

        Every epoch is there once, in the stage and in MLflow, and with the same losses.
        """
        said = self.job.end()
        rows = self.rows()
        assert [row["epoch"] for row in rows] == list(range(1, self.n_epochs + 1))
        tracking = connect(self.cluster.tracking_uri, EXPERIMENT)
        run = tracking.client.get_run(run_id_of(said))
        assert run.info.status == "FINISHED"
        histories = {key: history_of(tracking, run.info.run_id, key) for key in run.data.metrics}
        check_histories({"run": histories}, {"autoencoder": self.n_epochs})
        for key in ("train_loss", "val_loss"):
            assert sorted(histories[f"autoencoder/{key}"]) == [(row["epoch"], row[key]) for row in rows]  # fmt: skip
        return timeless(rows)
