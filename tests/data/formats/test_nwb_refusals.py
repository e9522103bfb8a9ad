"""What is wrong with NWB files, options and texts is said with what to do."""

from __future__ import annotations

import fcntl
import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pynwb import TimeSeries

from ldns_ray.data.formats.nwb import NwbReader, mc_maze
from ldns_ray.data.formats.specs import NwbAngle, SeriesSpec, ValueSpec
from tests.data.formats.nwb_files import behavior, replace_data, write_nwb

TRIALS = {"start_time": [1.0, 3.0], "stop_time": [2.0, 4.5]}


def refused(path: str | Path, reader: NwbReader) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        list(reader.read(str(path)).trials)
    message = str(error.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).removeprefix(": ").strip()


# -- Files


def test_files_that_are_not_nwb(tmp_path: Path) -> None:
    text, plain, cut = tmp_path / "text.nwb", tmp_path / "plain.nwb", tmp_path / "cut.nwb"
    text.write_text("not a file of this kind")
    h5py.File(plain, "w").close()
    whole = Path(write_nwb(tmp_path / "whole.nwb", trials=TRIALS)).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    reader = NwbReader(bin_ms=500)
    for path, cause in ((text, "signature not found"), (plain, "version"), (cut, "truncated file")):
        message = refused(path, reader)
        assert message.startswith("cannot be read as NWB (")
        assert cause in message
        assert "Check that it is a whole .nwb file (HDF5)" in message


def test_files_damaged_inside(tmp_path: Path) -> None:
    path = write_nwb(tmp_path / "a.nwb", trials=TRIALS)
    with h5py.File(path, "r+") as file:
        index = file["units/spike_times_index"]
        index[...] = index[...] + 5
    assert refused(path, NwbReader(bin_ms=500)).startswith("cannot be read as NWB (")
    other = write_nwb(tmp_path / "b.nwb", trials=TRIALS)
    with h5py.File(other, "r+") as file:
        replace_data(file["intervals/trials/stop_time"], [2.0])
    message = refused(other, NwbReader(bin_ms=500))
    assert message.startswith("cannot be read as NWB (ConstructError: Could not construct Time")
    assert "Columns must be the same length)." in message
    assert "\n" not in message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.nwb"
    with pytest.raises(FileNotFoundError, match=f"No file {path}. Give the path of an .nwb file"):
        NwbReader(bin_ms=500).read(str(path))
    with pytest.raises(FileNotFoundError, match="No file"):
        NwbReader(bin_ms=500).read(str(tmp_path))


def test_files_that_may_not_be_read_now_are_no_fault_of_theirs(tmp_path: Path) -> None:
    path = write_nwb(tmp_path / "a.nwb", trials=TRIALS)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="lock"):
            NwbReader(bin_ms=500).read(path)


def test_pynwb_is_asked_for_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_nwb(tmp_path / "a.nwb", trials=TRIALS)
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(ImportError, match=r'pip install "ldns_ray\[nwb\]"'):
        NwbReader(bin_ms=500).read(path)


def test_files_without_units_spikes_or_trials(tmp_path: Path) -> None:
    reader = NwbReader(bin_ms=500)
    path = write_nwb(tmp_path / "none.nwb", spikes=None, trials=TRIALS)
    assert refused(path, reader) == "has no units. Give a file with sorted units (a units table)."
    path = write_nwb(tmp_path / "silent.nwb", spikes=[[], []], trials=TRIALS)
    assert refused(path, reader) == "the 2 units have no spikes."
    path = write_nwb(tmp_path / "nan.nwb", spikes=[[1.0], [1.0, np.nan]], trials=TRIALS)
    message = refused(path, reader)
    assert message == "unit 1 has spike times that are not finite. Repair the file."
    path = write_nwb(tmp_path / "long.nwb")
    message = refused(path, reader)
    assert (
        message == "has no trials. Give window_s to cut the recording into windows of that length."
    )
    message = refused(path, NwbReader(bin_ms=500, window_s=20.0))
    assert message.startswith("windows of 20 s do not fit: the longest stretch in which all units")
    assert message.endswith("were observed has 9 s. Choose shorter ones.")


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write_nwb(tmp_path / "a.nwb", trials=TRIALS)
    expected = "the trials table has no column 'cue'; there are: start_time, stop_time."
    for reader in (
        NwbReader(bin_ms=500, align="cue", window_ms=(0, 500)),
        NwbReader(bin_ms=500, stratify="cue"),
        NwbReader(bin_ms=500, split="cue"),
        NwbReader(bin_ms=500, conditions=(ValueSpec("x", "cue"),)),
        NwbReader(bin_ms=500, angles=(NwbAngle("x", "cue"),)),
    ):
        assert refused(path, reader) == expected


