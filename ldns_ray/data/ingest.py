"""Recordings in NumPy files to trials.

Two layouts: an array of aligned trials, (trials, units, time) in any order of axes; or one long
array of counts, (time, units), with the first bin and length of each trial.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldns_ray.data.schema import SPLITS, Trial, as_counts
from ldns_ray.data.splits import assign_splits

AXES = ("trial", "unit", "time")


@dataclass(frozen=True)
class ArraySpec:
    """NAME=ARRAY:UNIT: a covariate or condition, the array it comes from, its physical unit."""

    name: str
    array: str
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> ArraySpec:
        """From NAME, NAME:UNIT, NAME=ARRAY or NAME=ARRAY:UNIT."""
        match = re.fullmatch(r"(?:([^=:]+)=)?([^=:]+)(?::(.*))?", text)
        if match is None:
            raise ValueError(f"expected NAME=ARRAY:UNIT, such as vel=hand_vel:m/s, got {text!r}.")
        name, array, unit = match.groups()
        return cls(name or array, array, unit or "")


@dataclass(frozen=True)
class AngleSpec:
    """A per-trial angle, kept as (cos, sin).

    In degrees: ARRAY * factor, or TABLE[ARRAY] where the array indexes a table of angles.
    """

    name: str
    array: str
    factor: float = 1.0
    table: str | None = None

    @classmethod
    def parse(cls, text: str) -> AngleSpec:
        """From NAME=ARRAY, NAME=ARRAY*FACTOR or NAME=TABLE[ARRAY]."""
        match = re.fullmatch(r"([^=]+)=(?:(\w+)\[(\w+)\]|(\w+)(?:\*([-+.\deE]+))?)", text)
        try:
            if match is None:
                raise ValueError
            name, table, index, array, factor = match.groups()
            return cls(name, array or index, float(factor or 1.0), table)
        except ValueError:
            raise ValueError(
                "expected NAME=ARRAY (degrees), NAME=ARRAY*DEGREES or NAME=TABLE[ARRAY], such as "
                f"angle=target*45, got {text!r}."
            ) from None


class _Arrays:
    """The arrays of one .npz file, with errors that name the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"No file {self.path}. Give the path of a .npz file.")
        try:
            self._file = np.load(self.path, allow_pickle=False)
            self.names = list(self._file.files)
        except (ValueError, zipfile.BadZipFile, EOFError, AttributeError):
            raise ValueError(
                f"{self.path} is not a .npz file. Save one with numpy.savez_compressed."
            ) from None

    def get(self, name: str, what: str) -> np.ndarray:
        if name not in self.names:
            raise ValueError(
                f"{self.path} has no array {name!r} for {what}; there are: {', '.join(self.names)}."
            )
        try:
            return np.asarray(self._file[name])
        except ValueError:
            raise ValueError(
                f"{self.path}: array {name!r} holds Python objects, which are not read. "
                "Save it as numbers or strings."
            ) from None

    def per_trial(self, name: str, what: str, n_trials: int) -> np.ndarray:
        array = self.get(name, what)
        if array.ndim == 0 or len(array) != n_trials:
            raise ValueError(
                f"{self.path}: {what} {name!r} must have one entry per trial ({n_trials}), "
                f"got shape {array.shape}."
            )
        return array


