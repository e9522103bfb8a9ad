"""Pipelines that are watched, interrupted and copied, and a recording with conditions for them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from jobs import ingest
from ldns_ray import storage
from ldns_ray.config import experiment
from ldns_ray.data.shards import read_card
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.pipeline import Observer, Pipeline
from ldns_ray.settings import override


class Recorder(Observer):
    """What was started, what was found, the epochs that were trained, and the rows that checkpoints held."""

    def __init__(self):
        self.started, self.done, self.reused, self.epochs = [], [], [], []
        self.saved_rows = []

    def stage_started(self, stage, uri):
        self.started.append(stage)

    def epoch(self, stage, row, n_epochs):
        self.epochs.append((stage, int(row["epoch"])))

    def saved(self, stage, rows):
        self.saved_rows.append((stage, rows))

    def stage_finished(self, stage, uri, record, *, reused):
        (self.reused if reused else self.done).append(stage)


class Interrupted(Exception):
    pass


class Interrupting(Recorder):
    """Ends a training after its second epoch, as if the process had died."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def epoch(self, stage, row, n_epochs):
        super().epoch(stage, row, n_epochs)
        if (stage, row["epoch"]) == (self.stage, 2):
            raise Interrupted


def watched(pipeline, observer=None, **changes):
    """The same pipeline, changed, with an observer of its own."""
    observer = observer or Recorder()
    return replace(pipeline, observer=observer, **changes), observer


def fresh(experiment, root):
    return Pipeline(experiment, simulated_dataset(experiment, str(root)), str(root))


def files(root):
    return {p: p.stat().st_mtime_ns for p in Path(root).rglob("*") if p.is_file()}


def contents(folder):
    """The content of all files of a folder, by their paths in it."""
    found = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def weights(pipeline, stage):
    return storage.read_bytes(pipeline.uri(stage, "weights.safetensors"))


def shard_digests(uri):
    return [shard["sha256"] for shard in read_card(uri).shards]


def copy_of(pipeline, root):
    shutil.copytree(pipeline.root, root)
    return watched(pipeline, root=str(root))


def reaches(folder, n_trials=30, n_bins=24, n_units=10, val=True):
    """A recording of reaches in eight directions as a NumPy file, ingested."""
    rng = np.random.default_rng(1)
    target = np.arange(n_trials) % 8
    velocity = rng.normal(size=(n_trials, n_bins, 2)).astype(np.float32)
    rates = 0.3 + 0.2 * np.cos(target[:, None] * np.pi / 4 + np.arange(n_units))
    spikes = rng.poisson(np.repeat(rates[:, None], n_bins, 1))
    names = np.array(["train"] * 18 + ["val" if val else "train"] * 6 + ["test"] * 6)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "reach.npz", spikes=spikes, target=target, velocity=velocity, split=names)
    out = str(folder / "reach")
    ingest.main(
        ["npz", str(folder / "reach.npz"), "--out", out, "--spikes-axes", "trial,time,unit",
         "--bin-ms", "5", "--sample-ms", "5", "--angle", "angle=target*45",
         "--covariate", "velocity=velocity:m/s", "--split", "split"]
    )  # fmt: skip
    return out


def tiny_reach(tiny, **changes):
    base = experiment("reach_angle")
    small = replace(
        base,
        autoencoder=tiny.autoencoder,
        diffusion=replace(tiny.diffusion, conditions=("angle", "length"), covariates=("velocity",)),
        sampling=replace(tiny.sampling, n_trials=70),
        evaluation=replace(tiny.evaluation, label="target"),
    )
    return override(small, changes)
