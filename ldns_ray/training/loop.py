"""The training loop: AdamW, warm-up and cosine, clipping, moving average, best weights, checkpoints.

It knows neither Ray nor MLflow. Batches, reporting and the exchange between workers are passed in. Every
random draw is keyed by (seed, step, rank), so a run that was stopped and resumed equals one that was not.
"""

import copy
import io
import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ldns_ray.config import Optimisation
from ldns_ray.data.batches import Batch, TrialSet, epoch_batches
from ldns_ray.memory import keep_freed_memory
from ldns_ray.training.tasks import Draws, Task

log = logging.getLogger(__name__)

TRAIN, VALIDATE = 0, 1
SYSTEM_PARAMETERS = ("log_neg_re", "neg_im", "p", "b", "log_dt")
"""Parameters of the state-space systems, which weight decay would move away from stable dynamics."""


@dataclass(frozen=True)
class Workers:
    """This worker's place among those that train together, and how they add numbers up."""

    rank: int = 0
    world_size: int = 1
    all_reduce: Callable[[Tensor], Tensor] = lambda x: x
    """Sum of a tensor over the workers."""
    wrap: Callable[[nn.Module], nn.Module] = lambda m: m
    """Makes the model average its gradients over the workers."""


class Scoring(Protocol):
    """What scores a network after some epochs of its training."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """After which epochs."""

    def __call__(self, model: nn.Module) -> float:
        """The score of a network, which is left as it is."""


@dataclass(frozen=True)
class ResidentData:
    """Training and validation trials in memory, cut into the batches of each epoch for one worker."""

    train: TrialSet
    validation: TrialSet
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train) // self.batch_size)

    def train_batches(self, epoch: int) -> Iterable[Batch]:
        return self._batches(self.train, epoch, shuffle=True)

    def validation_batches(self) -> Iterable[Batch]:
        return self._batches(self.validation, 0, shuffle=False)

    def _batches(self, trials: TrialSet, epoch: int, *, shuffle: bool) -> Iterable[Batch]:
        shares = epoch_batches(
            trials.n_bins_S, self.batch_size, seed=self.seed, epoch=epoch,
            rank=self.rank, world_size=self.world_size, shuffle=shuffle,
        )  # fmt: skip
        for share in shares:
            if len(share):
                yield trials.batch(share)
            else:  # a worker without a trial still takes part, with a trial that counts nothing
                yield trials.uncounted_batch()


@dataclass
class Result:
    """What training leaves: the best weights and the course of the losses."""

    best: dict[str, Tensor]
    best_epoch: int
    best_loss: float
    history: list[dict[str, float]] = field(default_factory=list)


def learning_rate(step: int, n_steps: int, n_warmup: int, optimisation: Optimisation) -> float:
    """Linear warm-up over `n_warmup` steps, then a cosine that would end at `cosine_stretch` × `n_steps`."""
    peak = optimisation.learning_rate
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    end = max(n_steps * optimisation.cosine_stretch, n_warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / (end - n_warmup)))


def ema_decay(step: int, largest: float, *, warmup: bool) -> float:
    """Decay of the weights' moving average after `step` steps: min(largest, 1 - (1 + step)^(-2/3))."""
    return min(largest, 1 - (1 + step) ** (-2 / 3)) if warmup else largest


def keyed_torch_generator(device: torch.device, *key: int) -> torch.Generator:
    """A generator whose state depends on `key` alone."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def make_optimiser(model: nn.Module, optimisation: Optimisation) -> torch.optim.AdamW:
    """AdamW; the state-space systems' parameters are not decayed."""
    system = [
        p
        for n, p in model.named_parameters()
        if ".s4." in n and n.rpartition(".")[2] in SYSTEM_PARAMETERS
    ]
    ids = {id(p) for p in system}
    others = [p for p in model.parameters() if id(p) not in ids]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": system, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=optimisation.learning_rate,
        weight_decay=optimisation.weight_decay,
        fused=True,
    )


