"""One network to train, as a value: it travels to workers, resumes from its checkpoint, leaves its weights."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ldns_ray import storage
from ldns_ray.config import Experiment, Hardware
from ldns_ray.data.batches import Batch, TrialSet
from ldns_ray.data.streaming import SHUFFLE_BYTES, Stream, batches
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import LENGTH, Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.training.attempts import Attempt
from ldns_ray.training.courses import CourseRegression
from ldns_ray.training.loop import OnEpoch, ResidentData, Result, Scoring, Trainer, Workers, fit
from ldns_ray.training.networks import autoencoder_settings, denoiser_settings
from ldns_ray.training.tasks import AutoencoderTask, DiffusionTask, Draws, Task

OnSaved = Callable[[list[dict[str, float]]], None]


@dataclass(frozen=True)
class TrainingJob:
    """What to train, on which dataset, and where its checkpoint and weights go."""

    network: Literal["autoencoder", "diffusion"]
    experiment: Experiment
    data_uri: str
    """Dataset of spikes, or, for the diffusion model, of latents."""
    output_uri: str
    n_units: int
    mean_counts_N: np.ndarray | None = None
    """Mean training count per bin of each unit: where the autoencoder's rates start, if given."""
    conditioning: Conditioning | None = None
    latent_mean_D: np.ndarray | None = None
    latent_std_D: np.ndarray | None = None
    level_covariance_DD: np.ndarray | None = None
    """Covariance of the trials' mean standardised latents."""
    course_regression: CourseRegression | None = None
    """What the conditions say of the latents, where the denoiser is to expect something of them."""

    @property
    def settings(self) -> dict[str, Any]:
        """The network's constructor arguments."""
        e = self.experiment
        if self.network == "autoencoder":
            return autoencoder_settings(e.autoencoder, self.n_units)
        assert self.conditioning is not None
        return denoiser_settings(e.diffusion, e.autoencoder.n_latents, self.conditioning)

    @property
    def optimisation(self) -> Any:
        e = self.experiment
        return (e.autoencoder if self.network == "autoencoder" else e.diffusion).optimisation

    @property
    def columns(self) -> list[str]:
        """Columns of the dataset that training reads."""
        if self.network == "autoencoder":
            return ["spikes"]
        d = self.experiment.diffusion
        conditions = [f"condition:{name}" for name in d.conditions if name != LENGTH]
        return ["latents", *conditions, *(f"covariate:{name}" for name in d.covariates)]

    @property
    def checkpoint_uri(self) -> str:
        return storage.join(self.output_uri, "checkpoint.pt")

    def prepare(self, trials: TrialSet) -> TrialSet:
        """The trials as the network sees them: for the diffusion model, standardised latents alone."""
        if self.network == "autoencoder":
            return trials
        assert trials.latents is not None
        z = (trials.latents - self.latent_mean_D) / self.latent_std_D
        clip = self.experiment.diffusion.latent_clip
        if clip:
            z = np.clip(z, -clip, clip)
        return dataclasses.replace(
            trials, latents=z.astype(np.float32), spikes=trials.spikes[:, :0]
        )

    def trainer(
        self,
        steps_per_epoch: int,
        device: torch.device,
        workers: Workers,
        draw: Callable[[int, Any], Draws] | None = None,
    ) -> Trainer:
        """A trainer at its first step: initial weights follow from the experiment's seed alone."""
        seed = self.experiment.seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: nn.Module
            task: Task
            if self.network == "autoencoder":
                model = Autoencoder(**self.settings)
                task = AutoencoderTask(self.experiment.autoencoder)
                if self.mean_counts_N is not None:
                    model.start_at(torch.as_tensor(self.mean_counts_N))
            else:
                assert self.conditioning is not None
                model = Denoiser(**self.settings)
                if model.level is not None:
                    model.level.set_covariance(torch.as_tensor(self.level_covariance_DD))
                if model.course is not None:
                    expected = self.course_regression
                    assert expected is not None
                    model.set_course(
                        torch.as_tensor(expected.slope_CPD), torch.as_tensor(expected.residual_DD)
                    )
                task = DiffusionTask(self.experiment.diffusion, self.conditioning)
        d = self.experiment.diffusion
        return Trainer(
            model.to(device), task, self.optimisation, steps_per_epoch=steps_per_epoch, seed=seed,
            ema=d.ema_decay if self.network == "diffusion" else None, ema_warmup=d.ema_warmup,
            workers=workers, draw=draw,
        )  # fmt: skip

    def resident(self, train: TrialSet, validation: TrialSet, workers: Workers) -> ResidentData:
        """Batches of trials in memory for one worker."""
        return ResidentData(
            self.prepare(train), self.prepare(validation), self.optimisation.batch_size,
            self.experiment.seed, workers.rank, workers.world_size,
        )  # fmt: skip

    @cached_property
    def resident_bytes(self) -> int:
        """Bytes of the trials that a worker would keep in memory."""
        return sum(self.stream(split).n_bytes for split in ("train", "val"))

    def stream(self, split: str, *, through_ray: bool = False) -> Stream:
        """Passes over a split. Raises ValueError where the dataset has none of this name."""
        return Stream(self.data_uri, split, self.columns, through_ray)

    def streamed(self, workers: Workers, *, through_ray: bool) -> "StreamedData":
        """Batches of trials that are read anew for every epoch, for one worker."""
        train, validation = (self.stream(s, through_ray=through_ray) for s in ("train", "val"))
        return StreamedData(
            train, validation, self.prepare, self.optimisation.batch_size, self.experiment.seed,
            workers.rank, workers.world_size,
        )  # fmt: skip


