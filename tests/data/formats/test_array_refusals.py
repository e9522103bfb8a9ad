"""Recordings in arrays that cannot be read: the one message for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.specs import ArrayAngle, ValueSpec
from ldns_ray.data.schema import TrialChecker
from ldns_ray.data.splits import CHOICES
from tests.data.formats.npz_files import CUT, LONG, aligned, continuous


def refusal(path: Path, **options: Any) -> str:
    """What is said of a recording that cannot be read, behind its path."""
    reader = ArrayReader(**({"bin_ms": 5} | options))
    with pytest.raises(ValueError, match=rf"^{path}: ") as error:
        list(reader.read(str(path)).trials)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin_ms": 2.5}, "bin_ms must be a whole multiple of sample_ms, got 2.5 ms bins of 1 ms samples"),
        ({"bin_ms": 0.5}, "whole multiple"),
        ({"bin_ms": float("inf")}, "whole multiple"),
        ({"bin_ms": float("nan")}, "bin_ms must be positive, got nan"),
        ({"sample_ms": 0.0}, "sample_ms must be positive, got 0.0"),
        ({"axes": ("trial", "time")}, "axes must be trial,unit,time or, .* got trial,time"),
        ({"axes": ("trial", "unit", "unit")}, "got trial,unit,unit"),
        ({"trial_start": "target"}, "axes trial,unit,time have a trial axis, .* got trial_start"),
        ({"window_samples": 5}, "no trials can be cut, got window_samples"),
        ({"axes": ("time", "unit")}, "long recording needs .*window_samples, got none of them"),
        (CUT | {"trial_len": None}, "got trial_start"),
        (CUT | {"window_samples": 5}, "got trial_len, trial_start, window_samples"),
        (CUT | {"trial_stop": "stop"}, "got trial_len, trial_start, trial_stop"),
        (LONG | {"trial_stop": "stop"}, "got trial_stop"),
        (LONG | {"window_samples": 0}, "window_samples must be at least 1, got 0"),
        (CUT | {"times_in": "min"}, "times_in must be samples, ms or s, got 'min'"),
        ({"covariates": (ValueSpec("x", "vel"),), "angles": (ArrayAngle("x", "target"),)}, "'x' 2 times"),
    ],
)  # fmt: skip
def test_options_are_checked_when_the_reader_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayReader(**({"bin_ms": 5} | options))


V, T = ValueSpec("v", "vel"), ValueSpec("t", "target")
BAD_SPLIT = "trial '000001': 'p' must hold train, val, test, train+val, train+test, val+test, train+val+test, got"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"spikes": "spike"}, "there is no array 'spike' for spikes; there are: spikes, target, vel."),
        ({}, {"bin_ms": 3}, "trial '000000' has 20 samples of 1 ms, not a whole number of 3 ms bins (6 such "
         "trials). Choose bins of 1, 2, 4, 5, 10 or 20 ms, which divide every trial, or cut"),
        ({}, {"axes": ("time", "unit"), "window_samples": 5}, "axes of 'spikes' must name its 3 axes, "),
        ({"spikes": np.zeros((6, 0, 20))}, {}, "spikes 'spikes' must not be empty, got shape (6, 0, 20) of trial,unit"),
        ({"spikes": np.zeros((6, 3, 20), complex)}, {}, "spikes 'spikes' must be numbers, got an array of complex128"),
        ({"spikes": np.full((6, 3, 20), "1")}, {}, "spikes 'spikes' must be numbers"),
        ({}, {"covariates": (ValueSpec("v", "target"),)}, "covariate 'v' 'target' must follow the spikes' trials and "),
        ({"vel": np.zeros((5, 20, 2))}, {"covariates": (V,)}, "time (6, 20), got shape (5, 20, 2)"),
        ({"vel": np.full((6, 20), "1")}, {"covariates": (V,)}, "covariate 'v' 'vel' must be numbers, got an array of <U1"),
        ({"target": np.zeros(5)}, {"stratify": "target"}, "stratify 'target' must have one entry per trial (6), got shape (5,)"),
        ({"target": np.zeros(5)}, {"conditions": (T,)}, "condition 't' 'target' must have one entry per trial (6)"),
        ({"target": np.zeros(6, complex)}, {"conditions": (T,)}, "condition 't' 'target' must be numbers"),
        ({"target": np.zeros((6, 2))}, {"angles": (ArrayAngle("a", "target"),)}, "angle 'a' 'target' must have one entry "),
        ({"target": np.full(6, "up")}, {"angles": (ArrayAngle("a", "target"),)}, "angle 'a' 'target' must be numbers"),
        ({"d": np.arange(4)}, {"angles": (ArrayAngle("a", "target", table="d"),)}, "'target' must index the 4 entries of 'd', "
         "got 0 … 6"),
        ({"d": np.zeros((8, 2))}, {"angles": (ArrayAngle("a", "target", table="d"),)}, "angle 'a' 'd' must have one axis, got"),
        ({"p": np.array(["train", "dev"] * 3)}, {"split": "p"}, f"{BAD_SPLIT} 'dev'."),
        ({"p": np.array(["train", ""] * 3)}, {"split": "p"}, f"{BAD_SPLIT} nothing. Write the trial's split, or those "),
        ({"p": np.array(["train", np.nan] * 3)}, {"split": "p"}, f"{BAD_SPLIT} nothing."),
        ({"i": np.array([7, 8, 9, 8, 1, 2])}, {"trial_id": "i"}, "'i' must be another for every trial, got '000008' for trials "
         "1 and 3"),
        ({"i": np.array(["a", "", "b", "c", "d", "e"])}, {"trial_id": "i"}, "got nothing for trial 1"),
        ({"u": np.arange(4)}, {"unit_names": "u"}, "unit_names 'u' must name the 3 units, got 4 names."),
        ({"u": np.array(["a", "", "b"])}, {"unit_names": "u"}, "got 3 names, some of them empty"),
    ],
)  # fmt: skip
def test_bad_aligned_input_is_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    assert message in refusal(aligned(tmp_path, **changes), **options)


def spoiled(value: float) -> np.ndarray:
    spikes = np.ones((6, 3, 20))
    spikes[2, 1, 13] = value
    return spikes


@pytest.mark.parametrize(
    ("value", "reason"),
    [(0.5, "must be whole numbers"), (-1, "must not be negative"), (np.nan, "must be finite")],
)
def test_a_bad_count_is_named_by_trial_bin_and_unit(
    tmp_path: Path, value: float, reason: str
) -> None:
    path = aligned(tmp_path, spikes=spoiled(value))
    where = "trial '000002', in the file's 1 ms bins, bin 13, unit 1: spike counts "
    assert refusal(path).startswith(where + reason)
    assert refusal(path, bin_ms=1).startswith("trial '000002', bin 13, unit 1: spike counts ")


def test_a_sum_that_is_too_large_is_named_in_the_new_bins(tmp_path: Path) -> None:
    path = aligned(tmp_path, spikes=spoiled(65535.0))
    where = "trial '000002', summed to 5 ms bins, bin 2, unit 1: spike counts must be at most 65535"
    assert refusal(path).startswith(f"{where}, got 65539")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"len": np.array([8, 12, 21])}, {}, "trial 2 must lie within the recording's 50 samples and have at least one, "
         "got 21 from sample 30 on (1 such trials)"),
        ({"start": np.array([-1, 10, 30])}, {}, "trial 0 must lie within"),
        ({"start": np.array([0, 10, 2**63 - 1])}, {}, "trial 2 must lie within"),
        ({"start": np.array([0, 10, 2**64 - 1], np.uint64)}, {}, "trial 2 must lie within"),
        ({"len": np.array([8, 0, 20])}, {}, "trial 1 must lie within"),
        ({"len": np.array([8, 12])}, {}, "trial_len 'len' must have one entry per trial (3), got shape (2,)"),
        ({"len": np.array([8.0, 12, 20])}, {}, "trial_len 'len' must be whole numbers of samples, got an array of float64. "
         "Where they are times, say in what (times_in ms or s)"),
        ({"start": np.zeros((3, 2), int)}, {}, "trial_start 'start' must have one axis, got shape (3, 2)"),
        ({"start": np.array([], int), "len": np.array([], int)}, {}, "there are no trials: 'len' is empty"),
        ({}, {"trial_len": None, "trial_stop": "len"}, "trial 2 must lie within the recording's 50 samples and have at least "
         "one, got -10 from sample 30 on (1 such trials)"),
        ({}, {"trial_start": ""}, "there is no array '' for trial_start; there are: counts, vel, start, len."),
        ({}, {"trial_start": None}, "trial_len 'len' must add up to the recording's 50 samples where there is no trial_start, "
         "got 40"),
        ({"len": np.array([8, -1, 43])}, {"trial_start": None}, "trial 1 must lie within"),
        ({"len": np.array([8, 12, np.nan])}, {"times_in": "s"}, "trial_len 'len' must be finite numbers of s"),
        ({"len": np.array([50, 50, 1e300])}, {"times_in": "ms"}, "trial 2 must lie within"),
        ({}, {"trial_start": None, "trial_len": None, "window_samples": 51}, "windows must have at most the recording's 50 "
         "samples, got 51"),
        ({"vel": np.zeros((49, 2))}, {"covariates": (V,)}, "covariate 'v' 'vel' must follow the spikes' time (50,), got"),
        ({"vel": np.zeros((25, 2))}, {"covariates": (V,), "bin_ms": 100}, "covariate 'v' 'vel' must follow"),
        ({}, {"bin_ms": 150}, "trial '000000' has 8 samples of 50 ms, not a whole number of 150 ms bins (2 such trials). "
         "Choose bins of 50, 100 or 200 ms"),
        ({"len": np.array([7, 12, 20])}, {"bin_ms": 100}, "Choose bins of 50 ms, which"),
    ],
)  # fmt: skip
def test_bad_long_input_is_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    assert message in refusal(continuous(tmp_path, **changes), **(CUT | options))


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_values_that_are_not_finite_are_left_to_the_check_of_trials(
    tmp_path: Path, value: float
) -> None:
    path = aligned(tmp_path, vel=np.full((6, 20), value))
    reader = ArrayReader(bin_ms=5, covariates=(V,), session="day 1")
    trial = next(reader.read(str(path)).trials)
    with pytest.raises(ValueError, match=r"^a.npz: trial '000000': covariate 'v' .* finite"):
        TrialChecker(CHOICES).check(trial, "a.npz: ")
