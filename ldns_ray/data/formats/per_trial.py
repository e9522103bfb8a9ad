"""What arrays say of each trial: its conditions, split, stratum, name and session."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ldns_ray.data.formats.named_arrays import NamedArrays, as_texts
from ldns_ray.data.formats.specs import ArrayAngle, ValueSpec
from ldns_ray.data.recordings import DIGITS
from ldns_ray.data.splits import CHOICES, UNASSIGNED


def read_conditions(
    arrays: NamedArrays, specs: Sequence[ValueSpec], angles: Sequence[ArrayAngle], n_trials: int
) -> dict[str, np.ndarray]:
    """Name -> (S, d); of an angle (cos, sin), and its array as it is."""
    conditions: dict[str, np.ndarray] = {}
    for spec in specs:
        what = f"condition {spec.name!r}"
        array = arrays.per_trial(spec.source, what, n_trials)
        arrays.check_numbers(array, spec.source, what)
        if array.size == 0:
            arrays.fail(f"{what} {spec.source!r} must not be empty, got shape {array.shape}.")
        conditions[spec.name] = array.reshape(n_trials, -1)
    for angle in angles:
        what = f"angle {angle.name!r}"
        raw = arrays.column(angle.array, what, n_trials)
        arrays.check_numbers(raw, angle.array, what)
        degrees = raw * angle.factor if angle.table is None else _looked_up(arrays, angle, raw)
        radians = np.deg2rad(degrees.astype(np.float64))
        conditions.setdefault(angle.array, raw[:, None])
        conditions[angle.name] = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    return conditions


def _looked_up(arrays: NamedArrays, angle: ArrayAngle, index: np.ndarray) -> np.ndarray:
    assert angle.table is not None
    what = f"angle {angle.name!r}"
    table = arrays.column(angle.table, what)
    arrays.check_numbers(table, angle.table, what)
    if index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= len(table):
        arrays.fail(
            f"{angle.array!r} must index the {len(table)} entries of {angle.table!r}, "
            f"got {index.min()} … {index.max()}."
        )
    degrees: np.ndarray = table[index]
    return degrees


def read_splits(arrays: NamedArrays, name: str | None, ids: Sequence[str]) -> list[str]:
    """What each trial's split may be, one of `CHOICES`; any, where there is no array."""
    if name is None:
        return [UNASSIGNED] * len(ids)
    splits = as_texts(arrays.column(name, "split", len(ids)))
    for trial_id, split in zip(ids, splits, strict=True):
        if split not in CHOICES:
            missing = split.strip().lower() in ("", "nan", "none")
            arrays.fail(
                f"trial {trial_id!r}: {name!r} must hold {', '.join(CHOICES)}, got "
                f"{'nothing' if missing else repr(split)}. Write the trial's split, or those it may go to joined by "
                "+; or name no array of splits, and all trials are shared out."
            )
    return splits


def read_strata(arrays: NamedArrays, name: str | None, n_trials: int) -> list[str]:
    """A text per trial; numbers are written so that whole ones from 0 on sort as numbers. None without an array."""
    if name is None:
        return []
    rows = arrays.per_trial(name, "stratify", n_trials).reshape(n_trials, -1)
    if rows.dtype.kind == "f" and ((rows == np.floor(rows)) & (abs(rows) < 2**53)).all():
        rows = rows.astype(np.int64)
    columns = [as_texts(column, width=DIGITS) for column in rows.T]
    return [",".join(row) for row in zip(*columns, strict=True)]


def read_ids(arrays: NamedArrays, name: str | None, n_trials: int) -> list[str]:
    """The trials' names, each another; their numbers from 0 on where there is no array."""
    if name is None:
        return as_texts(np.arange(n_trials), width=DIGITS)
    ids = as_texts(arrays.column(name, "trial_id", n_trials), width=DIGITS)
    first: dict[str, int] = {}
    for i, trial_id in enumerate(ids):
        if not trial_id:
            arrays.fail(f"trial_id {name!r} must name every trial, got nothing for trial {i}.")
        if first.setdefault(trial_id, i) != i:
            arrays.fail(
                f"trial_id {name!r} must be another for every trial, got {trial_id!r} for trials "
                f"{first[trial_id]} and {i}."
            )
    return ids


def read_sessions(arrays: NamedArrays, session: str, n_trials: int) -> list[str]:
    """Of the array `session`, or this one name for all trials; "" where it is "" and there is no array "session"."""
    name = session or "session"
    if name in arrays.names:
        return as_texts(arrays.column(name, "session", n_trials))
    return [session] * n_trials


def read_unit_names(arrays: NamedArrays, name: str | None, n_units: int) -> list[str]:
    """The units' names in order; none where there is no array."""
    if name is None:
        return []
    names = as_texts(arrays.column(name, "unit_names"))
    if len(names) != n_units or not all(names):
        empty = "" if all(names) else ", some of them empty"
        arrays.fail(
            f"unit_names {name!r} must name the {n_units} units, got {len(names)} names{empty}."
        )
    return names
