"""Time series of NWB files in the bins of trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pynwb import NWBFile, TimeSeries
from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries
from pynwb.ecephys import ElectricalSeries

from ldns_ray.data.formats.nwb import NwbReader
from ldns_ray.data.formats.specs import SeriesSpec
from tests.data.formats.nwb_files import ALWAYS, TWO, behavior, read, series_file, write_nwb


def test_a_series_with_a_rate_is_averaged_and_lagged(tmp_path: Path) -> None:
    ramp = TimeSeries(name="ramp", data=np.arange(100), unit="V", rate=10.0, starting_time=0.5)
    path = series_file(tmp_path / "a.nwb", ramp)
    spec = SeriesSpec("ramp", "ramp")
    # Sample i lies at 0.5 + i / 10 s. From 1 s on: samples 5-9, then 10-14.
    trials, _ = read(path, NwbReader(bin_ms=500, covariates=(spec,)))
    assert trials[0].covariates["ramp"].tolist() == [[7.0], [12.0]]
    assert trials[0].covariates["ramp"].dtype == np.float32
    # 300 ms later: samples 8-12, 13-17; 300 ms earlier: 2-6, 7-11.
    for lag, expected in ((300, [[10.0], [15.0]]), (-300, [[4.0], [9.0]])):
        reader = NwbReader(bin_ms=500, covariates=(SeriesSpec("ramp", "ramp", lag_ms=lag),))
        assert read(path, reader)[0][0].covariates["ramp"].tolist() == expected


def test_a_series_slower_than_the_bins_is_interpolated_at_their_centres(tmp_path: Path) -> None:
    slow = TimeSeries(name="slow", data=np.arange(10) * 10.0, unit="m", rate=1.0)
    path = series_file(tmp_path / "a.nwb", slow)
    trials, _ = read(path, NwbReader(bin_ms=250, covariates=(SeriesSpec("slow", "slow"),)))
    # Bins from 1 s on: the first holds the sample at 1 s; the others have centres 1.375, 1.625, 1.875 s.
    expected = [[10.0], [13.75], [16.25], [18.75]]
    np.testing.assert_allclose(trials[0].covariates["slow"], expected, rtol=1e-6)


def test_gaps_and_nan_leave_trials_out_but_one_missing_sample_does_not(tmp_path: Path) -> None:
    seconds = np.arange(100) / 10
    x = np.stack([seconds, -seconds], axis=1)
    x[15] = np.nan  # one sample, at 1.5 s
    x[35:37, 1] = np.nan  # two, at 3.5 and 3.6 s: 0.3 s between good ones
    stamps = seconds.copy()
    stamps[90] = np.nan  # a lost time is a missing sample too
    holed = TimeSeries(name="x", data=x, unit="m", timestamps=stamps)
    path = series_file(tmp_path / "a.nwb", holed)
    reader = NwbReader(bin_ms=100, covariates=(SeriesSpec("x", "x"),))
    trials, dropped = read(path, reader)
    assert [trial.trial_id for trial in trials] == ["000000"]
    assert dropped == {"a gap in 'x'": 1}
    # Bin 5 (1.5-1.6 s) has no sample: the line between 1.4 and 1.6 s at its centre.
    np.testing.assert_allclose(trials[0].covariates["x"][5], [1.55, -1.55], rtol=1e-6)
    late = NwbReader(bin_ms=100, covariates=(SeriesSpec("x", "x", lag_ms=8200),))
    with pytest.raises(ValueError, match=r"none of the 2 trials can be used: a gap in 'x' \(2\)"):
        read(path, late)


def test_values_are_data_times_conversion_plus_offset_in_the_unit_wanted(tmp_path: Path) -> None:
    data = np.tile([[1, 2]], (100, 1)).astype(np.int16)
    series = TimeSeries(
        name="x", data=data, unit="meters", conversion=0.5, offset=3.0, rate=10.0
    )  # 3.5, 4.0 m
    path = series_file(tmp_path / "a.nwb", series)
    for unit, expected, told in (("", [3.5, 4], "meters"), ("cm", [350, 400], "cm")):
        recording = NwbReader(bin_ms=500, covariates=(SeriesSpec("x", "x", unit),)).read(path)
        assert next(recording.trials).covariates["x"].tolist() == [expected, expected]
        assert recording.covariate_units == {"x": told}


def test_electrical_series_have_a_gain_per_channel(tmp_path: Path) -> None:
    def add(file: NWBFile) -> None:
        device = file.create_device(name="array")
        group = file.create_electrode_group("g", "g", "arm", device)
        for _ in range(2):
            file.add_electrode(location="arm", group=group)
        emg = ElectricalSeries(
            name="emg",
            data=np.ones((100, 2)),
            electrodes=file.create_electrode_table_region([0, 1], "both"),
            rate=10.0,
            conversion=0.001,
            channel_conversion=[1.0, 2.0],
        )
        file.add_acquisition(emg)

    path = write_nwb(tmp_path / "a.nwb", spikes=ALWAYS, trials=TWO, add=add)
    spec = SeriesSpec("emg", "acquisition/emg", "mV")
    trials, _ = read(path, NwbReader(bin_ms=500, covariates=(spec,)))
    assert trials[0].covariates["emg"].tolist() == [[1.0, 2.0], [1.0, 2.0]]


def nested(path: Path) -> str:
    def series(name: str, value: float) -> dict[str, Any]:
        return {"name": name, "data": np.full(100, value), "rate": 10.0}

    def add(file: NWBFile) -> None:
        position, more = Position(), BehavioralTimeSeries()
        position.add_spatial_series(SpatialSeries(reference_frame="x", **series("hand", 1.0)))
        more.add_timeseries(TimeSeries(unit="m", **series("hand", 2.0)))
        behavior(file, position, more, TimeSeries(unit="V", **series("eye", 3.0)))
        file.add_acquisition(TimeSeries(unit="V", **series("eye", 4.0)))
        file.add_stimulus(TimeSeries(unit="V", **series("light", 5.0)))

    return write_nwb(path, spikes=ALWAYS, trials=TWO, add=add)


def test_series_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    path = nested(tmp_path / "a.nwb")
    names = {
        "Position/hand": 1.0,
        "behavior/BehavioralTimeSeries/hand": 2.0,
        "processing/behavior/eye": 3.0,
        "/acquisition/eye": 4.0,
        "light": 5.0,
    }
    specs = tuple(SeriesSpec(name.replace("/", "_"), name) for name in names)
    trials, _ = read(path, NwbReader(bin_ms=500, covariates=specs))
    got = [float(trials[0].covariates[spec.name][0, 0]) for spec in specs]
    assert got == list(names.values())


def test_unknown_and_ambiguous_series_are_told_with_what_there_is(tmp_path: Path) -> None:
    path = nested(tmp_path / "a.nwb")

    def message(name: str, where: str = path) -> str:
        with pytest.raises(ValueError, match="time series") as error:
            NwbReader(bin_ms=500, covariates=(SeriesSpec("x", name),)).read(where)
        return str(error.value)

    hands = {"processing/behavior/Position/hand", "processing/behavior/BehavioralTimeSeries/hand"}
    start, _, rest = message("hand").partition(" may be any of ")
    found, _, advice = rest.partition(". ")
    assert start == f"{path}: time series 'hand'"
    assert set(found.split(", ")) == hands
    assert advice == "Give more of its path."
    assert message("hand_vel").startswith(f"{path}: no time series 'hand_vel'; there are: ")
    assert "processing/behavior/eye" in message("hand_vel")
    # Not the end of a name, but of a path.
    assert message("ye").startswith(f"{path}: no time series 'ye'")
    bare = write_nwb(tmp_path / "bare.nwb", trials=TWO)
    assert message("eye", bare) == f"{bare}: no time series 'eye'; there are none in this file."
