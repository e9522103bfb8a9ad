"""What someone should know of a recording before training on it: facts that a dataset's card warns of.

They are gathered trial by trial, in memory that does not grow with the number of trials.
Shapes: N units, K blocks of successive trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ldns_ray.data.schema import Summary

MAX_RATE_HZ = 200.0
"""Mean rate above which a unit is hardly one neuron."""
MIN_RATE_HZ = 0.05
"""Mean rate, 3 spikes a minute, below which a unit leaves a model little to learn from."""
MIN_BINS = 10
"""Trials of fewer bins are called very short."""
POPULATION_FACTOR = 1.25
"""A session drifts if the population's mean rate differs by it between the first and last third of its trials."""
UNIT_FACTOR, UNIT_SHARE = 2.0, 0.1
"""It also does if so large a share of its units change their rates by this factor."""
DRIFT_ERRORS = 4.0
"""No difference below so many standard errors is called drift."""
MIN_DRIFT_TRIALS = 24
"""Sessions of fewer trials are not judged."""
MAX_SESSIONS = 64
"""Of sessions beyond these, in their order of arrival, nothing is kept that would show drift."""
N_BLOCKS = 48
"""Blocks of trials that a session is kept as; even, since full blocks are merged pairwise."""
N_NAMED = 5
"""Units and trials that are named as examples, and sessions whose drift is told."""


class Facts:
    """Gathers the facts of a stream of validated trials of one dataset."""

    def __init__(self) -> None:
        self._n_trials = 0
        self._n_bins = 0
        self._spikes_N = np.zeros(0, np.int64)
        self._empty = _Examples()
        self._short = _Examples()
        self._shortest = MIN_BINS
        self._sessions: dict[str, _Session] = {}

    def add(self, trial: Summary) -> None:
        spikes_N = trial.spikes_N
        self._spikes_N = self._spikes_N + spikes_N if self._n_trials else spikes_N
        self._n_trials += 1
        self._n_bins += trial.n_bins
        if not spikes_N.any():
            self._empty.add(trial.trial_id)
        if trial.n_bins < MIN_BINS:
            self._short.add(trial.trial_id)
            self._shortest = min(self._shortest, trial.n_bins)
        if trial.session not in self._sessions and len(self._sessions) < MAX_SESSIONS:
            self._sessions[trial.session] = _Session(len(spikes_N))
        if trial.session in self._sessions:
            self._sessions[trial.session].add(spikes_N, trial.n_bins)

    def warnings(self, bin_width_s: float, unit_names: Sequence[str]) -> list[str]:
        """One sentence per fact; none where nothing is remarkable."""
        return [
            *self._unit_warnings(bin_width_s, unit_names),
            *self._trial_warnings(),
            *self._drift_warnings(bin_width_s, unit_names),
        ]

    def _unit_warnings(self, bin_width_s: float, unit_names: Sequence[str]) -> list[str]:
        rate_N = self._spikes_N / (self._n_bins * bin_width_s)
        found = []
        silent = [unit_names[int(i)] for i in np.flatnonzero(rate_N == 0)]
        if silent:
            found.append(f"Silent units: {len(silent)} of {len(rate_N)} ({', '.join(silent)}).")
        rare_N = (rate_N > 0) & (rate_N < MIN_RATE_HZ)
        for words, bad_N in (
            (f"below {MIN_RATE_HZ:g} Hz", rare_N),
            (f"above {MAX_RATE_HZ:g} Hz", rate_N > MAX_RATE_HZ),
        ):
            at = np.flatnonzero(bad_N)
            some = ", ".join(f"{unit_names[i]} at {rate_N[i]:.3g} Hz" for i in at[:N_NAMED])
            if len(at):
                found.append(
                    f"Units with a mean rate {words}: {len(at)} of {len(rate_N)} ({some}{_rest(len(at))})."
                )
        return found

    def _trial_warnings(self) -> list[str]:
        found = []
        if self._empty.count:
            found.append(
                f"Trials without a spike: {self._empty.count} of {self._n_trials} ({self._empty})."
            )
        if self._short.count:
            found.append(
                f"Trials shorter than {MIN_BINS} bins: {self._short.count} of {self._n_trials} "
                f"({self._short}); the shortest has {self._shortest}."
            )
        return found

    def _drift_warnings(self, bin_width_s: float, unit_names: Sequence[str]) -> list[str]:
        told = [
            f"Session {name!r}: {change}."
            for name, session in self._sessions.items()
            if (change := session.drift(bin_width_s, unit_names))
        ]
        if len(told) > N_NAMED:
            told[N_NAMED:] = [f"Rates change likewise in {len(told) - N_NAMED} more sessions."]
        return told


