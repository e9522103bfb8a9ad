"""What is sampled: from which model, how, for what, and the ranges of trials that it is done in.

A range is what one shard holds. It follows from the model and what is asked for, never from who does the work, so
the dataset is the same, file by file, however many do it. Ranges begin at multiples of `BLOCK`: see there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ldns_ray.data.shard_writer import SHARD_BYTES
from ldns_ray.models.blocks import BLOCK
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.requests import Requests
from ldns_ray.settings import fingerprint
from ldns_ray.stages import model_fingerprint

VERSION = 1
"""Raised by hand when the same plan gives other bytes."""


class Range(NamedTuple):
    """Trials `start` … `stop - 1`, the shard of this number."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """A dataset to sample. Made by `plan_samples`, which checks it."""

    model_uri: str
    model_fingerprint: str
    n: int
    sampler: str
    n_steps: int
    guidance: float
    seed: int
    device: str
    """Kind of device, cpu or cuda: numbers differ between them by rounding."""
    per_range: int
    asked: str
    """Digest of the lengths, conditions and covariates that were given, or nothing where all are drawn."""
    given: Requests | None
    """What was given, with what was drawn to complete it; None where each range draws its own."""

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that follow from all that the samples' bytes follow from."""
        return fingerprint(VERSION, self.choices)

    @property
    def choices(self) -> dict[str, Any]:
        """What tells this plan from others: name → JSON value."""
        return {
            "model": self.model_fingerprint, "n": self.n, "sampler": self.sampler, "n_steps": self.n_steps,
            "guidance": self.guidance, "seed": self.seed, "lengths and conditions": self.asked, "device": self.device,
            "trials of a shard": self.per_range,
        }  # fmt: skip

    @property
    def ranges(self) -> list[Range]:
        """All of them, in order."""
        starts = range(0, self.n, self.per_range)
        return [Range(i, s, min(s + self.per_range, self.n)) for i, s in enumerate(starts)]

    def rows(self, trials: Range) -> Requests | None:
        """What was given for a range."""
        return None if self.given is None else self.given.rows(trials.start, trials.stop)

    def without_given(self) -> "Plan":
        """The same plan for other processes, to which `rows` travel range by range."""
        plan = replace(self, given=None)
        assert plan.key == self.key
        return plan


def plan_samples(
    model: LDNS,
    model_uri: str,
    n: int,
    *,
    sampler: str,
    n_steps: int,
    seed: int,
    guidance: float = 1.0,
    n_bins: int | Sequence[int] | np.ndarray | None = None,
    condition: Mapping[str, np.ndarray] | None = None,
    covariates: Mapping[str, Sequence[np.ndarray]] | None = None,
    device: str = "cpu",
    shard_bytes: int = SHARD_BYTES,
) -> Plan:
    """The plan to sample `n` trials of the model that lies at `model_uri`: see `LDNS.sample`.

    Memory does not grow with `n` unless lengths, conditions or covariates are given: what is drawn, is drawn by each
    range for itself. shard_bytes: roughly the uncompressed size of a shard, if its trials are as long as the mean.
    Raises ValueError for all that is wrong with what is asked, before a trial is sampled.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}.")
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}.")
    model.check_sampling(sampler, n_steps, guidance)
    given = None
    if n_bins is None and not condition and not covariates:
        model.requests(min(n, BLOCK), seed=seed)
        mean_bins = model.training.n_bins_S.mean()
    else:
        given = model.requests(n, n_bins, condition, covariates, seed=seed)
        mean_bins = given.n_bins.mean()
    blocks = int(shard_bytes / (mean_bins * bytes_per_bin(model)) / BLOCK)
    return Plan(
        model_uri, model_fingerprint(model_uri), n, sampler, n_steps, float(guidance), seed, device,
        max(1, blocks) * BLOCK, "" if given is None else digest(given), given,
    )  # fmt: skip


def bytes_per_bin(model: LDNS) -> int:
    """Of a sampled trial in memory: counts of one byte, rates, latents and covariates of four."""
    n_units, n_covariates = len(model.unit_names), sum(model.conditioning.covariates.values())
    return n_units + 4 * (n_units + len(model.latent_mean_D) + n_covariates)


def digest(requests: Requests) -> str:
    """Sixteen hexadecimal digits of lengths, conditions and covariates."""
    sha256 = hashlib.sha256(requests.n_bins.astype("<i8").tobytes())
    for name, array in sorted(requests.conditions.items()):
        sha256.update(f"condition:{name}:{array.shape}".encode())
        sha256.update(np.ascontiguousarray(array, "<f4").tobytes())
    for name, traces in sorted(requests.covariates.items()):
        sha256.update(f"covariate:{name}".encode())
        for trace in traces:
            sha256.update(str(trace.shape).encode())
            sha256.update(np.ascontiguousarray(trace, "<f4").tobytes())
    return sha256.hexdigest()[:16]