class Trainer:
    """The state of one training run: model, moving average, optimiser, best weights, history.

    Args:
        model: on its device, freshly initialised.
        task: its losses and draws.
        ema: largest decay of the moving average, or None to validate and keep the weights themselves.
        ema_warmup: whether the decay grows with the steps.
        draw: the draws of a training batch at a step; by default keyed by (seed, step, rank).
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimisation: Optimisation,
        *,
        steps_per_epoch: int,
        seed: int,
        ema: float | None = None,
        ema_warmup: bool = True,
        workers: Workers | None = None,
        draw: Callable[[int, Batch], Draws] | None = None,
    ) -> None:
        self.model, self.task, self.optimisation = model, task, optimisation
        self.workers = workers or Workers()
        self.device = next(model.parameters()).device
        self.parallel = self.workers.wrap(model)
        self.seed, self.steps_per_epoch = seed, steps_per_epoch
        self.n_steps = optimisation.epochs * steps_per_epoch
        self.n_warmup = round(optimisation.warmup_epochs * steps_per_epoch)
        self.optimiser = make_optimiser(model, optimisation)
        self.ema, self.ema_warmup = ema, ema_warmup
        self.averaged = copy.deepcopy(model).requires_grad_(False) if ema is not None else model
        self.draw = draw or self._keyed_draw
        self.epoch, self.step, self.stale = 0, 0, 0
        self.result = Result(_weights(self.averaged), 0, math.inf)

    @property
    def done(self) -> bool:
        patience = self.optimisation.patience
        return self.epoch >= self.optimisation.epochs or (patience > 0 and self.stale >= patience)

    def _keyed_draw(self, step: int, batch: Batch) -> Draws:
        generator = keyed_torch_generator(self.device, self.seed, TRAIN, step, self.workers.rank)
        return self.task.draw(batch, generator)

    def train_epoch(self, batches: Iterable[Batch]) -> float:
        """One pass over the training batches. Returns the mean loss. Raises FloatingPointError."""
        self.parallel.train()
        sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        for batch in batches:
            sums += self._train_step(batch.to(self.device))
        total, count = sums.tolist()
        if not math.isfinite(total):
            raise FloatingPointError(self._diverged("training", total))
        self.epoch += 1
        return total / max(count, 1)

    def _diverged(self, which: str, value: float) -> str:
        o = self.optimisation
        return (
            f"The {which} loss became {value} in epoch {self.epoch + 1}. Lower the learning rate "
            f"(now {o.learning_rate}) or clip_norm (now {o.clip_norm})."
        )

    def _precision(self) -> AbstractContextManager[None]:
        """Linear layers in bfloat16, if asked for and on a GPU: CPUs are far slower at it."""
        enabled = self.optimisation.bf16 and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _train_step(self, batch: Batch) -> Tensor:
        draws = self.draw(self.step, batch)
        with self._precision():
            loss = self.task.loss(self.parallel, batch, draws)
        sums = self.workers.all_reduce(torch.stack((loss.total.detach(), loss.n_entries)))
        # Gradients are averaged over the workers: this makes them those of Σ total / Σ count.
        (loss.total * (self.workers.world_size / sums[1].clamp_min(1))).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.optimisation.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.n_steps, self.n_warmup, self.optimisation)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.ema is not None:
            decay = ema_decay(self.step, self.ema, warmup=self.ema_warmup)
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay
                )
        self.step += 1
        return sums.double()

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> float:
        """Mean validation loss of the (averaged) weights, with the same draws at every call.

        Raises ValueError without validation trials, FloatingPointError when it is not finite.
        """
        self.averaged.eval()
        sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        for i, batch in enumerate(batches):
            batch = batch.to(self.device)
            generator = keyed_torch_generator(
                self.device, self.seed, VALIDATE, i, self.workers.rank
            )
            draws = self.task.validation_draw(batch, generator)
            with self._precision():
                loss = self.task.validation_loss(self.averaged, batch, draws)
            sums += torch.stack((loss.total, loss.n_entries.to(loss.total.dtype)))
        total, count = self.workers.all_reduce(sums).tolist()
        if count == 0:
            raise ValueError("The validation split has no trials. Ingest the dataset with some.")
        if not math.isfinite(total):
            raise FloatingPointError(self._diverged("validation", total))
        return float(total / count)

    @torch.no_grad()
    def score(self, probe: Scoring) -> float | None:
        """What `probe` makes of the (averaged) weights; training goes on as if it had not been called.

        None where they give nothing to score, as rates that no spikes can be drawn for: a network may recover.
        """
        modes = [(module, module.training) for module in self.averaged.modules()]
        self.averaged.eval()
        try:
            value = float(probe(self.averaged))
        except ValueError as error:
            log.warning("No score after epoch %d: %s", self.epoch, error)
            return None
        finally:
            for module, training in modes:
                module.training = training
        return value if math.isfinite(value) else None

    def record(self, row: dict[str, float]) -> None:
        """Add an epoch's figures to the history and keep the weights if its validation is the best."""
        self.result.history.append(row)
        if "val_loss" not in row:
            return
        if row["val_loss"] < self.result.best_loss:
            self.result.best = _weights(self.averaged)
            self.result.best_epoch, self.result.best_loss = self.epoch, row["val_loss"]
            self.stale = 0
        else:
            self.stale += 1

    def checkpoint(self) -> bytes:
        """Everything needed to go on as if nothing had happened."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.ema is not None else None,
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "stale": self.stale,
            "best": self.result.best,
            "best_epoch": self.result.best_epoch,
            "best_loss": self.result.best_loss,
            "history": self.result.history,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Continue from what `checkpoint` returned; only tensors and numbers are read, no code."""
        state = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step, self.stale = state["epoch"], state["step"], state["stale"]
        best = {k: v.cpu() for k, v in state["best"].items()}
        self.result = Result(best, state["best_epoch"], state["best_loss"], state["history"])


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


OnEpoch = Callable[[dict[str, float], Callable[[], bytes]], None]


def fit(
    trainer: Trainer,
    data: ResidentData,
    on_epoch: OnEpoch | None = None,
    probe: Scoring | None = None,
) -> Result:
    """Train until the epochs or the patience are used up, from wherever `trainer` stands.

    `on_epoch(row, checkpoint)` is called after every epoch with its figures and a function that gives the
    checkpoint; figures are epoch, step, train_loss, val_loss (when validated), learning_rate, seconds,
    score (after the epochs of `probe`, whose time is not in the seconds), and time, the epoch's end in Unix seconds.
    """
    keep_freed_memory()
    while not trainer.done:
        start = time.perf_counter()
        row: dict[str, float] = {
            "train_loss": trainer.train_epoch(data.train_batches(trainer.epoch))
        }
        every = trainer.optimisation.validate_every
        if trainer.epoch % every == 0 or trainer.epoch == trainer.optimisation.epochs:
            row["val_loss"] = trainer.validate(data.validation_batches())
        row |= {
            "epoch": trainer.epoch,
            "step": trainer.step,
            "learning_rate": trainer.optimiser.param_groups[0]["lr"],
            "seconds": time.perf_counter() - start,
        }
        if probe is not None and trainer.epoch in probe.epochs:
            score = trainer.score(probe)
            row |= {} if score is None else {"score": score}
        row["time"] = time.time()
        trainer.record(row)
        if on_epoch is not None:
            on_epoch(row, trainer.checkpoint)
    return trainer.result
