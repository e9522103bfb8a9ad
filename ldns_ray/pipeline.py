"""The stages of an experiment, what of them is done, and how to do the rest.

    autoencoder → latents → diffusion → observation → samples → evaluation

A stage is a function of its settings and of the fingerprints upstream. Its output lives in
`<root>/<stage>/<fingerprint>/` and is complete when `stage.json`, written last, is there: running a
finished stage again does nothing, and an interrupted one goes on from its last checkpoint.
"""

import contextlib
import functools
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import ray
import ray.data

from ldns_ray import storage
from ldns_ray.config import Experiment, Hardware, changes, command
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.moments import mean_counts
from ldns_ray.data.shards import load_trialset, read_card, verify_dataset
from ldns_ray.data.streaming import Stream
from ldns_ray.data.tables import trialset_from_tables
from ldns_ray.evaluation.experiment import NAME, Evaluated, evaluate
from ldns_ray.evaluation.reporting.results import Origin, Results, write_results
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.blocks import BLOCK
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.parts import Parts, trained_denoiser
from ldns_ray.probe import Probe, SampleScore
from ldns_ray.redaction import redacted, without_secrets
from ldns_ray.revision import commit
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.settings import fingerprint, settings, to_dict
from ldns_ray.stages import best_device, encode_dataset, fit_observation
from ldns_ray.training.job import TrainingJob
from ldns_ray.training.loop import Scoring
from ldns_ray.training.networks import expects_course
from ldns_ray.training.start import start

log = logging.getLogger(__name__)

VERSIONS = {
    "autoencoder": 1,
    "latents": 1,
    "diffusion": 1,
    "observation": 1,
    "samples": 1,
    "evaluation": 4,
}
"""Raise a stage's number when its code gives other results: what is stored is then made anew."""
STAGES = tuple(VERSIONS)


class Observer:
    """Hears of stages and epochs as they happen. This one is deaf; jobs and sweeps pass their own."""

    def stage_waits(self, stage: str) -> None: ...

    def stage_started(self, stage: str, uri: str) -> None: ...

    def remark(self, stage: str, text: str) -> None: ...

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        """The figures of an epoch, at once. If the process dies, its last epochs are done, and told, again."""

    def saved(self, stage: str, rows: list[dict[str, float]]) -> None:
        """The figures of epochs that a checkpoint holds, oldest first: nothing will do these epochs again.

        Every epoch's are told once in a process; one that goes on from a checkpoint tells all that it holds first.
        """

    def stage_finished(
        self, stage: str, uri: str, record: dict[str, Any], *, reused: bool
    ) -> None: ...


Guard = Callable[
    [str, Callable[[], bool], Callable[[], None]], contextlib.AbstractContextManager[None]
]


def unguarded(
    name: str, is_done: Callable[[], bool], waits: Callable[[], None]
) -> contextlib.AbstractContextManager[None]:
    """The guard of a process that shares its stages with no other."""
    return contextlib.nullcontext()


def verify(data_uri: str) -> str:
    """What to say of a dataset whose files match their checksums.

    Raises FileNotFoundError or ValueError naming the file that is missing, truncated or changed.
    """
    began = time.perf_counter()
    n_files = len(verify_dataset(data_uri).shards)
    text = f"checksums match (files: {n_files}, {time.perf_counter() - began:.1f} s)"
    log.info("%s: %s", without_secrets(data_uri), text)
    return text


