"""What a trial is, and the checks that trials must pass, each and together.

Shapes: S trials, T bins, N units, D latents, d channels of one covariate or condition.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SCHEMA_VERSION = 2
"""Of datasets on disk: raised whenever older code would misread them, or this code older datasets."""
FINGERPRINT_VERSION = 1
"""Of what a fingerprint is taken over: the same data keep theirs when only their layout on disk changes."""
SPLITS = ("train", "val", "test")
MAX_COUNT = 65535


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of a recording, or one sampled from a model.

    spikes: (T, N) uint8 or uint16, counts per bin. T may differ between trials, N may not.
    trial_id: unique in its dataset.
    session: the recording session (day, block) the trial belongs to.
    split: one of `SPLITS`; in a recording on its way in, what `ldns_ray.data.splits` shares out.
    covariates: name -> (T, d) float32, one row per bin.
    conditions: name -> (d,) float32, one vector per trial.
    rates: (T, N) float32, expected counts per bin, where known (simulations, samples).
    latents: (T, D) float32, where known.
    """

    spikes: np.ndarray
    trial_id: str
    session: str
    split: str
    covariates: Mapping[str, np.ndarray] = field(default_factory=dict)
    conditions: Mapping[str, np.ndarray] = field(default_factory=dict)
    rates: np.ndarray | None = None
    latents: np.ndarray | None = None

    @property
    def n_bins(self) -> int:
        return int(self.spikes.shape[0])

    @property
    def n_bytes(self) -> int:
        """Of the arrays with a row per bin, in memory."""
        arrays = (self.spikes, *self.covariates.values(), self.rates, self.latents)
        return sum(array.nbytes for array in arrays if array is not None)


def as_counts(array: Any, where: str) -> np.ndarray:
    """Spike counts as uint8, or uint16 where one exceeds 255.

    array: any shape; a 2-D one is read as (T, N), so that an error names bin and unit.
    where: the place named in errors, such as "trial 'a7'".
    Raises ValueError for negative, NaN, fractional, or too large counts.
    """
    counts = np.asarray(array)
    if counts.dtype == np.uint8:
        return counts
    if counts.dtype == np.bool_:
        return counts.astype(np.uint8)
    if counts.dtype.kind not in "iuf":
        raise ValueError(
            f"{where}: spikes must be numbers, got an array of {counts.dtype}. "
            "Give the number of spikes in each bin."
        )
    if counts.size == 0:
        return counts.astype(np.uint8)
    if counts.dtype.kind == "f":
        todo = "Cut the trial where the recording has gaps, or leave it out."
        _forbid(~np.isfinite(counts), counts, where, "spike counts must be finite", todo)
    todo = "Is it a mark for missing data? Leave out what is missing."
    _forbid(counts < 0, counts, where, "spike counts must not be negative", todo)
    if counts.dtype.kind == "f":
        todo = "Give the counts they were made of."
        what = "spike counts must be whole numbers (these look like rates or smoothed spikes)"
        _forbid(counts != np.floor(counts), counts, where, what, todo)
    todo = "Are these counts? Narrower bins have smaller ones."
    _forbid(counts > MAX_COUNT, counts, where, f"spike counts must be at most {MAX_COUNT}", todo)
    return counts.astype(np.uint8 if counts.max() <= 255 else np.uint16)


def _forbid(bad: np.ndarray, values: np.ndarray, where: str, what: str, todo: str) -> None:
    """Raise for the first bad entry, naming its place and value, and what to do."""
    if not bad.any():
        return
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    index = tuple(int(i) for i in at)
    place = f"bin {index[0]}, unit {index[1]}" if len(index) == 2 else f"index {index}"
    raise ValueError(
        f"{where}, {place}: {what}, got {values[at]} ({int(bad.sum())} such entries). {todo}"
    )


def check_bin_width(bin_width_s: float) -> float:
    """The bin width as a float. Raises ValueError unless it is a positive, finite number of seconds."""
    if not isinstance(bin_width_s, int | float | np.number) or not 0 < bin_width_s < math.inf:
        raise ValueError(
            f"bin_width_s must be positive, got {bin_width_s!r}. "
            "Give a finite number of seconds: 0.005 for bins of 5 ms."
        )
    return float(bin_width_s)


