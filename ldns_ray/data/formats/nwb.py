"""Trials from NWB files: spike times in bins, with time series and the trials table beside them.

Shapes: S trials, T bins, N units, d channels.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ldns_ray.checks import Rule, check
from ldns_ray.data.formats.binning import bin_samples, count_spikes, whole_bins
from ldns_ray.data.formats.nwb_file import Content, Refused, Series, load
from ldns_ray.data.formats.nwb_trials import (
    NO_SPLIT,
    Cuts,
    cut_trials,
    cut_windows,
    numbers,
    read_splits,
    read_strata,
)
from ldns_ray.data.formats.quantities import conversion_factor
from ldns_ray.data.formats.specs import NwbAngle, SeriesSpec, ValueSpec
from ldns_ray.data.recordings import Recording
from ldns_ray.data.schema import Trial, as_counts
from ldns_ray.data.splits import UNASSIGNED

GAP_INTERVALS = 2.5
"""Samples further apart than this many sampling intervals are a gap: one missing sample is bridged, two are not."""


@dataclass(frozen=True)
class NwbReader:
    """Spike times of an NWB file's units table, in bins, cut into trials.

    Trials are left out, and counted by reason in `Recording.dropped`: those without a time to start at, shorter than
    one bin, not wholly inside the observed intervals of every unit (in a file without them: inside the time from
    the first to the last spike), of split "none", with NaN in a condition, with a bin for which a covariate has no
    samples, or without a direction to take an angle of.
    Units come in the file's order, held-in before held-out ones where the units table has a boolean column `heldout`.
    They are named by its column `unit_name`, or else by their ids.
    """

    bin_ms: float
    """Width of the bins."""

    align: str | None = None
    """Column of the trials table with the times that trials are aligned to; needs `window_ms`. Without it, trials
    last from start_time to stop_time, as many whole bins as fit."""

    window_ms: tuple[float, float] | None = None
    """Start and end of a trial relative to its `align` time."""

    window_s: float | None = None
    """Ignore the trials table: cut each stretch in which all units were observed (in a file without observed
    intervals: from the first to the last spike) into windows of this length. What is left at its end is lost."""

    snap: bool = False
    """Let trials start at the next multiple of `bin_ms` in the file's time, as nlb_tools does, instead of exactly
    where they should: counts then equal those of the Neural Latents Benchmark."""

    covariates: tuple[SeriesSpec, ...] = ()
    """Time series in the trials' bins: the mean of the samples in each bin; where a series is slower than the bins,
    the value at the bin's centre on the line between samples, if no more than one is missing there."""

    conditions: tuple[ValueSpec, ...] = ()
    """Numeric columns of the trials table, one number or vector per trial."""

    angles: tuple[NwbAngle, ...] = ()
    """Conditions kept as (cos, sin)."""

    stratify: str | None = None
    """Column of the trials table, of numbers or text, within whose values splits are shared out."""

    split: str | None = None
    """Column of the trials table that holds train, val, test or none."""

    split_rule: Literal["own", "ldns"] = "own"
    """own: as the file says. ldns: as in the LDNS paper, the first half of the file's validation trials joins train,
    and the second half is shared out between val and test."""

    unit_filter: str | None = None
    """COLUMN=VALUE of the units table, such as quality=good or heldout=False: take those units only."""

    def __post_init__(self) -> None:
        check(self, "", bin_ms=Rule("at least 0.1", lambda x: x >= 0.1))
        if (self.align is None) != (self.window_ms is None):
            raise ValueError(
                f"align and window_ms go together, got align {self.align!r} and window_ms {self.window_ms}. "
                "Give both, or neither for trials from start_time to stop_time."
            )
        if self.window_ms is not None:
            self._check_whole("window_ms", self.window_ms[1] - self.window_ms[0])
        if self.window_s is not None:
            self._check_whole("window_s", self.window_s * 1000)
            if self._columns():
                raise ValueError(
                    f"window_s ignores the trials table, but its column {self._columns()[0]!r} is asked for. "
                    "Leave out one of them."
                )
        if self.split_rule != "own" and self.split is None:
            raise ValueError(
                f"split_rule {self.split_rule!r} needs split, the column it applies to."
            )
        names = [spec.name for spec in self.covariates]
        names += [spec.name for spec in self.conditions]
        names += [spec.name for spec in self.angles]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(
                f"covariates, conditions and angles must have different names, got {twice[0]!r} twice."
            )
        known = [spec.name for spec in self.covariates]
        for angle in self.angles:
            if angle.bin is not None and angle.source not in known:
                raise ValueError(
                    f"angle {angle.name!r} must be of a covariate, got {angle.source!r}; there are: "
                    f"{', '.join(known) or 'none'}."
                )

    def _check_whole(self, field: str, duration_ms: float) -> None:
        n_bins = round(duration_ms / self.bin_ms) if math.isfinite(duration_ms) else 0
        if n_bins < 1 or abs(n_bins * self.bin_ms - duration_ms) > 1e-6 * self.bin_ms:
            raise ValueError(
                f"{field} must hold a whole number of bins of {self.bin_ms:g} ms, got {duration_ms:g} ms."
            )

    @property
    def bin_width_s(self) -> float:
        return self.bin_ms / 1000

    def _columns(self) -> list[str]:
        """The columns of the trials table that are asked for."""
        optional = [self.align, self.stratify, self.split]
        columns = [name for name in optional if name is not None]
        columns += [spec.source for spec in self.conditions]
        return columns + [spec.source for spec in self.angles if spec.bin is None]

    def read(self, path: str) -> Recording:
        """The trials of one file, which is read whole and closed before the first comes.

        Raises ValueError that begins with the path, OSError where the file is not there or may not be read, and
        ImportError without pynwb.
        """
        table_columns = [] if self.window_s else ["start_time", "stop_time", *self._columns()]
        content = load(
            path,
            series=[spec.series for spec in self.covariates],
            columns=table_columns,
            unit_filter=self.unit_filter,
        )
        cuts = self._cut(path, content)
        table = content.trials or {}
        splits = [UNASSIGNED] * len(cuts.ids)
        if self.split is not None:
            rule = self.split_rule == "ldns"
            splits = read_splits(path, cuts.ids, self.split, table[self.split], ldns_rule=rule)
            cuts.leave_out(np.array(splits) == NO_SPLIT, f"split {NO_SPLIT}")
        conditions = self._conditions(path, table)
        for name, values in conditions.items():
            cuts.leave_out(~np.isfinite(values).all(axis=1), f"no number for {name!r}")
        strata: list[str] = []
        if self.stratify is not None:
            strata = read_strata(path, self.stratify, table[self.stratify])
        covariates = self._covariates(path, content)
        recording = Recording(
            trials=iter(()),
            unit_names=content.spikes.names,
            covariate_units={name: series.unit for name, series in covariates.items()},
            condition_units={spec.name: spec.unit for spec in self.conditions},
        )

        def generate() -> Iterator[Trial]:
            for i, trial_id in enumerate(cuts.ids):
                reason = cuts.reasons_S[i]
                start_s, n_bins = float(cuts.start_S[i]), int(cuts.n_bins_S[i])
                per_bin, own = {}, {name: values[i] for name, values in conditions.items()}
                if not reason:
                    per_bin = self._bin_covariates(covariates, start_s, n_bins)
                    reason = _first_gap(per_bin)
                if not reason:
                    reason = self._add_directions(own, per_bin)
                if reason:
                    recording.dropped[reason] += 1
                    continue
                if strata:
                    recording.strata.append(strata[i])
                spikes = content.spikes
                counts = count_spikes(
                    spikes.times_K,
                    spikes.units_K,
                    start_s=start_s,
                    bin_width_s=self.bin_width_s,
                    n_bins=n_bins,
                    n_units=len(spikes.names),
                )
                yield Trial(
                    spikes=as_counts(counts, f"{path}: trial {trial_id!r}"),
                    trial_id=trial_id,
                    session=content.session,
                    split=splits[i],
                    covariates={k: x.astype(np.float32) for k, x in per_bin.items()},
                    conditions={k: x.astype(np.float32) for k, x in own.items()},
                )
            if recording.dropped.total() == len(cuts.ids):
                reasons = ", ".join(f"{reason} ({n})" for reason, n in recording.dropped.items())
                raise Refused(f"{path}: none of the {len(cuts.ids)} trials can be used: {reasons}.")

        recording.trials = generate()
        return recording

    def _cut(self, path: str, content: Content) -> Cuts:
        spikes, width, table = content.spikes, self.bin_width_s, content.trials
        if table is None:
            assert self.window_s is not None
            return cut_windows(
                path, spikes, window_s=self.window_s, bin_width_s=width, snap=self.snap
            )

        def times(column: str) -> np.ndarray:
            return numbers(path, column, table[column], "the time of a trial", size=1)[:, 0]

        n_bins = None
        if self.align is None or self.window_ms is None:
            start_S, stop_S = times("start_time"), times("stop_time")
        else:
            start_S, stop_S = (times(self.align) + ms / 1000 for ms in self.window_ms)
            n_bins = round((self.window_ms[1] - self.window_ms[0]) / self.bin_ms)
        return cut_trials(
            content.ids, start_S, stop_S, spikes, n_bins=n_bins, bin_width_s=width, snap=self.snap
        )

    def _conditions(self, path: str, table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The conditions that the trials table holds, (S, d) each."""
        result = {
            spec.name: numbers(path, spec.source, table[spec.source], f"condition {spec.name!r}")
            for spec in self.conditions
        }
        for angle in self.angles:
            if angle.bin is None:
                what = f"angle {angle.name!r}"
                values = numbers(path, angle.source, table[angle.source], what, size=1)
                radians = np.deg2rad(values) if angle.unit == "deg" else values
                result[angle.name] = np.concatenate([np.cos(radians), np.sin(radians)], axis=1)
        return result

    def _covariates(self, path: str, content: Content) -> dict[str, Series]:
        """The covariates' time series in the units wanted."""
        result = {}
        for spec, series in zip(self.covariates, content.series, strict=True):
            try:
                factor = conversion_factor(series.unit, spec.unit) if spec.unit else 1.0
            except ValueError as error:
                raise Refused(
                    f"{path}: covariate {spec.name!r}: {error}. Leave the unit out to keep the file's, {series.unit!r}."
                ) from None
            values = series.values_Kd * factor
            result[spec.name] = replace(series, values_Kd=values, unit=spec.unit or series.unit)
        for angle in self.angles:
            if angle.bin is not None and result[angle.source].values_Kd.shape[1] != 2:
                size = result[angle.source].values_Kd.shape[1]
                raise Refused(
                    f"{path}: angle {angle.name!r} needs a covariate of 2 channels, got {angle.source!r} with {size}."
                )
        return result

    def _bin_covariates(
        self, covariates: Mapping[str, Series], start_s: float, n_bins: int
    ) -> dict[str, np.ndarray]:
        """name -> (T, d) of one trial, NaN where there are no samples."""
        return {
            spec.name: bin_samples(
                covariates[spec.name].times_K,
                covariates[spec.name].values_Kd,
                start_s=start_s + spec.lag_ms / 1000,
                bin_width_s=self.bin_width_s,
                n_bins=n_bins,
                max_gap_s=GAP_INTERVALS * covariates[spec.name].interval_s,
            )
            for spec in self.covariates
        }

    def _add_directions(
        self, conditions: dict[str, np.ndarray], per_bin: Mapping[str, np.ndarray]
    ) -> str:
        """Add the angles of covariates; the reason why there is none, or ""."""
        for angle in self.angles:
            if angle.bin is None:
                continue
            values = per_bin[angle.source]
            if angle.bin >= len(values):
                return f"no bin {angle.bin} to take {angle.name!r} from"
            length = np.hypot(*values[angle.bin])
            if length == 0:
                return f"no direction to take {angle.name!r} from"
            conditions[angle.name] = values[angle.bin] / length  # (cos, sin) of atan2(y, x)
        return ""


def _first_gap(per_bin: Mapping[str, np.ndarray]) -> str:
    """Why a trial cannot be used for its covariates, or ""."""
    gaps = [name for name, values in per_bin.items() if not np.isfinite(values).all()]
    return f"a gap in {gaps[0]!r}" if gaps else ""


def mc_maze(bin_ms: float = 5.0, *, split_rule: Literal["own", "ldns"] = "own") -> NwbReader:
    """The monkey reaches of the LDNS paper: MC_Maze, DANDI 000128, the file
    `sub-Jenkins/sub-Jenkins_ses-full_desc-train_behavior+ecephys.nwb` of 2295 trials.

    700 ms around movement onset, all 182 units (137 held-in, then 45 held-out), hand velocity 80 ms later in m/s as
    the covariate `velocity`, and its direction in the bin of movement onset (bin 50 of 140) as the condition
    `angle`. split_rule "ldns" gives the paper's 2008 trials for training, and shares the other 287 out.

    Counts are those of nlb_tools. Velocity is the mean over each bin; nlb_tools low-pass filters it and takes the
    value at the bin's start.
    The names of columns and series are those that DANDI lists for version 0.220113.0400. Not confirmed on the
    file itself: that `hand_vel` is stored in mm/s with conversion 0.001 and unit m/s (mm/s with conversion 1 is
    read rightly too), and that no trial is left out. The file of the test split (`desc-test`) cannot be read so: it
    has the held-in units alone and no behaviour.
    """
    reader = NwbReader(
        bin_ms=bin_ms,
        align="move_onset_time",
        window_ms=(-250.0, 450.0),
        snap=True,
        covariates=(SeriesSpec("velocity", "behavior/hand_vel", "m/s", lag_ms=80.0),),
        split="split",
        split_rule=split_rule,
    )
    onset = int(whole_bins(0.25, reader.bin_width_s))
    return replace(reader, angles=(NwbAngle("angle", "velocity", bin=onset),))
