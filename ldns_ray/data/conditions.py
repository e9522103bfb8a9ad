"""Conditions and covariates of trials to sample, from a `.npz` or `.csv` file.

Shapes: n trials, T bins, C entries of a condition, K channels of a covariate.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ldns_ray.archives import UnreadableError, read_npz
from ldns_ray.storage import Uri, exists, read_bytes

N_BINS = "n_bins"
"""The array or column of lengths."""


@dataclass(frozen=True)
class TrialConditions:
    """What trials are to be sampled for, as far as it is given.

    n_bins: (n,) int64, or None. conditions: name -> (n, C) float32. covariates: name -> n arrays (T_i, K) float32.
    """

    n_bins: np.ndarray | None
    conditions: dict[str, np.ndarray]
    covariates: dict[str, list[np.ndarray]]

    def __len__(self) -> int:
        columns: list[Any] = [*self.conditions.values(), *self.covariates.values()]
        return len(self.n_bins if self.n_bins is not None else columns[0])

    def cycled(self, n: int) -> TrialConditions:
        """Those of `n` trials: the first ones, or all of them over and over."""
        index = np.arange(n) % len(self)
        return TrialConditions(
            None if self.n_bins is None else self.n_bins[index],
            {name: x[index] for name, x in self.conditions.items()},
            {name: [x[i] for i in index] for name, x in self.covariates.items()},
        )


def is_condition_file(uri: str) -> bool:
    """Whether a path or URI is read by `read_conditions`; a dataset is a folder."""
    return uri.lower().endswith((".npz", ".csv"))


def read_conditions(
    uri: Uri, *, conditions: Mapping[str, int], covariates: Mapping[str, int]
) -> TrialConditions:
    """What a `.npz` or `.csv` file asks for of a model with these conditions and covariates, name -> size.

    `.npz`: arrays by name: conditions (n, C), or (n,) of one entry; covariates (n, T, K), or flat (sum of T, K)
    together with the lengths; optionally the lengths, integers `n_bins` (n,), which also cut (n, T, K).
    `.csv`: a header and a line per trial: columns `angle.0,angle.1`, or just `name` of one entry, and `n_bins`.
    Nothing is unpickled. Raises FileNotFoundError, and ValueError naming the file and the array or column.
    """
    if not exists(uri):
        raise FileNotFoundError(f"No file {uri}. Give a .npz or .csv file, or a dataset.")
    reader = _Reader(str(uri), dict(conditions), dict(covariates))
    content = read_bytes(uri)
    given = reader.csv(content) if str(uri).lower().endswith(".csv") else reader.npz(content)
    if len(given) == 0:
        reader.fail("there are no trials. Write one row for each.")
    for kind, there, known in (
        ("condition", given.conditions, conditions), ("covariate", given.covariates, covariates),
    ):  # fmt: skip
        missing = [name for name in known if name not in there]
        if missing and (given.conditions or given.covariates):
            reader.fail(
                f"the {kind} {missing[0]!r} is missing; {reader.known}. Add it"
                + (" in a .npz file" if kind == "covariate" else "")
                + ", or leave all out to draw those of training trials."
            )
    return given


@dataclass(frozen=True)
class _Reader:
    """One file, with errors that name it."""

    path: str
    conditions: dict[str, int]
    covariates: dict[str, int]

    @property
    def known(self) -> str:
        return (
            f"the model was trained with the conditions {', '.join(self.conditions) or 'none'} and the "
            f"covariates {', '.join(self.covariates) or 'none'}"
        )

    def fail(self, problem: str) -> NoReturn:
        raise ValueError(f"{self.path}: {problem}")

    # -- Arrays

    def npz(self, content: bytes) -> TrialConditions:
        arrays = self._arrays(content)
        for name in arrays:
            if name not in (N_BINS, *self.conditions, *self.covariates):
                self.fail(
                    f"array {name!r} is not known; {self.known}. Lengths are called {N_BINS}. "
                    "Rename the array or leave it out."
                )
        n_bins = self._lengths(arrays.get(N_BINS))
        rows = {N_BINS: len(n_bins)} if n_bins is not None else {}
        conditions, covariates = {}, {}
        for name, size in self.conditions.items():
            if name in arrays:
                conditions[name] = self._condition(name, arrays[name], size)
                rows[name] = len(conditions[name])
        for name, size in self.covariates.items():
            if name in arrays:
                covariates[name] = self._covariate(name, arrays[name], size, n_bins)
                rows[name] = len(covariates[name])
        first = next(iter(rows), None)
        if first is None:
            self.fail(f"there are no arrays; {self.known}. Save some with numpy.savez.")
        for name, n in rows.items():
            if n != rows[first]:
                self.fail(
                    f"array {name!r} is of {n} trials, {first!r} of {rows[first]}. Give as many of each."
                )
        if n_bins is None and covariates:
            n_bins = np.array([len(x) for x in next(iter(covariates.values()))], dtype=np.int64)
        for name, trials in covariates.items():
            for i, x in enumerate(trials):
                if n_bins is not None and len(x) != n_bins[i]:
                    self.fail(f"array {name!r} has {len(x)} bins in trial {i}, not {n_bins[i]}.")
        return TrialConditions(n_bins, conditions, covariates)

    def _arrays(self, content: bytes) -> dict[str, np.ndarray]:
        try:
            return read_npz(content)
        except UnreadableError as error:
            if error.array is None:
                self.fail("not a .npz file. Save one with numpy.savez.")
            self.fail(
                f"array {error.array!r} cannot be read: it is damaged, or holds Python objects. Save it as numbers."
            )

    def _lengths(self, array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        if array.ndim != 1 or array.dtype.kind not in "iu":
            self.fail(
                f"array {N_BINS!r} must be whole numbers, one per trial, got {array.dtype} of shape {array.shape}."
            )
        if len(array) and array.min() < 1:
            trial = int(array.argmin())
            self.fail(f"array {N_BINS!r} must be at least 1, got {array[trial]} in trial {trial}.")
        return array.astype(np.int64)

    def _numbers(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype.kind not in "biuf":
            self.fail(f"array {name!r} must be numbers, got {array.dtype}.")
        with np.errstate(
            over="ignore"
        ):  # what is too large becomes infinite and is refused as such
            return array.astype(np.float32)

    def _condition(self, name: str, array: np.ndarray, size: int) -> np.ndarray:
        values = self._numbers(name, array)
        if values.ndim == 1 and size == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != size:
            self.fail(
                f"array {name!r} must have one row of {size} per trial, (n, {size}), got {array.shape}."
            )
        self._check_finite(name, values)
        return values

    def _covariate(
        self, name: str, array: np.ndarray, size: int, n_bins: np.ndarray | None
    ) -> list[np.ndarray]:
        values = self._numbers(name, array)
        if values.ndim not in (2, 3) or values.shape[-1] != size:
            self.fail(
                f"array {name!r} must be (n, T, {size}), or flat (sum of T, {size}) with the array {N_BINS}, "
                f"got {array.shape}."
            )
        if values.ndim == 2:
            if n_bins is None:
                self.fail(
                    f"array {name!r} is flat, {array.shape}: give the trials' lengths in an array {N_BINS}, or an "
                    f"array (n, T, {size})."
                )
            if n_bins.sum() != len(values):
                self.fail(
                    f"array {name!r} has {len(values)} rows, the trials of {N_BINS} have {n_bins.sum()} bins."
                )
            trials = np.split(values, np.cumsum(n_bins)[:-1]) if len(n_bins) else []
        elif n_bins is not None and len(n_bins) == len(values):
            trials = [x[:n] for x, n in zip(values, n_bins, strict=True)]
        else:
            trials = list(values)
        for i, trial in enumerate(trials):
            self._check_finite(name, trial, f" of trial {i}")
        return trials

    def _check_finite(self, name: str, values: np.ndarray, where: str = "") -> None:
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row = f"bin {bad[0][0]}{where}" if where else f"trial {bad[0][0]}"
            self.fail(f"array {name!r} must be finite, got {values[tuple(bad[0])]} in {row}.")

    # -- Text

    def csv(self, content: bytes) -> TrialConditions:
        try:
            # A spreadsheet may have put a byte order mark in front.
            lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
            header = [cell.strip() for cell in next(lines, [])]
            places = self._places(header)
            rows = [self._row(header, row, lines.line_num) for row in lines if row]
        except (UnicodeDecodeError, csv.Error) as error:
            self.fail(f"not a .csv file ({error}). Save one as UTF-8 text.")
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(header))
        conditions = {
            name: table[:, [places[name, i] for i in range(size)]].astype(np.float32)
            for name, size in self.conditions.items()
            if (name, 0) in places
        }
        n_bins = table[:, header.index(N_BINS)].astype(np.int64) if N_BINS in header else None
        return TrialConditions(n_bins, conditions, {})

    def _places(self, header: list[str]) -> dict[tuple[str, int], int]:
        """The column of each entry of each condition that the header names."""
        entries = {
            f"{name}.{i}": (name, i) for name, c in self.conditions.items() for i in range(c)
        }
        entries |= {name: (name, 0) for name, size in self.conditions.items() if size == 1}
        columns = [
            name if size == 1 else f"{name}.{i}"
            for name, size in self.conditions.items()
            for i in range(size)
        ]
        expected = f"Columns are {', '.join([*columns, N_BINS])}"
        places: dict[tuple[str, int], int] = {}
        for place, column in enumerate(header):
            if column == N_BINS:
                if header.index(column) != place:
                    self.fail(f"column {column!r} is there twice. {expected}.")
                continue
            if column.split(".")[0] in self.covariates and column not in entries:
                self.fail(
                    f"column {column!r} is a covariate, of every bin: give it in a .npz file. {expected}."
                )
            if column not in entries:
                self.fail(f"column {column!r} is not known; {self.known}. {expected}.")
            if entries[column] in places:
                self.fail(f"column {column!r} is there twice. {expected}.")
            places[entries[column]] = place
        for name, i in entries.values():
            if any(there == name for there, _ in places) and (name, i) not in places:
                self.fail(f"column '{name}.{i}' is missing. {expected}.")
        if not header:
            self.fail(f"the file is empty. {expected}.")
        return places

    def _row(self, header: list[str], row: list[str], line: int) -> list[float]:
        if len(row) != len(header):
            self.fail(f"line {line} has {len(row)} columns, the header {len(header)}.")
        return [self._cell(column, cell, line) for column, cell in zip(header, row, strict=True)]

    def _cell(self, column: str, cell: str, line: int) -> float:
        whole = column == N_BINS
        try:
            with np.errstate(over="ignore"):
                value = int(cell) if whole else float(np.float32(cell))
        except (ValueError, OverflowError):
            value = np.nan
        if not np.isfinite(value) or (whole and value < 1):
            kind = "a whole number of at least 1" if whole else "a finite number"
            self.fail(f"line {line}, column {column!r} must be {kind}, got {cell!r}.")
        return value
