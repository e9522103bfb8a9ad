"""What there is to say of a dataset, summed up in one pass over its trials.

Shapes: S trials, T bins, N units, d channels of a covariate or condition, K counts of spikes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ldns_ray.data.batches import TrialSet, trials_of
from ldns_ray.data.schema import Trial

MAX_VALUES = 32
"""A condition that has more distinct values is told by its range."""
CHUNK_ENTRIES = 2**20
"""Counts that are widened to 64 bits at a time."""


@dataclass
class Session:
    """Sums over the trials of one session."""

    n_trials: Counter[str] = field(default_factory=Counter)
    """Trials by split."""
    n_bins: int = 0
    """Bins of all trials together."""
    min_bins: int = 0
    max_bins: int = 0
    spikes_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    rate_by_trial: dict[str, float] = field(default_factory=dict)
    """trial_id -> spikes per bin and unit."""


@dataclass
class Extent:
    """Least and largest value of each channel of a covariate."""

    least_d: np.ndarray
    most_d: np.ndarray


@dataclass
class Values(Extent):
    """What a condition is in the trials.

    counts: value -> trials, rounded to 4 decimals; None where there are more than `MAX_VALUES`.
    is_direction: every value is a cosine and a sine.
    """

    counts: Counter[tuple[float, ...]] | None
    is_direction: bool


@dataclass
class Description:
    """Sums over the trials of a dataset, or of one of its splits, and one trial as an example."""

    bin_width_s: float
    sessions: dict[str, Session]
    entries_K: np.ndarray
    """How many entries, a bin of a unit each, hold 0, 1, 2, … spikes."""
    population_K: np.ndarray
    """How many bins hold 0, 1, 2, … spikes, all units together."""
    covariates: dict[str, Extent]
    conditions: dict[str, Values]
    example: Trial

    @property
    def n_trials(self) -> int:
        return sum(session.n_trials.total() for session in self.sessions.values())

    @property
    def n_bins(self) -> int:
        return sum(session.n_bins for session in self.sessions.values())

    @property
    def spikes_N(self) -> np.ndarray:
        """(N,) spikes of each unit."""
        return np.sum([session.spikes_N for session in self.sessions.values()], axis=0)

    @property
    def rates_N(self) -> np.ndarray:
        """(N,) mean rate of each unit in Hz."""
        return self.spikes_N / (self.n_bins * self.bin_width_s)

    @property
    def mean_count(self) -> float:
        """Spikes per bin and unit."""
        return float(np.arange(len(self.entries_K)) @ self.entries_K / self.entries_K.sum())

    @property
    def max_count(self) -> int:
        """Most spikes of a unit in a bin."""
        return len(self.entries_K) - 1

    @property
    def zero_share(self) -> float:
        """Share of the entries that hold no spike."""
        return float(self.entries_K[0] / self.entries_K.sum())


def describe(parts: Iterable[tuple[str, TrialSet]], trial_id: str | None = None) -> Description:
    """Sum up (split, trials) as `passes.iter_trialsets` gives them, each trial once.

    trial_id: of the example; None: the first by name.
    What is kept of a trial is its name and its mean count.
    Raises ValueError where no trial has that name, and where there are no trials.
    """
    sessions: dict[str, Session] = {}
    entries_K = population_K = np.zeros(0, np.int64)
    covariates: dict[str, Extent] = {}
    conditions: dict[str, Values] = {}
    example: Trial | None = None
    first_ids: list[str] = []
    bin_width_s = 0.0
    for split, trials in parts:
        bin_width_s = trials.bin_width_s
        _add_sessions(sessions, split, trials)
        flat = trials.spikes.reshape(-1)
        for start in range(0, len(flat), CHUNK_ENTRIES):
            entries_K = _add_histogram(entries_K, flat[start : start + CHUNK_ENTRIES])
        population_K = _add_histogram(population_K, trials.spikes.sum(axis=1, dtype=np.int64))
        for name, column in trials.covariates.items():
            covariates[name] = _wider(_extent(column), covariates.get(name))
        for name, values_Sd in trials.conditions.items():
            conditions[name] = _more_values(values_Sd, conditions.get(name))
        example = _example(example, split, trials, trial_id)
        first_ids = sorted([*first_ids, *trials.trial_ids[:5]])[:5]
    if not sessions:
        raise ValueError("there are no trials to describe.")
    if example is None:
        n = sum(len(session.rate_by_trial) for session in sessions.values())
        raise ValueError(f"no trial {trial_id!r} among {n}; the first are: {', '.join(first_ids)}.")
    return Description(
        bin_width_s, dict(sorted(sessions.items())), entries_K, population_K, covariates, conditions, example
    )  # fmt: skip


def _add_sessions(sessions: dict[str, Session], split: str, trials: TrialSet) -> None:
    # Many times as fast as `np.add.reduceat` over all trials.
    spikes_SN = np.stack([x_TN.sum(axis=0, dtype=np.int64) for x_TN in trials.spikes_list()])
    rate_S = spikes_SN.mean(axis=1) / trials.n_bins_S
    names, session_S = np.unique(trials.sessions, return_inverse=True)
    for i, name in enumerate(names.tolist()):
        own_s = np.flatnonzero(session_S == i)
        n_bins_s = trials.n_bins_S[own_s]
        least, most = int(n_bins_s.min()), int(n_bins_s.max())
        session = sessions.get(name)
        if session is None:
            session = sessions[name] = Session(
                min_bins=least, max_bins=most, spikes_N=np.zeros(trials.n_units, np.int64)
            )
        session.n_trials[split] += len(own_s)
        session.n_bins += int(n_bins_s.sum())
        session.min_bins, session.max_bins = min(session.min_bins, least), max(session.max_bins, most)  # fmt: skip
        session.spikes_N = session.spikes_N + spikes_SN[own_s].sum(axis=0)
        session.rate_by_trial |= {trials.trial_ids[s]: float(rate_S[s]) for s in own_s}


def _add_histogram(sum_K: np.ndarray, counts: np.ndarray) -> np.ndarray:
    more_K = np.bincount(counts, minlength=len(sum_K))
    more_K[: len(sum_K)] += sum_K
    return more_K


def _extent(rows_Xd: np.ndarray) -> Extent:
    return Extent(rows_Xd.min(axis=0), rows_Xd.max(axis=0))


def _wider(extent: Extent, before: Extent | None) -> Extent:
    if before is None:
        return extent
    return Extent(
        np.minimum(extent.least_d, before.least_d), np.maximum(extent.most_d, before.most_d)
    )


def _more_values(values_Sd: np.ndarray, before: Values | None) -> Values:
    on_circle = values_Sd.shape[1] == 2 and np.allclose(np.hypot(*values_Sd.T), 1, atol=1e-3)
    counts = Counter() if before is None else before.counts
    if counts is not None:
        # Adding 0 makes -0 the same as 0.
        distinct, n = np.unique(np.round(values_Sd, 4) + 0.0, axis=0, return_counts=True)
        counts = counts + Counter(dict(zip(map(tuple, distinct.tolist()), n.tolist(), strict=True)))
        counts = counts if len(counts) <= MAX_VALUES else None
    extent = _wider(_extent(values_Sd), before)
    is_direction = bool(on_circle) and (before is None or before.is_direction)
    return Values(extent.least_d, extent.most_d, counts, is_direction)


def _example(
    example: Trial | None, split: str, trials: TrialSet, trial_id: str | None
) -> Trial | None:
    """The trial asked for, or the first by name of those so far; a copy, so that the rest can be forgotten."""
    wanted = min(trials.trial_ids) if trial_id is None else trial_id
    is_here = wanted in trials.trial_ids
    if not is_here or (example is not None and example.trial_id <= wanted):
        return example
    return trials_of(trials.subset([trials.trial_ids.index(wanted)]), split)[0]


def _value_text(value: tuple[float, ...], *, is_direction: bool) -> str:
    """A condition's value for reading: a direction as its angle, one number as it is, others in brackets."""
    if is_direction:
        # The values are rounded: the angle is right to about a hundredth of a degree.
        return f"{round(float(np.degrees(np.arctan2(value[1], value[0]))), 1) % 360:g}°"
    text = ", ".join(f"{x:g}" for x in value)
    return text if len(value) == 1 else f"({text})"


def values_in_order(values: Values) -> Mapping[str, int]:
    """The values of a condition that has few, as text, in order (directions by angle), with their trials."""
    if values.counts is None:
        return {}

    def key(value: tuple[float, ...]) -> tuple[float, ...]:
        return (np.arctan2(value[1], value[0]) % (2 * np.pi),) if values.is_direction else value

    return {
        _value_text(v, is_direction=values.is_direction): values.counts[v]
        for v in sorted(values.counts, key=key)
    }