def npz_trials(
    path: str | os.PathLike[str],
    *,
    spikes: str = "spikes",
    axes: Sequence[str] = AXES,
    bin_ms: float,
    sample_ms: float = 1.0,
    trial_start: str | None = None,
    trial_len: str | None = None,
    window_samples: int | None = None,
    covariates: Sequence[ArraySpec] = (),
    conditions: Sequence[ArraySpec] = (),
    angles: Sequence[AngleSpec] = (),
    stratify: str | None = None,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    split: str | None = None,
    trial_id: str | None = None,
    session: str = "session",
) -> Iterator[Trial]:
    """Trials of a .npz file; every array is checked before the first trial comes.

    spikes: the array of counts, one per `sample_ms`; summed to bins of `bin_ms`.
    axes: the order of "trial", "unit", "time" in it; ("time", "unit") for one long recording,
        which is cut at `trial_start` and `trial_len` (arrays, in samples), or every
        `window_samples` samples (an incomplete last window is left out).
    covariates: arrays like `spikes` with channels for units, (trials, time, channels) or
        (time, channels), per bin, or per sample and then averaged over each bin.
    conditions: one number or vector per trial. angles: kept as (cos, sin); the array itself is
        kept as a condition too.
    stratify: a per-trial array whose values are shared out evenly over the splits; `split`: a
        per-trial array of train, val, test instead. session: an array's name, or a plain name.
    Raises ValueError naming the file, the array, and where it can the trial, bin and unit.
    """
    arrays = _Arrays(path)
    counts = arrays.get(spikes, "spikes")
    factor = _bin_factor(bin_ms, sample_ms)
    if len(axes) != counts.ndim or set(axes) not in ({"trial", "unit", "time"}, {"time", "unit"}):
        raise ValueError(
            f"{path}: axes of {spikes!r} must name its {counts.ndim} axes, as trial,unit,time or "
            f"time,unit in some order, got {','.join(axes)} for shape {counts.shape}."
        )
    if counts.ndim == 3:
        if trial_start or trial_len or window_samples:
            raise ValueError(f"{path}: {spikes!r} has a trial axis: trials cannot be cut from it.")
        counts = counts.transpose([list(axes).index(axis) for axis in ("trial", "time", "unit")])
        starts, lengths = None, np.full(len(counts), counts.shape[1])
    else:
        counts = counts if tuple(axes) == ("time", "unit") else counts.T
        starts, lengths = _cuts(arrays, len(counts), trial_start, trial_len, window_samples)
    uneven = np.flatnonzero(lengths % factor)
    if len(uneven):
        raise ValueError(
            f"{path}: trial {uneven[0]} has {lengths[uneven[0]]} samples of {sample_ms:g} ms, not "
            f"a whole number of {bin_ms:g} ms bins. Choose a bin width that divides it."
        )
    n_trials = len(lengths)
    covariate_arrays = {c.name: _covariate(arrays, c, counts, factor) for c in covariates}
    per_trial = _conditions(arrays, conditions, angles, n_trials)
    splits = _splits(arrays, n_trials, split, stratify, fractions, seed)
    ids = _labels(arrays.per_trial(trial_id, "trial_id", n_trials) if trial_id else None, n_trials)
    if session in arrays.names:
        sessions = [str(x) for x in arrays.per_trial(session, "session", n_trials)]
    else:
        sessions = [session] * n_trials

    def generate() -> Iterator[Trial]:
        for i in range(n_trials):
            at = i if starts is None else slice(starts[i], starts[i] + lengths[i])
            where = f"{path}: trial {ids[i]!r}"
            raw = as_counts(
                counts[at], where if factor == 1 else f"{where}, in {sample_ms:g} ms bins"
            )
            blocks = raw.reshape(-1, factor, raw.shape[1])
            per_bin = {}
            for name, (array, per_sample) in covariate_arrays.items():
                values = array[at].astype(np.float32)
                if per_sample:
                    values = values.reshape(-1, factor, values.shape[1]).mean(axis=1)
                per_bin[name] = values
            yield Trial(
                spikes=as_counts(blocks.sum(axis=1, dtype=np.int64), where),
                trial_id=ids[i],
                session=sessions[i],
                split=splits[i],
                covariates=per_bin,
                conditions={name: values[i] for name, values in per_trial.items()},
            )

    return generate()


def _bin_factor(bin_ms: float, sample_ms: float) -> int:
    if not bin_ms > 0 or not sample_ms > 0:
        raise ValueError(f"bin and sample width must be positive, got {bin_ms} and {sample_ms} ms.")
    factor = round(bin_ms / sample_ms)
    if factor < 1 or abs(factor * sample_ms - bin_ms) > 1e-6 * bin_ms:
        raise ValueError(
            f"bin width must be a whole multiple of the sample width, got {bin_ms:g} ms bins of "
            f"{sample_ms:g} ms samples."
        )
    return factor