def _as_floats(
    array: Any, shape: tuple[int | None, ...], where: str, todo: str = "Reshape it."
) -> np.ndarray:
    """A finite float32 array of the given shape (None: any size there)."""
    values = np.asarray(array)
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{where} must be numbers, got an array of {values.dtype}.")
    matches = values.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, values.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{where} must have shape ({wanted}), got {values.shape}. {todo}")
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        values = np.ascontiguousarray(values, dtype=np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        at = np.unravel_index(int(np.argmax(bad)), bad.shape)
        index = tuple(int(i) for i in at)
        raise ValueError(
            f"{where} must be finite, got {values[at]} at index {index}. "
            "Fill what is missing, or leave the trial out."
        )
    return values


def check_text(text: Any, where: str) -> str:
    """The text. Raises ValueError unless it is a string that can be written as UTF-8."""
    if not isinstance(text, str):
        raise ValueError(f"{where} must be a string, got {reprlib.repr(text)}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{where} must be Unicode text without lone surrogates, got {reprlib.repr(text)}."
        ) from None
    return text


def _check_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where} must be a non-empty string, got {name!r}.")
    return check_text(name, where)


def validate_trial(trial: Trial, *, where: str = "", splits: Sequence[str] = SPLITS) -> Trial:
    """The trial with counts as uint8/uint16 and the rest as contiguous float32.

    where: the place named in errors before the trial, such as "a.npz: ". splits: those it may have.
    Raises ValueError, naming the trial and what is wrong with it.
    """
    where = f"{where}trial {_check_name(trial.trial_id, f'{where}trial_id')!r}"
    _check_name(trial.session, f"{where}: session")
    if trial.split not in splits:
        raise ValueError(f"{where}: split must be one of {', '.join(splits)}, got {trial.split!r}.")
    spikes = np.asarray(trial.spikes)
    if spikes.ndim != 2:
        raise ValueError(f"{where}: spikes must be (bins, units), got shape {spikes.shape}.")
    n_bins, n_units = spikes.shape
    if n_bins == 0 or n_units == 0:
        raise ValueError(
            f"{where}: needs at least 1 bin and 1 unit, got shape {spikes.shape}. Leave it out."
        )
    overlap = sorted(set(trial.covariates) & set(trial.conditions))
    if overlap:
        raise ValueError(
            f"{where}: {overlap[0]!r} is both a covariate and a condition; rename one."
        )
    for name in trial.covariates:
        _check_name(name, f"{where}: covariate name")
    for name in trial.conditions:
        _check_name(name, f"{where}: condition name")
    covariates, conditions = {}, {}
    for name in sorted(trial.covariates):
        at = f"{where}: covariate {name!r} (bins, channels)"
        todo = "Sample it once per bin of the spikes."
        covariates[name] = _as_floats(trial.covariates[name], (n_bins, None), at, todo)
    for name in sorted(trial.conditions):
        at = f"{where}: condition {name!r} (channels,)"
        todo = "Give one vector per trial."
        conditions[name] = _as_floats(trial.conditions[name], (None,), at, todo)
    rates = trial.rates
    if rates is not None:
        rates = _as_floats(rates, (n_bins, n_units), f"{where}: rates (bins, units)")
        if (rates < 0).any():
            raise ValueError(f"{where}: rates must not be negative, got {rates.min()}.")
    latents = trial.latents
    if latents is not None:
        latents = _as_floats(latents, (n_bins, None), f"{where}: latents (bins, latents)")
        if latents.shape[1] == 0:
            raise ValueError(f"{where}: latents must have at least 1 channel, got none. Omit them.")
    counts = np.ascontiguousarray(as_counts(spikes, where))
    return Trial(
        counts, trial.trial_id, trial.session, trial.split, covariates, conditions, rates, latents
    )


def trial_digest(trial: Trial) -> bytes:
    """SHA-256 over one validated trial: its names, shapes and values, whatever its count dtype."""
    digest = hashlib.sha256()
    parts: list[tuple[str, np.ndarray | None]] = [("spikes", trial.spikes.astype("<u2"))]
    parts += [(f"covariate:{name}", trial.covariates[name]) for name in sorted(trial.covariates)]
    parts += [(f"condition:{name}", trial.conditions[name]) for name in sorted(trial.conditions)]
    parts += [("rates", trial.rates), ("latents", trial.latents)]
    digest.update(json.dumps([trial.trial_id, trial.session, trial.split]).encode())
    for name, array in parts:
        if array is not None:
            digest.update(json.dumps([name, array.shape]).encode())
            stored = array if name == "spikes" else array.astype("<f4")
            digest.update(np.ascontiguousarray(stored).tobytes())
    return digest.digest()


@dataclass(frozen=True, eq=False)
class Summary:
    """What a card needs to know of a validated trial.

    spikes_N: (N,) int64, spikes of each unit. n_latents: 0 where there are none.
    covariate_sizes, condition_sizes: name -> channels. digest: see `trial_digest`.
    """

    trial_id: str
    session: str
    split: str
    n_bins: int
    spikes_N: np.ndarray
    n_latents: int
    has_rates: bool
    covariate_sizes: Mapping[str, int]
    condition_sizes: Mapping[str, int]
    digest: bytes


