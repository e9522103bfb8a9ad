"""Where the trials of an NWB file begin and end, what its trials table says of each, and which are left out.

Shapes: S trials, d channels. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ldns_ray.data.formats.binning import next_multiple, whole_bins
from ldns_ray.data.formats.intervals import covered
from ldns_ray.data.formats.nwb_file import OBSERVED_SLACK_S, Refused, Spikes
from ldns_ray.data.recordings import numbered
from ldns_ray.data.schema import SPLITS
from ldns_ray.data.splits import UNASSIGNED

NO_SPLIT = "none"
"""What the Neural Latents Benchmark writes for trials that are in no split."""


@dataclass(frozen=True, eq=False)
class Cuts:
    """ids: of the trials. start_S: seconds. n_bins_S: lengths. reasons_S: why a trial is left out, "" where it is not."""

    ids: list[str]
    start_S: np.ndarray
    n_bins_S: np.ndarray
    reasons_S: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons_S", np.full(len(self.ids), "", dtype=object))

    def leave_out(self, which_S: np.ndarray, reason: str) -> None:
        """Leave trials out, those that are not already."""
        self.reasons_S[which_S & (self.reasons_S == "")] = reason


def cut_windows(
    path: str, spikes: Spikes, *, window_s: float, bin_width_s: float, snap: bool
) -> Cuts:
    """Windows one after another, in each stretch in which all units were observed."""
    start, stop = spikes.observed_n2.T
    if snap:
        start = next_multiple(start, bin_width_s)
    n_windows = whole_bins(stop - start, window_s)
    total = int(n_windows.sum())
    if total == 0:
        longest = (stop - start).max(initial=0.0)
        raise Refused(
            f"{path}: windows of {window_s:g} s do not fit: the longest stretch in which all units were observed "
            f"has {longest:g} s. Choose shorter ones."
        )
    number = np.arange(total) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    n_bins_S = np.full(total, round(window_s / bin_width_s))
    ids = [numbered(i) for i in range(total)]
    return Cuts(ids, np.repeat(start, n_windows) + number * window_s, n_bins_S)


def cut_trials(
    ids: list[str],
    start_S: np.ndarray,
    stop_S: np.ndarray,
    spikes: Spikes,
    *,
    n_bins: int | None,
    bin_width_s: float,
    snap: bool,
) -> Cuts:
    """Trials of `n_bins` bins from `start_S` on, or of as many whole bins as fit before `stop_S`.

    Those without a time, shorter than one bin, or outside the recording are left out.
    """
    timed = np.isfinite(start_S) & np.isfinite(stop_S)
    start_S, stop_S = np.where(timed, start_S, 0.0), np.where(timed, stop_S, 0.0)
    if snap:
        start_S = next_multiple(start_S, bin_width_s)
    n_bins_S = whole_bins(stop_S - start_S, bin_width_s)
    if n_bins is not None:
        n_bins_S = np.full(len(ids), n_bins)
    stop_S = start_S + n_bins_S * bin_width_s
    inside = covered(start_S, stop_S, spikes.observed_n2, OBSERVED_SLACK_S)
    cuts = Cuts(ids, start_S, n_bins_S)
    cuts.leave_out(~timed, "no time to start or stop at")
    cuts.leave_out(n_bins_S == 0, "shorter than one bin")
    cuts.leave_out(~inside, "outside the recording")
    return cuts


def numbers(
    path: str, column: str, values: np.ndarray, what: str, *, size: int | None = None
) -> np.ndarray:
    """A column of the trials table as (S, d) float64. what: it is for. size: the d it must have."""
    where = f"{path}: column {column!r} of the trials table"
    if values.dtype.kind in "OSU":
        if len(values) and isinstance(values[0], str):
            raise Refused(
                f"{where} holds text such as {values[0]!r}, but {what} needs numbers. Text can be used to stratify; "
                "for anything else, add a column of numbers to the file."
            )
        raise Refused(f"{where} must hold one number, or equally many, per trial for {what}.")
    result = values.reshape(len(values), -1).astype(np.float64)
    if size is not None and result.shape[1] != size:
        raise Refused(
            f"{where} must hold {size} number per trial for {what}, got {result.shape[1]}."
        )
    return result


def read_strata(path: str, column: str, values: np.ndarray) -> list[str]:
    """A column of the trials table as one text per trial, to stratify by."""
    single = values.ndim == 1 and (values.dtype != object or isinstance(values[0], str))
    if not single:
        raise Refused(
            f"{path}: column {column!r} of the trials table must hold one number or text per trial to stratify by, "
            f"got lists, such as {values[0]!r}."
        )
    return [str(value) for value in values]


def read_splits(
    path: str, ids: Sequence[str], column: str, values: np.ndarray, *, ldns_rule: bool
) -> list[str]:
    """What each trial's split may be, or `NO_SPLIT`.

    ldns_rule: the first half of the validation trials joins train, the rest becomes "val+test". All of them count,
    also those left out, so that no choice of covariates moves a trial to another split.
    """
    result = [str(value) for value in values]
    for trial, split in zip(ids, result, strict=True):
        if split not in (*SPLITS, NO_SPLIT):
            raise Refused(
                f"{path}: trial {trial!r}: column {column!r} must hold {', '.join(SPLITS)} or {NO_SPLIT}, got {split!r}. "
                f"Correct the file, or do not use that column: trials are then shared out over {UNASSIGNED}."
            )
    if ldns_rule:
        validation = [i for i, split in enumerate(result) if split == "val"]
        for place, i in enumerate(validation):
            result[i] = "train" if place < len(validation) // 2 else "val+test"
    return result