class _Session:
    """Spike counts of a session in blocks of equally many successive trials, at most `N_BLOCKS`."""

    def __init__(self, n_units: int) -> None:
        self._spikes_KN = np.zeros((N_BLOCKS, n_units), np.uint32)
        self._n_bins_K = np.zeros(N_BLOCKS, np.int64)
        self._n_trials = 0
        self._block_trials = 1

    def add(self, spikes_N: np.ndarray, n_bins: int) -> None:
        if self._n_trials == N_BLOCKS * self._block_trials:
            for blocks in (self._spikes_KN, self._n_bins_K):
                blocks[: N_BLOCKS // 2] = blocks[::2] + blocks[1::2]
                blocks[N_BLOCKS // 2 :] = 0
            self._block_trials *= 2
        block = self._n_trials // self._block_trials
        self._spikes_KN[block] += spikes_N.astype(np.uint32)
        self._n_bins_K[block] += n_bins
        self._n_trials += 1

    def drift(self, bin_width_s: float, unit_names: Sequence[str]) -> str:
        """How rates change between the first and the last third of the trials, or ""."""
        if self._n_trials < MIN_DRIFT_TRIALS:
            return ""
        n_whole = self._n_trials // self._block_trials
        third = n_whole // 3
        rate_KN = self._spikes_KN[:n_whole] / (self._n_bins_K[:n_whole, None] * bin_width_s)
        early_KN, late_KN = rate_KN[:third], rate_KN[-third:]
        early, late = early_KN.mean(), late_KN.mean()
        changes = []
        if _differ(early_KN.mean(1), late_KN.mean(1), POPULATION_FACTOR):
            changes.append(
                f"the mean rate per unit changes from {early:.3g} Hz in the first third of its trials "
                f"to {late:.3g} Hz in the last"
            )
        drifting = np.flatnonzero(_differ(early_KN, late_KN, UNIT_FACTOR))
        n_active = int((rate_KN > 0).any(axis=0).sum())
        if len(drifting) > UNIT_SHARE * n_active:
            some = ", ".join(
                f"{unit_names[i]} from {early_KN[:, i].mean():.3g} to {late_KN[:, i].mean():.3g} Hz"
                for i in drifting[:N_NAMED]
            )
            changes.append(
                f"{len(drifting)} of {n_active} active units change by more than a factor of "
                f"{UNIT_FACTOR:g} between the first and last third ({some}{_rest(len(drifting))})"
            )
        return "; ".join(changes)


def _differ(early: np.ndarray, late: np.ndarray, factor: float) -> np.ndarray:
    """Whether the means over axis 0 differ by a factor, and by more than blocks vary among themselves."""
    a, b = early.mean(axis=0), late.mean(axis=0)
    error = np.sqrt((early.var(axis=0, ddof=1) + late.var(axis=0, ddof=1)) / len(early))
    return (np.maximum(a, b) > factor * np.minimum(a, b)) & (np.abs(a - b) > DRIFT_ERRORS * error)


class _Examples:
    """How many trials there are of a kind, and the names of the first."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, trial_id: str) -> None:
        self.count += 1
        if len(self._first) < N_NAMED:
            self._first.append(trial_id)

    def __str__(self) -> str:
        return ", ".join(map(repr, self._first)) + _rest(self.count)


def _rest(count: int) -> str:
    return f" and {count - N_NAMED} more" if count > N_NAMED else ""