def summarise(trial: Trial) -> Summary:
    """The summary of a validated trial."""
    return Summary(
        trial_id=trial.trial_id,
        session=trial.session,
        split=trial.split,
        n_bins=trial.n_bins,
        spikes_N=trial.spikes.sum(axis=0, dtype=np.int64),
        n_latents=0 if trial.latents is None else int(trial.latents.shape[1]),
        has_rates=trial.rates is not None,
        covariate_sizes={name: int(x.shape[1]) for name, x in trial.covariates.items()},
        condition_sizes={name: int(x.shape[0]) for name, x in trial.conditions.items()},
        digest=trial_digest(trial),
    )


class TrialChecker:
    """Checks trials one after another against their predecessors, and sums them up for a card.

    `check` validates a trial, `add` takes one that is, by its summary; both raise ValueError where it does not fit
    those before it. The memory kept is one digest and one name per trial, and each session's name. splits: those
    that trials may have.
    """

    def __init__(self, splits: Sequence[str] = SPLITS) -> None:
        self._allowed = tuple(splits)
        self.n_units = 0
        self.n_latents = 0
        self.has_rates = False
        self.covariate_sizes: dict[str, int] = {}
        self.condition_sizes: dict[str, int] = {}
        self.splits: dict[str, dict[str, int]] = {}
        self.min_bins = 0
        self.max_bins = 0
        self._digests: dict[str, bytes] = {}
        self._sessions: set[str] = set()

    def __len__(self) -> int:
        return len(self._digests)

    def check(self, trial: Trial, where: str = "") -> Trial:
        """The trial as `validate_trial` makes it; where: the place named in errors before the trial."""
        trial = validate_trial(trial, where=where, splits=self._allowed)
        self.add(summarise(trial), where)
        return trial

    def add(self, trial: Summary, where: str = "") -> None:
        """Take a trial that was validated; where: as in `check`."""
        where = f"{where}trial {trial.trial_id!r}"
        n_units = len(trial.spikes_N)
        if not self._digests:
            self.n_units = n_units
            self.n_latents, self.has_rates = trial.n_latents, trial.has_rates
            self.covariate_sizes = dict(trial.covariate_sizes)
            self.condition_sizes = dict(trial.condition_sizes)
            self.min_bins = self.max_bins = trial.n_bins
        if trial.trial_id in self._digests:
            raise ValueError(
                f"{where} occurs twice, now in session {trial.session!r}; trial ids must be unique "
                "in a dataset. Put the session's name before them."
            )
        if n_units != self.n_units:
            within = trial.session in self._sessions
            earlier = (
                f"earlier trials of session {trial.session!r}" if within else "earlier sessions"
            )
            raise ValueError(
                f"{where}: unit count must be {self.n_units} as in {earlier}, got {n_units}. Keep the "
                "units that all trials have, in one order, or write a dataset per session."
            )
        pairs: list[tuple[str, Any, Any]] = [
            ("covariates and their sizes", trial.covariate_sizes, self.covariate_sizes),
            ("conditions and their sizes", trial.condition_sizes, self.condition_sizes),
            ("number of latents", trial.n_latents, self.n_latents),
            ("presence of rates", trial.has_rates, self.has_rates),
        ]
        for what, got, wanted in pairs:
            if got != wanted:
                raise ValueError(
                    f"{where}: {what} must be {wanted} as in earlier trials, got {got}. "
                    "All trials of a dataset carry the same."
                )
        counts = self.splits.setdefault(trial.split, {"n_trials": 0, "n_bins": 0})
        counts["n_trials"] += 1
        counts["n_bins"] += trial.n_bins
        self.min_bins = min(self.min_bins, trial.n_bins)
        self.max_bins = max(self.max_bins, trial.n_bins)
        self._digests[trial.trial_id] = trial.digest
        self._sessions.add(trial.session)

    def fingerprint(
        self,
        bin_width_s: float,
        unit_names: Sequence[str],
        units: Mapping[str, str],
    ) -> str:
        """First 16 hex digits of a SHA-256 over all trials, in the order of their ids.

        The same for any order of writing, shard size, or compression. Bin width, unit names, and
        the physical units of covariates and conditions count; name, source and licence do not.
        """
        head = [FINGERPRINT_VERSION, float(bin_width_s), list(unit_names), sorted(units.items())]
        digest = hashlib.sha256(json.dumps(head).encode())
        for trial_id in sorted(self._digests):
            digest.update(self._digests[trial_id])
        return digest.hexdigest()[:16]