@dataclass
class Pipeline:
    """One experiment on one dataset, with its outputs under one storage root."""

    experiment: Experiment
    data_uri: str
    root: str
    hardware: Hardware = Hardware(workers=0)
    observer: Observer = field(default_factory=Observer)
    guard: Guard = unguarded
    """Makes a context manager `guard(fingerprint, is_done, waits)` that lets one process at a time do a stage.

    It calls `waits` once where this process has to wait for another."""
    tables: Mapping[str, Sequence[ray.ObjectRef]] | None = None
    """By split, the dataset's Arrow blocks in the object store, where other processes share them."""
    at_once: int = 1
    """Pipelines that train at the same time in the memory of this machine."""
    verified: bool = False
    """Whether the dataset's files were already compared with their checksums."""
    probe: Probe | None = None
    """When samples of the diffusion model are scored while it trains. What it trains to is the same with and without."""

    @cached_property
    def card(self) -> Card:
        return read_card(self.data_uri)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """What each stage's output is called: its settings, seed, version and everything upstream."""
        e, v = self.experiment, VERSIONS
        prints: dict[str, str] = {}
        prints["autoencoder"] = fingerprint(
            "autoencoder", v["autoencoder"], e.autoencoder, e.seed, self.card.fingerprint
        )
        prints["latents"] = fingerprint("latents", v["latents"], prints["autoencoder"])
        prints["diffusion"] = fingerprint(
            "diffusion", v["diffusion"], e.diffusion, e.seed, prints["latents"],
            *(["courses by condition"] if expects_course(e.diffusion) else []),
        )  # fmt: skip
        prints["observation"] = fingerprint(
            "observation", v["observation"], e.observation, prints["diffusion"]
        )
        prints["samples"] = fingerprint("samples", v["samples"], e.sampling, prints["observation"])
        prints["evaluation"] = fingerprint(
            "evaluation", v["evaluation"], e.evaluation, prints["samples"]
        )
        return prints

    def uri(self, stage: str, *names: str) -> str:
        """Where a stage's output, or a file of it, is or will be."""
        return storage.join(self.root, stage, self.fingerprints[stage], *names)

    def record(self, stage: str) -> dict[str, Any] | None:
        """A finished stage's `stage.json`, or None."""
        uri = self.uri(stage, "stage.json")
        return json.loads(storage.read_bytes(uri)) if storage.exists(uri) else None

    def check(self, until: str = "evaluation") -> None:
        """Raise ValueError for an unknown stage, or a dataset that lacks a split."""
        if until not in STAGES:
            raise ValueError(f"Unknown stage {until!r}. Stages: {', '.join(STAGES)}.")
        e, o, shortest = self.experiment.evaluation, self.experiment.observation, self.card.min_bins
        if o.kind == "spike_history" and o.history_bins >= shortest:
            raise ValueError(
                f"observation.history_bins must be below the {shortest} bins of the shortest trial, got {o.history_bins}."
            )
        shortest_s = shortest * self.card.bin_width_s
        if e.decode_from_s >= shortest_s:
            raise ValueError(
                f"evaluation.decode_from_s must be below the shortest trial, {shortest_s:g} s, got {e.decode_from_s:g}."
            )
        for split in ("train", "val", e.split):
            if split not in self.card.splits:
                there = ", ".join(self.card.splits)
                raise ValueError(
                    f"{self.data_uri} has no {split} trials; it has: {there}. Ingest it with that split."
                )
        if self.probe is not None:
            self.probe.check(self.card)

    def run(self, until: str = "evaluation") -> dict[str, dict[str, Any]]:
        """Every stage up to and with `until`; the records of all of them by stage."""
        self.check(until)
        if not self.verified and self.record("autoencoder") is None:
            self.observer.remark("dataset", verify(self.data_uri))
        return {stage: self._stage(stage) for stage in STAGES[: STAGES.index(until) + 1]}

    def _stage(self, stage: str) -> dict[str, Any]:
        waits = functools.partial(self.observer.stage_waits, stage)
        with self.guard(self.fingerprints[stage], lambda: self.record(stage) is not None, waits):
            record = self.record(stage)
            if record is None:
                return self._do(stage)
        self.observer.stage_finished(stage, self.uri(stage), record, reused=True)
        return record

    def _do(self, stage: str) -> dict[str, Any]:
        uri = self.uri(stage)
        self.observer.stage_started(stage, uri)
        started = time.time()
        work: dict[str, Callable[[], dict[str, Any]]] = {
            "autoencoder": self._autoencoder, "latents": self._latents, "diffusion": self._diffusion,
            "observation": self._observation, "samples": self._samples, "evaluation": self._evaluation,
        }  # fmt: skip
        summary = work[stage]()
        record = {
            "stage": stage, "fingerprint": self.fingerprints[stage], "version": VERSIONS[stage],
            "experiment": to_dict(self.experiment), "dataset": self.card.fingerprint, "data_uri": self.data_uri,
            "commit": commit(), "started": started, "seconds": time.time() - started, "summary": summary,
        }  # fmt: skip
        told = json.dumps(redacted(record), indent=1)
        storage.write_bytes(storage.join(uri, "stage.json"), told.encode())
        self.observer.stage_finished(stage, uri, record, reused=False)
        return record

    # -- the stages ---------------------------------------------------------------------------

    def _train(self, job: TrainingJob, stage: str, probe: Scoring | None = None) -> dict[str, Any]:
        n_epochs = job.optimisation.epochs

        def on_row(row: dict[str, float]) -> None:
            self.observer.epoch(stage, row, n_epochs)

        shared = job.network == "autoencoder" and self.tables is not None
        start(
            job, self.hardware, best_device(), run_name=f"{stage}-{self.fingerprints[stage]}",
            storage_path=storage.join(self.root, "train"), on_row=on_row,
            on_saved=functools.partial(self.observer.saved, stage),
            remark=functools.partial(self.observer.remark, stage), shared=self.trials if shared else None,
            at_once=self.at_once, probe=probe,
        )  # fmt: skip
        history = json.loads(storage.read_bytes(self.uri(stage, "history.json")))
        return {k: history[k] for k in ("best_epoch", "best_loss")}

    def _autoencoder(self) -> dict[str, Any]:
        stream = Stream(self.data_uri, "train", ["spikes"])
        sets = [self.trials("train")] if self.tables is not None else stream.sets(BLOCK)
        job = TrainingJob(
            "autoencoder", self.experiment, self.data_uri, self.uri("autoencoder"), self.card.n_units,
            mean_counts_N=mean_counts(sets),
        )  # fmt: skip
        return self._train(job, "autoencoder")

    def _latents(self) -> dict[str, Any]:
        return self.on_device(
            encode_dataset, self.autoencoder(), self.data_uri, self.uri("latents", "dataset")
        )

    def _diffusion(self) -> dict[str, Any]:
        z = self.latent_statistics()
        probe = None if self.probe is None else SampleScore(self.probe, self.parts)
        job = TrainingJob(
            "diffusion", self.experiment, self.uri("latents", "dataset"), self.uri("diffusion"), self.card.n_units,
            conditioning=self.parts.conditioning, latent_mean_D=z["mean"], latent_std_D=z["std"],
            level_covariance_DD=z["level_covariance"], course_regression=self.parts.course_regression,
        )  # fmt: skip
        return self._train(job, "diffusion", probe)

    def _observation(self) -> dict[str, Any]:
        model = self.parts.model(*trained_denoiser(self.uri("diffusion")))
        o = self.experiment.observation
        if o.kind == "spike_history":
            trials = self.latent_trials("train", ["latents"])
            model.observation = self.on_device(
                fit_observation, model, trials, o.history_bins, o.count_cap
            )  # fmt: skip
        model.provenance = {
            "experiment": to_dict(self.experiment),
            "dataset": self.card.fingerprint,
            "dataset_name": self.card.name,
            "commit": commit(),
        }
        model.save(self.uri("observation", "model"))
        return {"model": self.uri("observation", "model")}

    def _samples(self) -> dict[str, Any]:
        s = self.experiment.sampling
        n = s.n_trials or self.card.splits["train"]["n_trials"]
        card = self.on_device(
            sample_dataset, self.model_uri, self.samples_uri, n,
            sampler=s.sampler, n_steps=s.n_steps, seed=s.seed, guidance=s.guidance,
        )  # fmt: skip
        return {
            "dataset": self.uri("samples", "dataset"),
            "n_trials": n,
            "fingerprint": card.fingerprint,
        }

    def _evaluation(self) -> dict[str, Any]:
        found = self.evaluate({NAME: self.samples_uri})
        origin = self.origin({"sampled": self.samples_uri}, self.command())
        write_results(self.uri("evaluation"), found, origin)
        return found.summary

    # -- what the stages made -----------------------------------------------------------------

    def trials(self, split: str) -> TrialSet:
        """A split's spikes and conditions."""
        if self.tables is not None:
            return trialset_from_tables(ray.get(list(self.tables[split])), self.card)
        names = [f"condition:{name}" for name in self.card.conditions]
        return load_trialset(self.data_uri, split, names)

    def latent_trials(self, split: str, columns: Sequence[str] | None = None) -> TrialSet:
        """A split of the latents dataset; with `columns`, these of its optional columns alone."""
        return load_trialset(self.uri("latents", "dataset"), split, columns)

    @property
    def model_uri(self) -> str:
        return self.uri("observation", "model")

    @property
    def samples_uri(self) -> str:
        return self.uri("samples", "dataset")

    def history(self, stage: str) -> list[dict[str, float]]:
        """The epochs of a trained stage."""
        rows: list[dict[str, float]] = json.loads(
            storage.read_bytes(self.uri(stage, "history.json"))
        )["rows"]
        return rows

    @cached_property
    def parts(self) -> Parts:
        """The parts of the model, to be read once their stages are done."""
        return Parts(self.experiment, self.data_uri, self.uri("autoencoder"), self.uri("latents"))

    def autoencoder(self) -> Autoencoder:
        """The trained autoencoder."""
        return self.parts.autoencoder

    def latent_statistics(self) -> dict[str, np.ndarray]:
        """`mean`, `std` and `bound` (D,) and `level_covariance` (D, D) of the training latents."""
        return self.parts.latent_statistics

    # -- what is made of them -----------------------------------------------------------------

    def evaluate(self, samples: Mapping[str, str]) -> Results:
        """What datasets of samples of this experiment's model, by name, are worth; the first is judged and drawn."""
        e, d = self.experiment.evaluation, self.experiment.diffusion
        few = ["latents", *(f"condition:{c}" for c in d.conditions if c != LENGTH)]
        of_real = ["latents", *(f"covariate:{c}" for c in d.covariates)]
        of_real += [f"condition:{c}" for c in self.card.conditions]
        trials = Evaluated(
            train=self.latent_trials("train", of_real),
            reference=self.latent_trials(e.split, of_real),
            sampled={
                name: load_trialset(uri, None, None if d.covariates else few)
                for name, uri in samples.items()
            },
            autoencoder=self.autoencoder(),
        )
        history = [
            {**row, "stage": stage} for stage in ("autoencoder", "diffusion") for row in self.history(stage)
        ]  # fmt: skip
        return evaluate(self.experiment, self.card, trials, history)

    def origin(self, samples: Mapping[str, str], command: str) -> Origin:
        """For the report of an evaluation of these datasets of samples, by role; `command` makes it again."""
        cards = {role: (read_card(uri), uri) for role, uri in samples.items()}
        return Origin(
            title=f"{self.experiment.name} on {self.card.name}",
            cards={"real": (self.card, self.data_uri), **cards},
            command=command,
            settings=settings(self.experiment),
            changed=changes(self.experiment),
            provenance={
                "model": self.model_uri,
                "trained on": f"{self.card.name} ({self.card.fingerprint})",
                "seed": str(self.experiment.seed),
            },
        )

    def command(self) -> str:
        """A shell command that does this experiment, or finds it done; empty for one of a name that none has."""
        return command(self.experiment, self.data_uri, self.root)

    def on_device(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function of a module here, or on a worker with a GPU where the workers have one."""
        if not (self.hardware.workers and self.hardware.gpus_per_worker):
            return function(*args, **options)
        # Anywhere in the cluster: what Tune reserved for the process of a trial has no GPU where its workers have them.
        remote = ray.remote(
            num_gpus=min(1.0, self.hardware.gpus_per_worker), scheduling_strategy="DEFAULT"
        )(function)
        return ray.get(remote.remote(*args, **options))