@pytest.mark.parametrize("wrong", ["validation", ""])
def test_splits_that_are_not_known(tmp_path: Path, wrong: str) -> None:
    path = write_nwb(tmp_path / "a.nwb", trials={**TRIALS, "split": ["train", wrong]})
    message = refused(path, NwbReader(bin_ms=500, split="split"))
    assert message == (
        f"trial '000001': column 'split' must hold train, val, test or none, got {wrong!r}. Correct the file, or do "
        "not use that column: trials are then shared out over train+val+test."
    )


def test_files_of_which_no_trial_is_left(tmp_path: Path) -> None:
    trials = {
        "start_time": [1.0, 2.0, 50.0],
        "stop_time": [2.0, np.nan, 51.0],
        "split": ["none", "train", "train"],
    }
    path = write_nwb(tmp_path / "a.nwb", trials=trials)
    message = refused(path, NwbReader(bin_ms=500, split="split"))
    assert message == (
        "none of the 3 trials can be used: split none (1), no time to start or stop at (1), "
        "outside the recording (1)."
    )


# -- Time series


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (
            TimeSeries(name="x", data=np.zeros((9, 2, 2)), unit="m", rate=1.0),
            "time series 'processing/behavior/x' must be numbers of shape (samples,) or (samples, channels), got "
            "float64 of shape (9, 2, 2).",
        ),
        (
            TimeSeries(name="x", data=["a", "b"], unit="n/a", timestamps=[0.0, 1.0]),
            "time series 'processing/behavior/x' must be numbers of shape (samples,) or (samples, channels), got "
            "object of shape (2,).",
        ),
        (
            TimeSeries(name="x", data=np.zeros(3), unit="m", timestamps=[0.0, 2.0, 1.0]),
            "time series 'processing/behavior/x': timestamps must not go back, got 2.000000 s and then 1.000000 s. "
            "Repair the file.",
        ),
        (
            TimeSeries(name="x", data=np.zeros(3), unit="pixels", rate=1.0),
            "covariate 'x': 'pixels' is not a known unit; known are m, s, g, V, A, N, Pa, Hz, rad, deg with SI "
            "prefixes, powers and /. Leave the unit out to keep the file's, 'pixels'.",
        ),
        (
            TimeSeries(name="x", data=np.zeros(3), unit="m/s", rate=1.0),
            "covariate 'x': 'm/s' cannot be converted to 'm': they measure different things. Leave the unit out to "
            "keep the file's, 'm/s'.",
        ),
        (
            TimeSeries(name="x", data=np.zeros((3, 3)), unit="m", rate=1.0),
            "angle 'a' needs a covariate of 2 channels, got 'x' with 3.",
        ),
    ],
)
def test_series_that_cannot_be_used(tmp_path: Path, series: Any, message: str) -> None:
    path = write_nwb(tmp_path / "a.nwb", trials=TRIALS, add=lambda file: behavior(file, series))
    reader = NwbReader(
        bin_ms=500,
        covariates=(SeriesSpec("x", "x", "m"),),
        angles=(NwbAngle("a", "x", bin=0),),
    )
    assert refused(path, reader) == message


@pytest.mark.filterwarnings("ignore:.*Length of data does not match length of timestamps")
def test_series_with_too_few_timestamps(tmp_path: Path) -> None:
    series = TimeSeries(name="x", data=np.zeros(4), unit="m", timestamps=[0.0, 1.0, 2.0, 3.0])
    path = write_nwb(tmp_path / "a.nwb", trials=TRIALS, add=lambda file: behavior(file, series))
    with h5py.File(path, "r+") as file:
        replace_data(file["processing/behavior/x/timestamps"], [0.0, 1.0, 2.0])
    reader = NwbReader(bin_ms=500, covariates=(SeriesSpec("x", "x"),))
    expected = "time series 'processing/behavior/x' has 4 samples but 3 timestamps."
    assert refused(path, reader) == expected


