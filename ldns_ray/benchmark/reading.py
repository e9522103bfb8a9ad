"""What an epoch of training trials costs to read: from memory, from disk, through Ray Data, by PyTorch's loader.

Shapes: B trials of a batch, T bins, N units. Needs no more than the rest of the benchmark to be imported; streams
are timed where pyarrow and Ray are installed.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ldns_ray.benchmark.timing import in_turns
from ldns_ray.data.batches import TrialSet, trials_of
from ldns_ray.training.loop import ResidentData

Row = dict[str, float | str | None]


@dataclass(frozen=True)
class Recording:
    """Trials of equal length, and the batches they are read in."""

    n_trials: int
    n_bins: int
    n_units: int
    batch_size: int

    def trials(self) -> TrialSet:
        """Random counts."""
        generator = np.random.default_rng(0)
        shape = (self.n_trials * self.n_bins, self.n_units)
        return TrialSet(
            n_bins_S=np.full(self.n_trials, self.n_bins),
            spikes=generator.poisson(0.3, shape).astype(np.uint8),
            covariates={},
            conditions={},
            latents=None,
            rates=None,
            trial_ids=[f"{i:06d}" for i in range(self.n_trials)],
            sessions=["s"] * self.n_trials,
            bin_width_s=0.005,
        )


REACH = Recording(728, 140, 97, 64)
"""The size of a session of delayed reaches in dorsal premotor cortex."""

Epoch = Callable[[int], Iterator[torch.Tensor]]
"""Of an epoch's number: its batches (B, T, N), float32."""


class _Trials(Dataset[torch.Tensor]):
    """Counts as PyTorch's loader takes them: a trial (T, N) at a time."""

    def __init__(self, trials: TrialSet) -> None:
        self.spikes = trials.spikes_list()

    def __len__(self) -> int:
        return len(self.spikes)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.spikes[i]).to(torch.float32)


def tensors(trials: TrialSet, batch_size: int) -> Epoch:
    """One float32 tensor of all trials, of which batches are taken: the least that an epoch can cost."""
    whole_STN = torch.from_numpy(np.stack(trials.spikes_list())).to(torch.float32)

    def epoch(number: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(number)
        for index in torch.randperm(len(whole_STN), generator=generator).split(batch_size):
            yield whole_STN[index]

    return epoch


def resident(trials: TrialSet, batch_size: int) -> Epoch:
    """The batches of the training loop, of trials in memory."""
    data = ResidentData(trials, trials, batch_size, seed=0)
    return lambda number: (batch.spikes_BTN for batch in data.train_batches(number))


def loader(trials: TrialSet, batch_size: int, n_workers: int) -> Epoch:
    """`torch.utils.data.DataLoader`, its processes kept from epoch to epoch."""
    batches = DataLoader(
        _Trials(trials), batch_size, shuffle=True, num_workers=n_workers, persistent_workers=n_workers > 0
    )  # fmt: skip
    return lambda number: iter(batches)


def streamed(uri: str, batch_size: int, *, through_ray: bool) -> Epoch:
    """The batches of the training loop, read from the dataset's shards."""
    from ldns_ray.data.streaming import Stream, batches

    stream = Stream(uri, "train", ["spikes"], through_ray)

    def epoch(number: int) -> Iterator[torch.Tensor]:
        groups = stream.groups(batch_size, seed=0, epoch=number)
        return (batch.spikes_BTN for batch in batches(groups, stream.blank()))

    return epoch


def reading(recording: Recording = REACH, *, repeats: int) -> list[Row]:
    """Per way of reading: `epoch_s`, `trials_per_s`, and what an epoch costs more than taking tensors (`extra_s`)."""
    trials, size = recording.trials(), recording.batch_size
    ways: dict[str, Epoch] = {
        "tensors in memory": tensors(trials, size),
        "resident trials": resident(trials, size),
        "DataLoader": loader(trials, size, 0),
        "DataLoader, 2 processes": loader(trials, size, 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        if installed("pyarrow", "psutil"):
            from ldns_ray.data.shards import write_dataset

            write_dataset(trials_of(trials, "train"), folder, name="reading", bin_width_s=0.005)
            ways["streamed by a thread"] = streamed(folder, size, through_ray=False)
            if installed("ray"):
                from ldns_ray.training.distributed import connect_ray

                connect_ray()
                ways["streamed by Ray Data"] = streamed(folder, size, through_ray=True)
        seconds = in_turns(
            [_counted(epoch, recording.n_trials) for epoch in ways.values()], repeats
        )
    return [
        {"way": way, "epoch_s": s, "trials_per_s": round(recording.n_trials / s), "extra_s": s - seconds[0]}
        for way, s in zip(ways, seconds, strict=True)
    ]  # fmt: skip


def _counted(epoch: Epoch, n_trials: int) -> Callable[[], None]:
    """A function that runs through the next epoch, whose trials must be all there."""
    numbers = iter(range(1 << 30))

    def run() -> None:
        if (n := sum(len(batch) for batch in epoch(next(numbers)))) != n_trials:
            raise RuntimeError(f"An epoch must have {n_trials} trials, got {n}.")

    return run


def installed(*packages: str) -> bool:
    """Whether these can be imported."""
    try:
        for package in packages:
            importlib.import_module(package)
    except ImportError:
        return False
    return True
