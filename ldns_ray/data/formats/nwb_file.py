"""What a reader needs of one NWB file, as plain arrays; the file is closed again.

The one place that knows pynwb. Shapes: S trials, N units, K spikes or samples, d channels. Times in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ldns_ray.data.formats.files import check_self_contained
from ldns_ray.data.formats.intervals import common
from ldns_ray.data.recordings import DIGITS

OBSERVED_SLACK_S = 1e-3
"""Observed intervals may end and begin a millisecond early or late: some are given by the first and last tick of a
1 ms clock, so that touching ones seem a tick apart."""


class Refused(ValueError):
    """What is wrong with a file, in words that begin with its path."""


@dataclass(frozen=True, eq=False)
class Spikes:
    """All spikes of the chosen units, in order of time.

    times_K: seconds. units_K: the unit of each spike, 0 … N - 1. names: of the units. observed_n2: the stretches
    (start, stop) in which every unit was observed; where the file does not say, from the first to the last spike.
    """

    times_K: np.ndarray
    units_K: np.ndarray
    names: list[str]
    observed_n2: np.ndarray


@dataclass(frozen=True, eq=False)
class Series:
    """The finite samples of a time series in order of time.

    times_K: seconds. values_Kd: in `unit`. interval_s: the usual time from one sample to the next.
    """

    path: str
    times_K: np.ndarray
    values_Kd: np.ndarray
    unit: str
    interval_s: float


@dataclass(frozen=True, eq=False)
class Content:
    """trials: the wanted columns of the trials table, and its ids; None where no columns were wanted."""

    session: str
    spikes: Spikes
    series: list[Series]
    trials: Mapping[str, np.ndarray] | None
    ids: list[str]


def load(
    path: str, *, series: Sequence[str], columns: Sequence[str], unit_filter: str | None = None
) -> Content:
    """Read the spikes, the named series and the named columns of the trials table.

    series: paths, or their ends, of time series. unit_filter: COLUMN=VALUE of the units table.
    Raises ValueError that begins with the path, also where parts of the file lie in others, OSError where the file is not there or may not be read, and
    ImportError without pynwb.
    """
    pynwb = _pynwb()
    import h5py  # pynwb needs it

    if not os.path.isfile(path):
        raise FileNotFoundError(f"No file {path}. Give the path of an .nwb file.")
    try:
        with h5py.File(path, "r") as raw:
            check_self_contained(raw)
        with pynwb.NWBHDF5IO(path, "r") as io:
            file = io.read()
            places = dict(_time_series(file, pynwb))
            return Content(
                session=file.session_id or "",
                spikes=_spikes(path, file.units, unit_filter),
                series=[_series(path, _find(path, name, places), places) for name in series],
                trials=_columns(path, file.trials, columns) if columns else None,
                ids=_ids(file.trials) if columns else [],
            )
    except Refused:
        raise
    except Exception as error:  # pynwb, hdmf and h5py raise what they like on a broken file
        if isinstance(error, OSError) and error.errno is not None:
            raise
        cause = error.args[-1] if error.args else ""  # hdmf puts what it was building in front
        raise ValueError(
            f"{path}: cannot be read as NWB ({type(error).__name__}: {cause}). Check that it is a whole .nwb file "
            "(HDF5), such as with `python -m pynwb.validate`."
        ) from error


def _pynwb() -> ModuleType:
    try:
        import pynwb
    except ImportError as error:
        raise ImportError(
            'NWB files need pynwb, which is not installed. Install it with: pip install "ldns_ray[nwb]"'
        ) from error
    return pynwb


# -- Units


def _spikes(path: str, table: Any, unit_filter: str | None) -> Spikes:
    if table is None or len(table) == 0:
        raise Refused(f"{path} has no units. Give a file with sorted units (a units table).")
    if "spike_times" not in table.colnames:
        raise Refused(
            f"{path}: the units table has no column 'spike_times'; there are: {', '.join(table.colnames)}."
        )
    ids = np.asarray(table.id[:])
    chosen = np.arange(len(ids))
    if unit_filter is not None:
        chosen = _filtered(path, table, unit_filter)
    if "heldout" in table.colnames and np.asarray(table["heldout"][:]).dtype == bool:
        # Held-in units first, as the Neural Latents Benchmark orders them.
        chosen = chosen[np.argsort(table["heldout"][:][chosen], kind="stable")]
    place = np.full(len(ids), -1)
    place[chosen] = np.arange(len(chosen))
    times, ends = _ragged(table["spike_times"])
    units = np.repeat(place, np.diff(ends, prepend=0))
    times, units = times[units >= 0].astype(np.float64), units[units >= 0]
    if len(times) == 0:
        raise Refused(f"{path}: the {len(chosen)} units have no spikes.")
    if not np.isfinite(times).all():
        unit = ids[chosen[units[np.argmin(np.isfinite(times))]]]
        raise Refused(f"{path}: unit {unit} has spike times that are not finite. Repair the file.")
    order = np.argsort(times, kind="stable")
    observed = times[order][np.newaxis, [0, -1]]
    if "obs_intervals" in table.colnames:
        rows, ends = _ragged(table["obs_intervals"])
        given = np.split(rows, ends[:-1])
        # A unit without intervals says nothing of when it was observed.
        intervals = [given[unit] for unit in chosen if len(given[unit])]
        observed = common(intervals, OBSERVED_SLACK_S) if intervals else observed
    has_names = "unit_name" in table.colnames
    names = np.asarray(table["unit_name"][:] if has_names else ids)[chosen]
    return Spikes(times[order], units[order], [str(name) for name in names], observed)


def _ragged(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The flat values of an indexed column, and where each row's end."""
    return np.asarray(column.target.data[:]), np.asarray(column.data[:]).astype(np.int64)


