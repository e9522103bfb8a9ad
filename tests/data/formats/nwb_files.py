"""NWB files written with pynwb: any small one, and one laid out as MC_Maze is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.behavior import SpatialSeries

from ldns_ray.data.formats.nwb import NwbReader
from ldns_ray.data.schema import Trial


def write_nwb(
    path: Path,
    *,
    spikes: Sequence[Sequence[float]] | None = ((0.0, 0.5, 9.0),),
    units: Mapping[str, Sequence[Any]] | None = None,
    observed: Sequence[Sequence[tuple[float, float]]] | None = None,
    trials: Mapping[str, Sequence[Any]] | None = None,
    ragged: Mapping[str, Sequence[Any]] | None = None,
    session_id: str | None = None,
    add: Callable[[NWBFile], None] = lambda file: None,
) -> str:
    """Write a file and return its path.

    spikes: seconds, per unit. units, trials: column -> values. observed: intervals per unit.
    ragged: trial columns with lists of any length. add: adds time series.
    """
    file = NWBFile(
        session_description="a test",
        identifier="test",
        session_start_time=datetime(2009, 9, 25, tzinfo=UTC),
        session_id=session_id,
    )
    columns = {**(trials or {}), **(ragged or {})}
    for name in columns:
        if name not in ("start_time", "stop_time", "id"):
            file.add_trial_column(name, name, index=name in (ragged or {}))
    for i in range(len(columns.get("start_time", ()))):
        file.add_trial(**{name: values[i] for name, values in columns.items()})
    for name in units or {}:
        if name != "id":
            file.add_unit_column(name, name)
    for i, times in enumerate(spikes or ()):
        row = {name: values[i] for name, values in (units or {}).items()}
        if observed is not None:
            row["obs_intervals"] = observed[i]
        file.add_unit(spike_times=list(times), **row)
    add(file)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return str(path)


def behavior(file: NWBFile, *series: Any) -> None:
    module = file.create_processing_module("behavior", "Processed behavioral data")
    for one in series:
        module.add(one)


def replace_data(dataset: h5py.Dataset, values: Any) -> None:
    """Other values of any length, with the attributes of before."""
    group, name, attributes = dataset.parent, dataset.name, dict(dataset.attrs)
    del group[name]
    group[name] = values
    group[name].attrs.update(attributes)


@dataclass(frozen=True)
class Maze:
    """What was written, in whole milliseconds, so that it can be counted without rounding.

    onset_ms: of each trial. spikes_ms: of each unit, in the file's order. velocity_mm_s: (ms, 2) of the whole file.
    """

    path: str
    start_ms: np.ndarray
    onset_ms: np.ndarray
    spikes_ms: list[np.ndarray]
    velocity_mm_s: np.ndarray
    splits: list[str]


HELDOUT = (False, True, False, True, False)


def write_mc_maze(
    path: Path,
    *,
    conversion: float = 0.001,
    unit: str = "m/s",
    splits: Sequence[str] = ("train", "val", "train", "val", "val", "train", "val", "val"),
) -> Maze:
    """The tables and series of DANDI 000128's training file, of as many trials as `splits` names and 5 units.

    Trials of 3 s follow one another; each unit was observed, and the hand followed, inside them only.
    """
    rng = np.random.default_rng(0)
    n_trials = len(splits)
    start_ms = 3000 * np.arange(n_trials)
    stop_ms = start_ms + 2900
    delay = rng.integers(400, 600, n_trials)
    rt = rng.integers(250, 400, n_trials)
    onset_ms = start_ms + 500 + delay + rt
    ticks = np.concatenate([np.arange(a, b) for a, b in zip(start_ms, stop_ms, strict=True)])
    spikes_ms = [np.sort(rng.choice(ticks, len(ticks) // 10, replace=False)) for _ in HELDOUT]
    velocity = np.round(rng.normal(0, 300, (3000 * n_trials, 2)), 3)
    observed = list(zip(start_ms / 1000, stop_ms / 1000, strict=True))
    n_barriers = rng.integers(0, 4, n_trials)

    def add(file: NWBFile) -> None:
        seconds = ticks / 1000
        position = np.cumsum(velocity[ticks], axis=0) / 1000
        places = [
            SpatialSeries(
                name=name,
                data=position,
                timestamps=seconds,
                conversion=0.001,
                unit="m",
                reference_frame="centre of the screen",
            )
            for name in ("cursor_pos", "eye_pos", "hand_pos")
        ]
        hand_vel = TimeSeries(
            name="hand_vel",
            data=velocity[ticks],
            timestamps=seconds,
            conversion=conversion,
            unit=unit,
        )
        behavior(file, *places, hand_vel)

    write_nwb(
        path,
        session_id="full",
        spikes=[unit_ms / 1000 for unit_ms in spikes_ms],
        units={"heldout": HELDOUT},
        observed=[observed] * len(HELDOUT),
        trials={
            "start_time": start_ms / 1000,
            "stop_time": stop_ms / 1000,
            "trial_type": np.arange(n_trials) % 3,
            "rt": rt,
            "delay": delay,
            "target_on_time": (start_ms + 500) / 1000,
            "go_cue_time": (start_ms + 500 + delay) / 1000,
            "move_onset_time": onset_ms / 1000,
            "split": list(splits),
            "success": [True] * n_trials,
            "num_barriers": n_barriers,
        },
        ragged={
            "barrier_pos": [np.ones((n, 4), dtype=int).tolist() or [[0] * 4] for n in n_barriers],
            "target_pos": [[[100, -50]] * (1 + i % 2) for i in range(n_trials)],
        },
        add=add,
    )
    return Maze(str(path), start_ms, onset_ms, spikes_ms, velocity, list(splits))


ALWAYS = ((0.0, 5.0, 9.999),)


TWO: dict[str, Any] = {"start_time": [1.0, 3.0], "stop_time": [2.0, 4.5]}


def read(path: str, reader: NwbReader) -> tuple[list[Trial], dict[str, int]]:
    recording = reader.read(path)
    return list(recording.trials), dict(recording.dropped)


def series_file(path: Path, *series: Any, trials: dict[str, Any] | None = None) -> str:
    return write_nwb(
        path, spikes=ALWAYS, trials=trials or TWO, add=lambda file: behavior(file, *series)
    )
