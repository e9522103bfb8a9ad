"""What the denoiser is told of a trial: its length, per-trial conditions, per-bin covariates.

Shapes: S trials of a set, B of a batch, T bins, C condition entries, K covariate channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LENGTH = "length"
"""The condition that every dataset has: the log of the trial's bins."""


@dataclass(frozen=True)
class Conditioning:
    """Names, sizes and training statistics of conditions and covariates, in the order of the inputs."""

    conditions: dict[str, int]
    """Entries of each condition."""
    covariates: dict[str, int]
    """Channels of each covariate."""
    condition_mean_C: np.ndarray
    condition_std_C: np.ndarray
    covariate_mean_K: np.ndarray
    covariate_std_K: np.ndarray

    @property
    def n_conditions(self) -> int:
        return sum(self.conditions.values())

    @property
    def n_covariates(self) -> int:
        return sum(self.covariates.values())

    @classmethod
    def fit(
        cls,
        condition_names: tuple[str, ...],
        covariate_names: tuple[str, ...],
        *,
        n_bins_S: np.ndarray,
        conditions: Mapping[str, np.ndarray],
        covariates: Mapping[str, np.ndarray],
    ) -> "Conditioning":
        """From the training set: conditions (S, C) by name, covariates (all bins, K) by name.

        Raises ValueError for a name that the dataset does not have.
        """
        for kind, names, there in (
            ("condition", condition_names, (LENGTH, *conditions)),
            ("covariate", covariate_names, tuple(covariates)),
        ):
            for name in names:
                if name not in there:
                    raise ValueError(
                        f"The dataset has no {kind} {name!r}; it has: {', '.join(there) or 'none'}. "
                        f"Set diffusion.{kind}s, or ingest the recording with it."
                    )
        with_length = {**conditions, LENGTH: np.log(n_bins_S.astype(np.float64))[:, None]}

        def statistics(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            if not columns:
                return np.zeros(0, np.float32), np.ones(0, np.float32)
            mean = np.concatenate([c.mean(0, dtype=np.float64) for c in columns])
            std = np.concatenate([c.std(0, dtype=np.float64) for c in columns])
            return mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32)

        condition_mean, condition_std = statistics([with_length[n] for n in condition_names])
        covariate_mean, covariate_std = statistics([covariates[n] for n in covariate_names])
        return cls(
            {n: with_length[n].shape[1] for n in condition_names},
            {n: covariates[n].shape[1] for n in covariate_names},
            condition_mean, condition_std, covariate_mean, covariate_std,
        )  # fmt: skip

    def condition(self, n_bins_B: Tensor, conditions: Mapping[str, Tensor]) -> Tensor | None:
        """The standardised condition vectors (B, C), or None where the model has none."""
        if not self.conditions:
            return None
        with_length = {**conditions, LENGTH: n_bins_B.to(torch.float32).log()[:, None]}
        vector = torch.cat([with_length[name].to(torch.float32) for name in self.conditions], -1)
        mean, std = (
            torch.from_numpy(x).to(vector.device)
            for x in (self.condition_mean_C, self.condition_std_C)
        )
        return (vector - mean) / std

    @property
    def droppable(self) -> bool:
        """Whether there is anything but the length, which describes a trial's shape and is never dropped."""
        return bool(self.covariates) or any(name != LENGTH for name in self.conditions)

    def drop(
        self, condition_BC: Tensor | None, covariates_BTK: Tensor | None, dropped_B: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Standardised conditions and covariates, at their training mean, zero, where `dropped_B` is True.

        The length stays. This is what classifier-free guidance trains and samples its unconditional half on
        (Ho & Salimans 2022, Algorithm 1).
        """
        if condition_BC is not None:
            kept_C = torch.tensor(
                [name == LENGTH for name, size in self.conditions.items() for _ in range(size)],
                device=condition_BC.device,
            )
            condition_BC = condition_BC.masked_fill(dropped_B[:, None] & ~kept_C, 0.0)
        if covariates_BTK is not None:
            covariates_BTK = covariates_BTK.masked_fill(dropped_B[:, None, None], 0.0)
        return condition_BC, covariates_BTK

    def covariate(self, covariates: Mapping[str, Tensor]) -> Tensor | None:
        """The standardised covariates (B, T, K), or None where the model has none."""
        if not self.covariates:
            return None
        channels = torch.cat([covariates[name].to(torch.float32) for name in self.covariates], -1)
        mean, std = (
            torch.from_numpy(x).to(channels.device)
            for x in (self.covariate_mean_K, self.covariate_std_K)
        )
        return (channels - mean) / std