@dataclass(frozen=True)
class StreamedData:
    """Training and validation trials that are read anew for every epoch, cut into batches for one worker.

    The batches of an epoch have as many trials as those of `ResidentData`, and all workers together every trial
    once. Validation trials that a buffer for shuffling would hold as a whole are read once and kept.
    """

    train: Stream
    validation: Stream
    prepare: Callable[[TrialSet], TrialSet]
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.train.n_trials // self.batch_size)

    def train_batches(self, epoch: int) -> Iterable[Batch]:
        groups = self.train.groups(
            self.batch_size, seed=self.seed, epoch=epoch, rank=self.rank, world_size=self.world_size
        )
        return self._batches(self.train, groups)

    def validation_batches(self) -> Iterable[Batch]:
        stream = self.validation
        if stream.n_bytes > SHUFFLE_BYTES:
            return self._batches(stream, self._validation_groups())
        return self._batches(stream, self._kept)

    @cached_property
    def _kept(self) -> list[TrialSet | None]:
        return list(self._validation_groups())

    def _validation_groups(self) -> Iterable[TrialSet | None]:
        return self.validation.groups(self.batch_size, rank=self.rank, world_size=self.world_size)

    def _batches(self, stream: Stream, groups: Iterable[TrialSet | None]) -> Iterable[Batch]:
        return batches(groups, stream.blank(), self.prepare)


def run(
    job: TrainingJob,
    data: Any,
    device: torch.device,
    workers: Workers | None = None,
    on_epoch: OnEpoch | None = None,
    draw: Callable[[int, Any], Draws] | None = None,
    on_saved: OnSaved | None = None,
    probe: Scoring | None = None,
    checkpoint_s: float = Hardware.checkpoint_s,
    ends_soon: Callable[[], bool] = lambda: False,
) -> Result:
    """Train `job`, from its checkpoint if there is one; the first worker saves checkpoints and weights.

    Writes `weights.safetensors` (the best-validation weights), the network's `settings.json`, and `history.json`.

    Args:
        on_epoch: called with every epoch's figures at once. A process that dies may do its last epochs again,
            in another: with the same losses, not at the same time.
        on_saved: called on the first worker with the figures that no later process can change: after each checkpoint
            with those that it holds and the one before did not, oldest first; where there is a checkpoint at the
            start, with all that it holds. At the end it has had every epoch once.
        probe: scores the network on the first worker, while the others wait for it. A checkpoint holds the score
            before the next epoch begins.
        checkpoint_s: least seconds between two checkpoints, but for those of epochs with a score, and the last.
        ends_soon: asked by every worker after every epoch: whether one of them will be taken away. From then on every
            epoch has its checkpoint.

    Raises SupersededError where another process has begun to train the same: this one then saves and tells no more.
    """
    workers = workers or Workers()
    leads = workers.rank == 0
    attempt = Attempt(job.output_uri) if leads else None
    trainer = job.trainer(data.steps_per_epoch, device, workers, draw)
    n_told = 0

    def tell_saved() -> None:
        nonlocal n_told
        rows = trainer.result.history[n_told:]
        n_told += len(rows)
        if attempt is not None and on_saved is not None:
            attempt.check()
            on_saved(rows)

    if storage.exists(job.checkpoint_uri):
        trainer.restore(storage.read_bytes(job.checkpoint_uri))
        tell_saved()
    saved = time.monotonic()

    def after_epoch(row: dict[str, float], checkpoint: Callable[[], bytes]) -> None:
        nonlocal saved
        late = time.monotonic() - saved > checkpoint_s
        hurries = ends_soon()
        saves = trainer.done or "score" in row or late or hurries
        if saves and attempt is not None:
            attempt.check()
            storage.write_bytes(job.checkpoint_uri, checkpoint())
            saved = time.monotonic()
        if on_epoch is not None:
            on_epoch(row, checkpoint)
        if saves:
            tell_saved()

    result = fit(trainer, data, after_epoch, probe if leads else None)
    if attempt is not None:
        from safetensors.torch import save

        attempt.end()
        storage.write_bytes(storage.join(job.output_uri, "weights.safetensors"), save(result.best))
        history = {
            "best_epoch": result.best_epoch,
            "best_loss": result.best_loss,
            "rows": result.history,
        }
        for name, content in {"settings.json": job.settings, "history.json": history}.items():
            storage.write_bytes(storage.join(job.output_uri, name), json.dumps(content).encode())
    return result