def _cuts(
    arrays: _Arrays,
    n_samples: int,
    trial_start: str | None,
    trial_len: str | None,
    window_samples: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """First sample and length of each trial in one long recording."""
    if window_samples is not None and not (trial_start or trial_len):
        if not 0 < window_samples <= n_samples:
            raise ValueError(
                f"{arrays.path}: windows must have 1 … {n_samples} samples, got {window_samples}."
            )
        starts = np.arange(0, n_samples - window_samples + 1, window_samples)
        return starts, np.full(len(starts), window_samples)
    if window_samples is not None or not trial_start or not trial_len:
        raise ValueError(
            f"{arrays.path}: one long recording needs trial_start and trial_len, or windows of a "
            f"fixed length; there are the arrays: {', '.join(arrays.names)}."
        )
    starts = arrays.get(trial_start, "trial_start")
    lengths = arrays.per_trial(trial_len, "trial_len", len(starts))
    for name, array in ((trial_start, starts), (trial_len, lengths)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{arrays.path}: {name!r} must be whole numbers, one per trial.")
    starts, lengths = starts.astype(np.int64), lengths.astype(np.int64)
    bad = np.flatnonzero((starts < 0) | (lengths < 1) | (starts + lengths > n_samples))
    if len(bad):
        i = bad[0]
        raise ValueError(
            f"{arrays.path}: trial {i} must lie within the recording's {n_samples} samples, got "
            f"samples {starts[i]} … {starts[i] + lengths[i] - 1} ({len(bad)} such trials)."
        )
    return starts, lengths


def _covariate(
    arrays: _Arrays, spec: ArraySpec, counts: np.ndarray, factor: int
) -> tuple[np.ndarray, bool]:
    """A covariate's array with a channel axis, and whether its rows are samples (else bins)."""
    what = f"covariate {spec.name!r}"
    array = arrays.get(spec.array, what)
    if array.ndim == counts.ndim - 1:
        array = array[..., None]
    time = counts.ndim - 2
    n_samples = counts.shape[time]
    fits = array.ndim == counts.ndim and array.shape[:time] == counts.shape[:time]
    if fits and array.shape[time] == n_samples:
        return array, True
    if fits and array.shape[time] * factor == n_samples and array.ndim == 3:
        return array, False
    raise ValueError(
        f"{arrays.path}: {what} {spec.array!r} must follow the spikes' trials and time "
        f"{counts.shape[:-1]}, got shape {array.shape}."
    )


def _conditions(
    arrays: _Arrays, specs: Sequence[ArraySpec], angles: Sequence[AngleSpec], n_trials: int
) -> dict[str, np.ndarray]:
    conditions: dict[str, np.ndarray] = {}
    for spec in specs:
        array = arrays.per_trial(spec.array, f"condition {spec.name!r}", n_trials)
        conditions[spec.name] = array.reshape(n_trials, -1)
    for angle in angles:
        what = f"angle {angle.name!r}"
        raw = arrays.per_trial(angle.array, what, n_trials)
        degrees = raw * angle.factor
        if angle.table is not None:
            table = arrays.get(angle.table, what)
            whole = raw.dtype.kind in "iu" and raw.min() >= 0 and raw.max() < len(table)
            if not whole:
                raise ValueError(
                    f"{arrays.path}: {angle.array!r} must index the {len(table)} entries of "
                    f"{angle.table!r}, got {raw.min()} … {raw.max()}."
                )
            degrees = table[raw]
        radians = np.deg2rad(degrees.reshape(n_trials).astype(np.float64))
        conditions.setdefault(angle.array, raw.reshape(n_trials, 1))
        conditions[angle.name] = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    return conditions


def _splits(
    arrays: _Arrays,
    n_trials: int,
    split: str | None,
    stratify: str | None,
    fractions: Sequence[float],
    seed: int,
) -> list[str]:
    if split is None:
        strata = arrays.per_trial(stratify, "stratify", n_trials) if stratify else None
        return assign_splits(n_trials, fractions, seed, strata)
    splits = [str(x) for x in arrays.per_trial(split, "split", n_trials)]
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise ValueError(
            f"{arrays.path}: {split!r} must hold {', '.join(SPLITS)}, got {unknown[0]!r}."
        )
    return splits


def _labels(values: np.ndarray | None, n_trials: int) -> list[str]:
    """Trial ids as text; numbers get leading zeros, so that they sort as numbers."""
    values = np.arange(n_trials) if values is None else values
    return [f"{x:06d}" if values.dtype.kind in "iu" else str(x) for x in values.tolist()]