def test_the_file_of_the_test_split_is_refused_for_its_missing_behaviour(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        units={"heldout": [False]},
        trials={**TRIALS, "move_onset_time": [1.5, 3.5], "split": ["test", "test"]},
    )
    message = refused(path, mc_maze())
    assert message == "no time series 'behavior/hand_vel'; there are none in this file."


# -- Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin_ms": 0.0}, "bin_ms must be at least 0.1, got 0.0"),
        ({"bin_ms": float("nan")}, "bin_ms must be at least 0.1, got nan"),
        ({"align": "cue"}, "align and window_ms go together, got align 'cue' and window_ms None"),
        ({"window_ms": (0, 50)}, "align and window_ms go together, got align None and window_ms"),
        ({"align": "cue", "window_ms": (0, 12)}, "window_ms must hold a whole number of bins of 5 ms, got 12 ms"),
        ({"align": "cue", "window_ms": (50, 0)}, "window_ms must hold a whole number of bins of 5 ms, got -50 ms"),
        ({"align": "cue", "window_ms": (0, float("inf"))}, "whole number of bins of 5 ms, got inf ms"),
        ({"window_s": 0.0}, "window_s must hold a whole number of bins of 5 ms, got 0 ms"),
        ({"window_s": 0.5, "stratify": "x"}, "window_s ignores the trials table, but its column 'x' is asked for"),
        ({"split_rule": "ldns"}, "split_rule 'ldns' needs split, the column it applies to"),
        ({"split_rule": "other"}, "split_rule must be own or ldns, got 'other'"),
        (
            {"covariates": (SeriesSpec("x", "x"),), "conditions": (ValueSpec("x", "y"),)},
            "must have different names, got 'x' twice",
        ),
        (
            {"covariates": (SeriesSpec("v", "v"),), "angles": (NwbAngle("a", "w", bin=0),)},
            "angle 'a' must be of a covariate, got 'w'; there are: v",
        ),
        ({"angles": (NwbAngle("a", "w", bin=0),)}, "got 'w'; there are: none"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        NwbReader(**{"bin_ms": 5.0, **options})


# -- Texts


def test_texts_of_series() -> None:
    parse = SeriesSpec.parse
    assert parse("hand_vel") == SeriesSpec("hand_vel", "hand_vel")
    assert parse("behavior/hand_vel") == SeriesSpec("hand_vel", "behavior/hand_vel")
    assert parse("v=behavior/hand_vel:m/s") == SeriesSpec("v", "behavior/hand_vel", "m/s")
    assert parse("v=hand_vel:m/s@80") == SeriesSpec("v", "hand_vel", "m/s", 80.0)
    assert parse("v=hand_vel@-40ms") == SeriesSpec("v", "hand_vel", "", -40.0)
    for text in ("", "v=", "v=x:m@", "v=x@late", "v=x@1e"):
        with pytest.raises(ValueError, match=r"expected NAME=SERIES:UNIT@LAG_MS, .* got '"):
            parse(text)


def test_texts_of_columns() -> None:
    parse = ValueSpec.parse
    assert parse("delay") == ValueSpec("delay", "delay")
    assert parse("delay:ms") == ValueSpec("delay", "delay", "ms")
    assert parse("wait=delay:ms") == ValueSpec("wait", "delay", "ms")
    for text in ("", "=delay", "a=b=c"):
        with pytest.raises(ValueError, match=r"expected NAME, NAME:UNIT, NAME=SOURCE or .* got '"):
            parse(text)


def test_texts_of_angles() -> None:
    parse = NwbAngle.parse
    assert parse("angle=velocity[50]") == NwbAngle("angle", "velocity", 50)
    assert parse("angle=direction") == NwbAngle("angle", "direction")
    assert parse("angle=direction:rad") == NwbAngle("angle", "direction", unit="rad")
    for text in ("", "angle", "angle=v[-1]", "angle=v[x]", "angle=direction:turns", "angle="):
        with pytest.raises(ValueError, match=r"expected NAME=COVARIATE\[BIN\] or .* got '"):
            parse(text)
    with pytest.raises(ValueError, match="bin of angle 'a' must be at least 0, got -1"):
        NwbAngle("a", "v", -1)
    with pytest.raises(ValueError, match="unit must be deg or rad, got 'turns'"):
        NwbAngle("a", "v", unit="turns")  # type: ignore[arg-type]
