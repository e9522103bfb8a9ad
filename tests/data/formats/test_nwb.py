"""Trials of small NWB files, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from pynwb import TimeSeries

from ldns_ray.data.formats.nwb import NwbReader
from ldns_ray.data.formats.specs import NwbAngle, SeriesSpec, ValueSpec
from ldns_ray.data.splits import UNASSIGNED
from tests.data.formats.nwb_files import ALWAYS, TWO, read, replace_data, series_file, write_nwb

"""One unit, seen from 0 s to 10 s."""


# -- Where trials begin and end


def test_trials_last_from_start_to_stop_in_whole_bins(tmp_path: Path) -> None:
    spikes = [[0.0, 1.0, 1.5, 1.99, 2.0, 4.0, 4.4999], [3.0, 3.25, 4.5, 9.0]]
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=spikes,
        trials={"start_time": [1.0, 3.0, 5.0, 6.0], "stop_time": [2.0, 4.7, 5.4, 6.5]},
    )
    recording = NwbReader(bin_ms=500).read(path)
    trials = list(recording.trials)
    assert [trial.spikes.tolist() for trial in trials] == [
        [[1, 0], [2, 0]],
        [[0, 2], [0, 0], [2, 0]],
        [[0, 0]],
    ]
    assert recording.dropped == {"shorter than one bin": 1}
    assert [trial.trial_id for trial in trials] == ["000000", "000001", "000003"]
    assert {(trial.session, trial.split) for trial in trials} == {("", UNASSIGNED)}
    assert recording.unit_names == ["0", "1"]


def test_windows_follow_one_another_in_each_observed_stretch(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=[[0.5, 1.5, 2.5, 3.5, 7.0, 8.9], [0.5]],
        observed=[[(0.5, 3.9), (7.0, 9.0)], [(0.0, 10.0)]],
    )
    recording = NwbReader(bin_ms=500, window_s=1.0).read(path)
    trials = list(recording.trials)
    # 0.5-1.5, 1.5-2.5, 2.5-3.5 (0.4 s are left over), 7-8, 8-9.
    counts = [[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]]
    assert [trial.spikes[:, 0].tolist() for trial in trials] == counts
    assert [trial.spikes[:, 1].tolist() for trial in trials] == [[1, 0]] + [[0, 0]] * 4
    assert [trial.trial_id for trial in trials] == [f"{i:06d}" for i in range(5)]
    assert {trial.split for trial in trials} == {UNASSIGNED}
    snapped, _ = read(path, NwbReader(bin_ms=1000, window_s=1.0, snap=True))
    # 1-2, 2-3, 7-8, 8-9.
    assert [trial.spikes[0, 0] for trial in snapped] == [1, 1, 1, 1]


def test_windows_span_all_spikes_where_the_file_has_no_observed_intervals(tmp_path: Path) -> None:
    path = write_nwb(tmp_path / "a.nwb", spikes=[[1.2, 2.0], [4.3]], trials=TWO)
    trials, _ = read(path, NwbReader(bin_ms=100, window_s=1.5))
    # 1.2-2.7, 2.7-4.2; the trials table is not looked at.
    assert [np.argwhere(trial.spikes).tolist() for trial in trials] == [[[0, 0], [8, 0]], []]


def test_trials_that_were_not_wholly_observed_are_left_out(tmp_path: Path) -> None:
    starts = [0.0, 1.0, 2.5, 4.0, 5.0, np.nan, 7.0]
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=[[0.1], [9.0], [9.5]],
        # The third unit says nothing; the first two touch at 3 s but for a tick.
        observed=[[(0.5, 2.999), (3.0, 6.0)], [(0.0, 4.2), (4.8, 10.0)], np.zeros((0, 2))],
        trials={
            "start_time": starts,
            "stop_time": [s + 1 for s in starts],
            "cue": [0.0, 1.0, 2.5, 4.0, 5.0, 5.0, 7.0],
        },
    )
    trials, dropped = read(path, NwbReader(bin_ms=100))
    assert [int(trial.trial_id) for trial in trials] == [1, 2, 4]
    assert dropped == {"outside the recording": 3, "no time to start or stop at": 1}
    trials, _ = read(path, NwbReader(bin_ms=100, align="cue", window_ms=(0, 500)))
    assert [int(trial.trial_id) for trial in trials] == [1, 2, 4, 5]
    trials, _ = read(path, NwbReader(bin_ms=100, align="cue", window_ms=(600, 1000)))
    assert [int(trial.trial_id) for trial in trials] == [0, 1, 2, 4, 5]


def test_without_observed_intervals_trials_lie_between_the_first_and_the_last_spike(tmp_path: Path) -> None:  # fmt: skip
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=[[1.0], [4.0]],
        trials={"start_time": [0.5, 1.0, 3.0, 3.5], "stop_time": [2.0, 2.0, 4.0, 4.5]},
    )
    trials, dropped = read(path, NwbReader(bin_ms=500))
    assert [trial.trial_id for trial in trials] == ["000001", "000002"]
    assert dropped == {"outside the recording": 2}


# -- Covariates


# -- The trials table


def test_conditions_angles_and_strata_come_from_columns(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=ALWAYS,
        trials={
            "start_time": [1.0, 2.0, 3.0, 4.0],
            "stop_time": [2.0, 3.0, 4.0, 5.0],
            "delay": [100, 200, 300, 400],
            "target": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, np.nan]],
            "correct": [True, False, True, True],
            "degrees": [0.0, 90.0, 180.0, 270.0],
            "radians": [0.0, np.pi / 2, np.pi, 0.0],
            "shape": ["round", "square", "round", "square"],
            "id": [7, 8, 9, 1234567],
        },
    )
    reader = NwbReader(
        bin_ms=500,
        conditions=(
            ValueSpec("wait", "delay", "ms"),
            ValueSpec("target", "target"),
            ValueSpec("correct", "correct"),
        ),
        angles=(NwbAngle("a", "degrees"), NwbAngle("b", "radians", unit="rad")),
        stratify="shape",
    )
    recording = reader.read(path)
    trials = list(recording.trials)
    assert recording.condition_units == {"wait": "ms", "target": "", "correct": ""}
    assert recording.dropped == {"no number for 'target'": 1}
    assert recording.strata == ["round", "square", "round"]
    assert [trial.trial_id for trial in trials] == ["0000007", "0000008", "0000009"]
    second = trials[1].conditions
    assert {name: values.tolist() for name, values in second.items() if name not in "ab"} == {
        "wait": [200.0],
        "target": [3.0, 4.0],
        "correct": [0.0],
    }
    for name in "ab":
        np.testing.assert_allclose(second[name], [0, 1], atol=1e-7)
        np.testing.assert_allclose(trials[2].conditions[name], [-1, 0], atol=1e-7)
    assert {values.dtype for values in second.values()} == {np.dtype(np.float32)}
    numbered = NwbReader(bin_ms=500, stratify="delay").read(path)
    assert len(list(numbered.trials)) == 4
    assert numbered.strata == ["100", "200", "300", "400"]


def test_equally_long_lists_are_a_vector(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=ALWAYS,
        trials=TWO,
        ragged={"even": [[1, 2], [3, 4]], "uneven": [[1], [2, 3]]},
    )
    trials, _ = read(path, NwbReader(bin_ms=500, conditions=(ValueSpec("even", "even"),)))
    assert trials[1].conditions["even"].tolist() == [3.0, 4.0]
    where = f"{path}: column 'uneven' of the trials table must hold one number"
    with pytest.raises(ValueError, match="equally many, per trial for condition 'x'") as error:
        NwbReader(bin_ms=500, conditions=(ValueSpec("x", "uneven"),)).read(path)
    assert str(error.value).startswith(where)
    with pytest.raises(ValueError, match=r"one number or text per trial to stratify by, got lists"):
        NwbReader(bin_ms=500, stratify="even").read(path)
    with pytest.raises(ValueError, match=r"must hold 1 number per trial for angle 'a', got 2"):
        NwbReader(bin_ms=500, angles=(NwbAngle("a", "even"),)).read(path)


def test_text_cannot_be_a_condition_or_a_time(tmp_path: Path) -> None:
    path = write_nwb(tmp_path / "a.nwb", spikes=ALWAYS, trials={**TWO, "shape": ["round", "flat"]})
    with pytest.raises(ValueError, match=r"column 'shape' of the trials table holds text such as 'round', but condition 's' needs numbers. Text can be used to stratify"):  # fmt: skip
        NwbReader(bin_ms=500, conditions=(ValueSpec("s", "shape"),)).read(path)
    with pytest.raises(ValueError, match=r"holds text such as 'round', but the time of a trial needs numbers"):  # fmt: skip
        NwbReader(bin_ms=500, align="shape", window_ms=(0, 500)).read(path)


def test_text_of_fixed_length_is_text(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=ALWAYS,
        trials={**TWO, "split": ["train", "test"], "shape": ["round", "flat"]},
    )
    with h5py.File(path, "r+") as file:
        for name in ("split", "shape"):
            column = file[f"intervals/trials/{name}"]
            replace_data(column, column.asstr()[:].astype("S"))
    recording = NwbReader(bin_ms=500, split="split", stratify="shape").read(path)
    assert [trial.split for trial in recording.trials] == ["train", "test"]
    assert recording.strata == ["round", "flat"]


def test_directions_that_cannot_be_taken_leave_trials_out(tmp_path: Path) -> None:
    data = np.ones((100, 2)) * [3.0, -4.0]
    data[35:40] = 0  # still from 3.5 to 4 s
    velocity = TimeSeries(name="v", data=data, unit="m/s", rate=10.0)
    path = series_file(
        tmp_path / "a.nwb",
        velocity,
        trials={"start_time": [1.0, 3.0, 5.0], "stop_time": [2.0, 4.0, 5.5]},
    )
    reader = NwbReader(
        bin_ms=500,
        covariates=(SeriesSpec("v", "v"),),
        angles=(NwbAngle("angle", "v", bin=1),),
    )
    trials, dropped = read(path, reader)
    np.testing.assert_allclose(trials[0].conditions["angle"], [0.6, -0.8], rtol=1e-6)
    assert len(trials) == 1
    assert dropped == {
        "no direction to take 'angle' from": 1,
        "no bin 1 to take 'angle' from": 1,
    }


# -- Units


def test_units_can_be_chosen_and_named(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=[[1.0], [1.0, 1.1], [0.0, 9.0], [1.6]],
        units={
            "quality": ["good", "noise", "good", "good"],
            "unit_name": ["a", "b", "c", "d"],
            "heldout": [True, False, False, True],
        },
        trials={"start_time": [1.0], "stop_time": [2.0]},
    )
    recording = NwbReader(bin_ms=500).read(path)
    assert recording.unit_names == ["b", "c", "a", "d"]
    assert next(recording.trials).spikes.tolist() == [[2, 0, 1, 0], [0, 0, 0, 1]]
    recording = NwbReader(bin_ms=500, unit_filter="quality=good").read(path)
    assert recording.unit_names == ["c", "a", "d"]
    assert next(recording.trials).spikes.tolist() == [[0, 1, 0], [0, 0, 1]]
    held_in = NwbReader(bin_ms=500, unit_filter="heldout=False").read(path)
    assert held_in.unit_names == ["b", "c"]
    with pytest.raises(ValueError, match=r"no column 'qality'; there are: quality, unit_name"):
        NwbReader(bin_ms=500, unit_filter="qality=good").read(path)
    with pytest.raises(ValueError, match=r"no unit has quality 'best'; .* are: good, noise"):
        NwbReader(bin_ms=500, unit_filter="quality=best").read(path)


def test_spikes_need_not_be_in_order(tmp_path: Path) -> None:
    path = write_nwb(
        tmp_path / "a.nwb",
        spikes=[[9.0, 1.7, 0.0, 1.1], [1.6, 1.2]],
        trials={"start_time": [1.0], "stop_time": [2.0]},
    )
    trials, _ = read(path, NwbReader(bin_ms=500))
    assert trials[0].spikes.tolist() == [[1, 1], [1, 1]]
