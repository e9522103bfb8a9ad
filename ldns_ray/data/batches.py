"""Trials in memory as columns, and the padded batches that training takes from them.

Shapes: S trials of a set, B trials of a batch, T bins, N units, D latents, K covariate channels,
C condition channels. Columns are flat over trials: bin t of trial s is row starts_S[s] + t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ldns_ray.data.schema import SPLITS, Trial

BUCKET_BATCHES = 8


@dataclass
class Batch:
    """Trials side by side, zero-padded to the longest.

    spikes_BTN: float32 counts. mask_BT: True inside a trial; None where nothing is padded.
    n_bins_B: int64 trial lengths. index_B: int64 places of the trials in their set.
    covariates: name -> (B, T, K) float32. conditions: name -> (B, C) float32.
    latents_BTD: float32, or None where the set has none.
    """

    spikes_BTN: torch.Tensor
    mask_BT: torch.Tensor | None
    n_bins_B: torch.Tensor
    covariates: dict[str, torch.Tensor]
    conditions: dict[str, torch.Tensor]
    latents_BTD: torch.Tensor | None
    index_B: torch.Tensor

    def __len__(self) -> int:
        return int(self.spikes_BTN.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(
            self.spikes_BTN.to(device, non_blocking=True),
            move(self.mask_BT),
            self.n_bins_B.to(device, non_blocking=True),
            {name: x.to(device, non_blocking=True) for name, x in self.covariates.items()},
            {name: x.to(device, non_blocking=True) for name, x in self.conditions.items()},
            move(self.latents_BTD),
            self.index_B.to(device, non_blocking=True),
        )


@dataclass(frozen=True, eq=False)
class TrialSet:
    """Trials in memory, column by column.

    n_bins_S: (S,) int64. spikes: (sum of T, N) uint8 or uint16. covariates: name -> (sum of T, d).
    conditions: name -> (S, d). latents: (sum of T, D). rates: (sum of T, N), counts per bin.
    """

    n_bins_S: np.ndarray
    spikes: np.ndarray
    covariates: Mapping[str, np.ndarray]
    conditions: Mapping[str, np.ndarray]
    latents: np.ndarray | None
    rates: np.ndarray | None
    trial_ids: list[str]
    sessions: list[str]
    bin_width_s: float
    starts_S: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total = int(self.n_bins_S.sum())
        columns = {"spikes": self.spikes, "latents": self.latents, "rates": self.rates}
        columns |= {f"covariate {name!r}": x for name, x in self.covariates.items()}
        for what, column in columns.items():
            if column is not None and len(column) != total:
                raise ValueError(f"{what} must have {total} rows (all bins), got {len(column)}.")
        per_trial: dict[str, Sequence[str] | np.ndarray] = {
            "trial_ids": self.trial_ids,
            "sessions": self.sessions,
        }
        per_trial |= {f"condition {name!r}": x for name, x in self.conditions.items()}
        for what, values in per_trial.items():
            if len(values) != len(self.n_bins_S):
                raise ValueError(f"{what} must have {len(self.n_bins_S)} rows, got {len(values)}.")
        starts_S = np.zeros(len(self.n_bins_S), dtype=np.int64)
        np.cumsum(self.n_bins_S[:-1], out=starts_S[1:])
        object.__setattr__(self, "starts_S", starts_S)

    @classmethod
    def from_trials(cls, trials: Sequence[Trial], bin_width_s: float) -> TrialSet:
        if not trials:
            raise ValueError("a TrialSet needs at least 1 trial, got none.")
        first = trials[0]

        def joined(arrays: list[np.ndarray | None]) -> np.ndarray | None:
            present = [a for a in arrays if a is not None]
            if 0 < len(present) < len(arrays):
                raise ValueError("rates and latents must be there for all trials or for none.")
            return np.concatenate(present) if present else None

        return cls(
            n_bins_S=np.array([trial.n_bins for trial in trials], dtype=np.int64),
            spikes=np.concatenate([trial.spikes for trial in trials]),
            covariates={
                name: np.concatenate([trial.covariates[name] for trial in trials])
                for name in first.covariates
            },
            conditions={
                name: np.stack([trial.conditions[name] for trial in trials])
                for name in first.conditions
            },
            latents=joined([trial.latents for trial in trials]),
            rates=joined([trial.rates for trial in trials]),
            trial_ids=[trial.trial_id for trial in trials],
            sessions=[trial.session for trial in trials],
            bin_width_s=bin_width_s,
        )

    def __len__(self) -> int:
        return len(self.n_bins_S)

    @property
    def n_units(self) -> int:
        return int(self.spikes.shape[1])

    @property
    def dense(self) -> bool:
        """All trials have the same number of bins."""
        return len(self) == 0 or bool((self.n_bins_S == self.n_bins_S[0]).all())

    def per_trial(self, array: np.ndarray) -> list[np.ndarray]:
        """Views (T_i, ...) of a flat column, one per trial."""
        return [array[s : s + n] for s, n in zip(self.starts_S, self.n_bins_S, strict=True)]

    def spikes_list(self) -> list[np.ndarray]:
        """Views (T_i, N) of the spikes, one per trial."""
        return self.per_trial(self.spikes)

    def latents_list(self) -> list[np.ndarray]:
        """Views (T_i, D) of the latents, one per trial."""
        return self.per_trial(self._required("latents", self.latents))

    def rates_list(self) -> list[np.ndarray]:
        """Views (T_i, N) of the rates, one per trial."""
        return self.per_trial(self._required("rates", self.rates))

    def covariates_list(self, name: str) -> list[np.ndarray]:
        """Views (T_i, d) of one covariate, one per trial."""
        if name not in self.covariates:
            raise ValueError(f"no covariate {name!r}; there are: {sorted(self.covariates)}.")
        return self.per_trial(self.covariates[name])

    @staticmethod
    def _required(what: str, column: np.ndarray | None) -> np.ndarray:
        if column is None:
            raise ValueError(f"these trials have no {what}: the dataset or the columns lack them.")
        return column

    def subset(self, indices: Sequence[int] | np.ndarray) -> TrialSet:
        """The trials at `indices`, in that order, copied."""
        index = np.asarray(indices, dtype=np.int64)
        n_bins = self.n_bins_S[index]
        rows = ragged_rows(self.starts_S[index], n_bins)
        return TrialSet(
            n_bins_S=n_bins,
            spikes=self.spikes[rows],
            covariates={name: x[rows] for name, x in self.covariates.items()},
            conditions={name: x[index] for name, x in self.conditions.items()},
            latents=None if self.latents is None else self.latents[rows],
            rates=None if self.rates is None else self.rates[rows],
            trial_ids=[self.trial_ids[i] for i in index],
            sessions=[self.sessions[i] for i in index],
            bin_width_s=self.bin_width_s,
        )

    def batch(self, indices: Sequence[int] | np.ndarray, *, pad_to: int | None = None) -> Batch:
        """The trials at `indices` as one batch, zero-padded to the longest, or to `pad_to` bins."""
        index = np.asarray(indices, dtype=np.int64)
        n_bins = self.n_bins_S[index]
        longest = int(n_bins.max()) if len(index) else 0
        n_rows = longest if pad_to is None else pad_to
        if n_rows < longest:
            raise ValueError(f"pad_to must be at least the longest trial, {longest}, got {pad_to}.")
        time = np.arange(n_rows)
        inside = time < n_bins[:, None]
        # Padding reads row 0 and is zeroed afterwards: one gather, no loop over trials.
        rows = np.where(inside, self.starts_S[index][:, None] + time, 0)
        padded = not bool(inside.all())
        outside = torch.from_numpy(~inside) if padded else None

        def gather(column: np.ndarray) -> torch.Tensor:
            values = torch.from_numpy(column[rows]).to(torch.float32)
            return values if outside is None else values.masked_fill_(outside[:, :, None], 0.0)

        return Batch(
            spikes_BTN=gather(self.spikes),
            mask_BT=torch.from_numpy(inside) if padded else None,
            n_bins_B=torch.from_numpy(n_bins),
            covariates={name: gather(x) for name, x in self.covariates.items()},
            conditions={name: torch.from_numpy(x[index]) for name, x in self.conditions.items()},
            latents_BTD=None if self.latents is None else gather(self.latents),
            index_B=torch.from_numpy(index.copy()),
        )

    def uncounted_batch(self) -> Batch:
        """The first trial as a batch in which nothing is inside a trial: it counts nothing."""
        batch = self.batch([0])
        batch.mask_BT = torch.zeros(batch.spikes_BTN.shape[:2], dtype=torch.bool)
        return batch


def ragged_rows(starts_S: np.ndarray, n_bins_S: np.ndarray) -> np.ndarray:
    """Row numbers starts_S[s] … starts_S[s] + n_bins_S[s] - 1, one trial after another."""
    offsets = np.cumsum(n_bins_S) - n_bins_S
    return np.repeat(starts_S - offsets, n_bins_S) + np.arange(int(n_bins_S.sum()))


def trials_of(
    trials: TrialSet,
    split: str | Sequence[str],
    indices: Sequence[int] | np.ndarray | None = None,
) -> list[Trial]:
    """Trials as views of a set. split: one for all, or one per trial taken."""
    index = np.arange(len(trials)) if indices is None else np.asarray(indices, dtype=np.int64)
    splits = [split] * len(index) if isinstance(split, str) else list(split)
    if len(splits) != len(index) or set(splits) - set(SPLITS):
        raise ValueError(f"split must be one of {SPLITS}, or {len(index)} of them, got {split!r}.")
    result = []
    for i, name in zip(index, splits, strict=True):
        rows = slice(int(trials.starts_S[i]), int(trials.starts_S[i] + trials.n_bins_S[i]))
        result.append(
            Trial(
                spikes=trials.spikes[rows],
                trial_id=trials.trial_ids[i],
                session=trials.sessions[i],
                split=name,
                covariates={key: x[rows] for key, x in trials.covariates.items()},
                conditions={key: x[i] for key, x in trials.conditions.items()},
                rates=None if trials.rates is None else trials.rates[rows],
                latents=None if trials.latents is None else trials.latents[rows],
            )
        )
    return result


def epoch_batches(
    n_bins_S: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    shuffle: bool = True,
) -> list[np.ndarray]:
    """This rank's trial indices for each global batch of one epoch.

    The global batches depend on (seed, epoch) only; each rank takes every world_size-th trial of
    each. All ranks get equally many arrays, so they stay in step; one may be empty where the last,
    smaller batch has fewer trials than there are ranks. Over all ranks every trial comes exactly
    once. Trials of unequal length are sorted within random windows of `BUCKET_BATCHES` batches,
    which puts similar lengths together and cuts padding.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0 … {world_size - 1}, got {rank}.")
    lengths = np.asarray(n_bins_S)
    n_trials = len(lengths)
    order = np.arange(n_trials)
    if not shuffle:
        batches = _chunks(order, batch_size)
        return [batch[rank::world_size] for batch in batches]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    order = rng.permutation(n_trials)
    if n_trials and (lengths != lengths[0]).any():
        # The remainder is set aside before sorting, else it would always hold the longest trials.
        n_full = n_trials - n_trials % batch_size
        windows = _chunks(order[:n_full], BUCKET_BATCHES * batch_size)
        batches = [
            batch
            for window in windows
            for batch in _chunks(window[np.argsort(lengths[window], kind="stable")], batch_size)
        ]
        batches = [batches[i] for i in rng.permutation(len(batches))]
        batches += _chunks(order[n_full:], batch_size)
    else:
        batches = _chunks(order, batch_size)
    return [batch[rank::world_size] for batch in batches]


def _chunks(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[i : i + size] for i in range(0, len(order), size)]