def _filtered(path: str, table: Any, unit_filter: str) -> np.ndarray:
    name, _, wanted = unit_filter.partition("=")
    if name not in table.colnames:
        raise Refused(
            f"{path}: the units table has no column {name!r}; there are: {', '.join(table.colnames)}."
        )
    values = np.array([str(value) for value in table[name][:]])
    chosen = np.flatnonzero(values == wanted)
    if len(chosen) == 0:
        there = ", ".join(np.unique(values)[:10])
        raise Refused(f"{path}: no unit has {name} {wanted!r}; values of that column are: {there}.")
    return chosen


# -- Trials


def _columns(path: str, table: Any, columns: Sequence[str]) -> dict[str, np.ndarray]:
    if table is None or len(table) == 0:
        raise Refused(
            f"{path} has no trials. Give window_s to cut the recording into windows of that length."
        )
    for name in columns:
        if name not in table.colnames:
            raise Refused(
                f"{path}: the trials table has no column {name!r}; there are: {', '.join(table.colnames)}."
            )
    return {name: _column(table[name][:]) for name in columns}


def _column(values: Any) -> np.ndarray:
    """One row per trial; rows of different shapes stay objects."""
    if isinstance(values, np.ndarray):
        return np.char.decode(values) if values.dtype.kind == "S" else values
    rows = [np.asarray(row) for row in values]
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    result = np.empty(len(rows), dtype=object)
    result[:] = rows
    return result


def _ids(table: Any) -> list[str]:
    """Trial ids as text, with leading zeros, so that they sort as numbers."""
    ids = [str(i) for i in table.id[:]]
    width = max([DIGITS, *map(len, ids)])
    return [i.zfill(width) for i in ids]


# -- Time series


def _time_series(file: Any, pynwb: ModuleType) -> Iterator[tuple[str, Any]]:
    """Path and object of each time series, such as processing/behavior/Position/hand."""

    def inside(container: Any, path: str) -> Iterator[tuple[str, Any]]:
        path = f"{path}/{container.name}"
        if isinstance(container, pynwb.TimeSeries):
            yield path, container
            return
        for child in container.children:
            yield from inside(child, path)

    for place in ("acquisition", "processing", "analysis", "stimulus"):
        for container in getattr(file, place).values():
            yield from inside(container, place)


def _find(path: str, name: str, places: Mapping[str, Any]) -> str:
    """The path of the series called `name`: a path, or the end of one."""
    found = [place for place in places if f"/{place}".endswith(f"/{name.strip('/')}")]
    if len(found) == 1:
        return found[0]
    if not found:
        there = f"there are: {', '.join(places)}" if places else "there are none in this file"
        raise Refused(f"{path}: no time series {name!r}; {there}.")
    raise Refused(
        f"{path}: time series {name!r} may be any of {', '.join(found)}. Give more of its path."
    )


def _series(path: str, place: str, places: Mapping[str, Any]) -> Series:
    series, where = places[place], f"{path}: time series {place!r}"
    data = np.asarray(series.data[:])
    if data.ndim not in (1, 2) or data.dtype.kind not in "iuf":
        raise Refused(
            f"{where} must be numbers of shape (samples,) or (samples, channels), got {data.dtype} of shape {data.shape}."
        )
    # An NWB value is data * conversion + offset, in the series' unit; electrical ones have a gain per channel too.
    gain = getattr(series, "channel_conversion", None)
    scale = series.conversion * (1.0 if gain is None else np.asarray(gain[:], dtype=np.float64))
    values = (data if data.ndim == 2 else data[:, None]).astype(np.float64) * scale + series.offset
    if series.timestamps is not None:
        times = np.asarray(series.timestamps[:], dtype=np.float64)
        steps = np.diff(times)
        steps = steps[np.isfinite(steps)]
        interval = float(np.median(steps)) if len(steps) else 0.0
    else:
        times = series.starting_time + np.arange(len(data)) / series.rate
        interval = 1 / series.rate
    if len(times) != len(values):
        raise Refused(f"{where} has {len(values)} samples but {len(times)} timestamps.")
    finite = np.isfinite(times) & np.isfinite(values).all(axis=1)
    if not finite.all():
        times, values = times[finite], values[finite]
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        i = int(back[0])
        raise Refused(
            f"{where}: timestamps must not go back, got {times[i]:.6f} s and then {times[i + 1]:.6f} s. Repair the file."
        )
    return Series(place, times, values, series.unit, interval)
