"""Recordings kept as NumPy arrays: aligned trials, or one long recording that is cut into trials.

S trials, T bins or samples, N units, d channels of a covariate. Samples are the bins of the file, bins those of the
dataset: each is the sum of a whole number of samples.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ldns_ray.checks import POSITIVE, at_least, check
from ldns_ray.data.formats import per_trial
from ldns_ray.data.formats.cuts import TimeUnit, check_whole_bins, cuts
from ldns_ray.data.formats.named_arrays import NamedArrays, open_arrays
from ldns_ray.data.formats.specs import ArrayAngle, ValueSpec
from ldns_ray.data.recordings import Recording
from ldns_ray.data.schema import Trial, as_counts

ALIGNED = ("trial", "unit", "time")
LONG = ("time", "unit")
CUTS = (
    {"window_samples"},
    {"trial_len"},
    {"trial_start", "trial_len"},
    {"trial_start", "trial_stop"},
)
"""The fields that together say how a long recording is cut."""


@dataclass(frozen=True)
class ArrayReader:
    """Reads a .npz file, a folder of .npy files (arrays by their stems), or one .npy file of spikes.

    Nothing is unpickled. Arrays of a .npz file are loaded when they are needed; .npy files are memory-mapped, so that
    no more than the trial at hand is in memory.
    """

    bin_ms: float
    """Width of the dataset's bins: a whole number of samples."""
    sample_ms: float = 1.0
    """Width of the file's bins."""
    spikes: str = "spikes"
    """The array of counts per sample. The array of a single .npy file needs no name."""
    axes: tuple[str, ...] = ALIGNED
    """The order of "trial", "unit" and "time" in it; of "time" and "unit" for one long recording."""
    trial_start: str | None = None
    """Long recording: the array of each trial's first sample, counted from 0."""
    trial_len: str | None = None
    """Long recording: the array of each trial's number of samples. Without starts, trials lie end to end."""
    trial_stop: str | None = None
    """Long recording: the array of each trial's end, its first sample no more, instead of its length."""
    times_in: TimeUnit = "samples"
    """What these three count: samples, or times from the recording's beginning, taken to the nearest sample."""
    window_samples: int | None = None
    """Long recording: cut into windows of this length. What is left at the end is dropped."""
    covariates: tuple[ValueSpec, ...] = ()
    """Arrays (S, T, d) or (S, T); of a long recording (T, d) or (T,). A row per sample is averaged over each bin;
    aligned trials may have a row per bin."""
    conditions: tuple[ValueSpec, ...] = ()
    """Arrays of one number or vector per trial."""
    angles: tuple[ArrayAngle, ...] = ()
    """Arrays of one angle per trial, kept as (cos, sin); the array itself is kept as a condition too."""
    stratify: str | None = None
    """The array of one or more labels per trial, within which splits are shared out."""
    split: str | None = None
    """The array of each trial's split, or of those it may go to, such as "val+test"."""
    trial_id: str | None = None
    """The array of trial names or numbers; without it they are counted from 0."""
    session: str = ""
    """The array of each trial's session, or one name for all; when empty, the array "session" if there is one."""
    unit_names: str | None = None
    """The array of the units' names."""

    def __post_init__(self) -> None:
        check(self, "", bin_ms=POSITIVE, sample_ms=POSITIVE)
        factor = self.bin_ms / self.sample_ms
        if not math.isfinite(factor) or abs(factor - round(factor)) > 1e-6 * factor:
            raise ValueError(
                f"bin_ms must be a whole multiple of sample_ms, got {self.bin_ms:g} ms bins of "
                f"{self.sample_ms:g} ms samples."
            )
        if sorted(self.axes) not in (sorted(ALIGNED), sorted(LONG)):
            raise ValueError(
                "axes must be trial,unit,time or, for one long recording, time,unit, in any order, got "
                f"{','.join(self.axes)}."
            )
        names = [spec.name for spec in self.covariates + self.conditions]
        names += [angle.name for angle in self.angles]
        for name, n in Counter(names).items():
            if n > 1:
                raise ValueError(
                    f"covariates, conditions and angles must have different names, got {name!r} {n} times."
                )
        self._check_cuts()

    def _check_cuts(self) -> None:
        given = {name for name in set().union(*CUTS) if getattr(self, name) is not None}
        got = f"got {', '.join(sorted(given)) or 'none of them'}"
        if len(self.axes) == len(ALIGNED):
            if given:
                raise ValueError(
                    f"axes {','.join(self.axes)} have a trial axis, so that no trials can be cut, {got}. "
                    "Leave it out, or give the axes of one long recording, time,unit."
                )
        elif given not in CUTS:
            raise ValueError(
                "one long recording needs trial_start and trial_len, trial_start and trial_stop, trial_len alone "
                f"(trials end to end), or window_samples, {got}."
            )
        if self.window_samples is not None:
            check(self, "", window_samples=at_least(1))

    @property
    def bin_width_s(self) -> float:
        return self.bin_ms / 1000

    @property
    def samples_per_bin(self) -> int:
        return round(self.bin_ms / self.sample_ms)

    def read(self, path: str) -> Recording:
        """Open a file or folder; every array is found, and its shape checked, before the first trial comes.

        Raises OSError, and ValueError, which comes now or with a trial: it begins with `path` and names array or
        trial, bin and unit.
        """
        arrays = open_arrays(path)
        counts = self._counts(arrays)
        dropped: Counter[str] = Counter()
        places, lengths = self._places(arrays, counts, dropped)
        n_trials = len(lengths)
        ids = per_trial.read_ids(arrays, self.trial_id, n_trials)
        check_whole_bins(arrays, lengths, ids, self.samples_per_bin, self.sample_ms)
        covariates = {spec.name: self._covariate(arrays, spec, counts) for spec in self.covariates}
        conditions = per_trial.read_conditions(arrays, self.conditions, self.angles, n_trials)
        splits = per_trial.read_splits(arrays, self.split, ids)
        sessions = per_trial.read_sessions(arrays, self.session, n_trials)
        all_strata = per_trial.read_strata(arrays, self.stratify, n_trials)
        strata: list[str] = []

        def trials() -> Iterator[Trial]:
            for i, at in enumerate(places):
                strata.extend(all_strata[i : i + 1])
                yield Trial(
                    spikes=self._summed(counts[at], f"{path}: trial {ids[i]!r}"),
                    trial_id=ids[i],
                    session=sessions[i],
                    split=splits[i],
                    covariates={name: self._averaged(*x, at) for name, x in covariates.items()},
                    conditions={name: values[i] for name, values in conditions.items()},
                )

        return Recording(
            trials(),
            unit_names=per_trial.read_unit_names(arrays, self.unit_names, counts.shape[-1]),
            covariate_units={spec.name: spec.unit for spec in self.covariates},
            condition_units={spec.name: spec.unit for spec in self.conditions},
            strata=strata,
            dropped=dropped,
        )

    def _counts(self, arrays: NamedArrays) -> np.ndarray:
        """The counts as (S, T, N), or as (T, N) of one long recording: a view, not yet looked into."""
        name = arrays.only if arrays.only and self.spikes == "spikes" else self.spikes
        counts = arrays.get(name, "spikes")
        arrays.check_numbers(counts, name, "spikes")
        axes = ",".join(self.axes)
        if counts.ndim != len(self.axes):
            arrays.fail(
                f"axes of {name!r} must name its {counts.ndim} axes, as trial,unit,time or time,unit in any order, "
                f"got {axes} for shape {counts.shape}."
            )
        if counts.size == 0:
            arrays.fail(f"spikes {name!r} must not be empty, got shape {counts.shape} of {axes}.")
        wanted = ("trial", "time", "unit")[-counts.ndim :]
        return counts.transpose([self.axes.index(axis) for axis in wanted])

    def _places(
        self, arrays: NamedArrays, counts: np.ndarray, dropped: Counter[str]
    ) -> tuple[Sequence[int | slice], np.ndarray]:
        """Where each trial is in the counts, and its number of samples."""
        n_samples = counts.shape[-2]
        if counts.ndim == 3:
            return range(len(counts)), np.full(len(counts), n_samples)
        if self.window_samples is not None:
            n_windows, left = divmod(n_samples, self.window_samples)
            if n_windows == 0:
                arrays.fail(
                    f"windows must have at most the recording's {n_samples} samples, got {self.window_samples}."
                )
            if left:
                dropped["end of the recording, shorter than a window"] += 1
            starts = np.arange(n_windows) * self.window_samples
            lengths = np.full(n_windows, self.window_samples)
        else:
            starts, lengths = cuts(
                arrays, n_samples, start=self.trial_start, length=self.trial_len, stop=self.trial_stop,
                times_in=self.times_in, sample_ms=self.sample_ms,
            )  # fmt: skip
        stops = starts + lengths
        return [slice(*x) for x in zip(starts.tolist(), stops.tolist(), strict=True)], lengths

    def _covariate(
        self, arrays: NamedArrays, spec: ValueSpec, counts: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        """A covariate's array (S, T, d) or (T, d), and whether its rows are samples (else bins)."""
        what = f"covariate {spec.name!r}"
        array = arrays.get(spec.source, what)
        arrays.check_numbers(array, spec.source, what)
        if array.ndim == counts.ndim - 1:
            array = array[..., None]
        time = counts.ndim - 2
        n_samples = counts.shape[time]
        if array.ndim == counts.ndim and array.shape[:time] == counts.shape[:time]:
            if array.shape[time] == n_samples:
                return array, True
            # In a long recording bins begin where trials do: before it is cut, there are none.
            if time == 1 and array.shape[time] * self.samples_per_bin == n_samples:
                return array, False
        arrays.fail(
            f"{what} {spec.source!r} must follow the spikes' {'trials and ' * time}time {counts.shape[:-1]}, got shape "
            f"{array.shape}."
        )

    def _summed(self, samples_TN: np.ndarray, where: str) -> np.ndarray:
        """A trial's counts per bin, of those per sample."""
        if self.samples_per_bin == 1:
            return as_counts(np.array(samples_TN, order="C"), where)
        samples = as_counts(samples_TN, f"{where}, in the file's {self.sample_ms:g} ms bins")
        blocks = samples.reshape(-1, self.samples_per_bin, samples.shape[1])
        sums = blocks.sum(axis=1, dtype=np.int64)
        return as_counts(sums, f"{where}, summed to {self.bin_ms:g} ms bins")

    def _averaged(self, array: np.ndarray, per_sample: bool, at: int | slice) -> np.ndarray:
        """A trial of a covariate per bin, (T, d)."""
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            values: np.ndarray = array[at].astype(np.float32)
        if per_sample:
            values = values.reshape(-1, self.samples_per_bin, values.shape[1]).mean(axis=1)
        return values
