"""Requests for samples, a row of a table each: which columns a model has, and what may stand in them.

Shapes: n trials of a request, T bins, C entries of a condition, K channels of a covariate.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel

from ldns_ray.checks import SEED, Rule, at_least
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.settings import did_you_mean

ANSWER = ("request", "trial", "n_bins", "spikes")
"""Columns of every answer; the conditions and covariates of its trials come after them."""


class Column(NamedTuple):
    """A column of the table: the type that its page shows, how its cells are read, and what it means."""

    kind: Any
    read: Callable[[str, Any], Any]
    meaning: str


def whole(rule: Rule) -> Callable[[str, Any], int]:
    """Reads whole numbers for which the rule holds."""

    def read(name: str, value: Any) -> int:
        # A table's whole numbers become floats where some of its rows have none.
        is_whole = isinstance(value, int | np.integer) or (
            isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value)
        )
        if isinstance(value, bool) or not is_whole:
            raise ValueError(f"{name} must be a whole number, got {value!r}.{_one_row(value)}")
        if not rule.holds(int(value)):
            raise ValueError(f"{name} must be {rule.words}, got {int(value)}.")
        return int(value)

    return read


def number(name: str, value: Any) -> float:
    """Reads finite numbers."""
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if isinstance(value, bool) or not is_number or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}.{_one_row(value)}")
    return float(value)


def word(name: str, value: Any) -> str:
    """Reads text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {value!r}.{_one_row(value)}")
    return value


def entries(n_entries: int) -> Callable[[str, Any], np.ndarray]:
    """Reads conditions (C,); those of one entry may stand without brackets."""

    def read(name: str, value: Any) -> np.ndarray:
        array = _numbers(name, [value] if n_entries == 1 and np.ndim(value) == 0 else value)
        if array.shape != (n_entries,):
            wanted = "a number" if n_entries == 1 else f"{n_entries} numbers"
            raise ValueError(f"{name} must be {wanted}, got shape {array.shape}.")
        return array

    return read


def trace(n_channels: int) -> Callable[[str, Any], np.ndarray]:
    """Reads covariates (T, K) of a trial."""

    def read(name: str, value: Any) -> np.ndarray:
        array = _numbers(name, value)
        if array.ndim != 2 or array.shape[1] != n_channels or not len(array):
            wanted = f"a list of {n_channels} for every bin, of at least one bin"
            raise ValueError(f"{name} must be {wanted}, got shape {array.shape}.")
        return array

    return read


def _numbers(name: str, value: Any) -> np.ndarray:
    """Finite numbers as float32."""
    try:
        # Cells from other tools are arrays of arrays.
        array = np.array(value.tolist() if isinstance(value, np.ndarray) else value)
    except ValueError:
        raise ValueError(f"{name} must be an array, got rows of different lengths.") from None
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype}.")
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as such
        array = array.astype(np.float32)
    bad = array[~np.isfinite(array)]
    if bad.size:
        raise ValueError(f"{name} must be finite, got {bad[0]}.")
    return array


def _one_row(value: Any) -> str:
    """What to do about a list in a cell for one value."""
    listed = isinstance(value, list | tuple | np.ndarray)
    return " Give several requests as a list of rows, such as [{'n': 1}, {'n': 2}]." if listed else ""  # fmt: skip


OWN = {
    "n": Column(int, whole(at_least(1)), "trials; 1 if not given"),
    "length": Column(int, whole(at_least(1)), "bins of each trial; if not given, those of the covariates, else of training trials drawn at random"),
    "seed": Column(int, whole(SEED), "same seed, same spikes; 0 if not given"),
    "first_trial": Column(int, whole(SEED), "number of the first trial, to go on where another request ended, best at a multiple of 64; 0 if not given"),
    "sampler": Column(str, word, "`dpmpp_2m_sde` if not given, `dpmpp_2m`, `ddim` or `ddpm`"),
    "n_steps": Column(int, whole(at_least(1)), "steps of the sampler; 20 if not given"),
    "guidance": Column(float, number, "strength of conditions and covariates: 1, as trained, if not given"),
}  # fmt: skip
"""The columns of every model."""


@dataclass(frozen=True)
class Request:
    """One row, read; its fields as in `LDNS.sample`."""

    n: int = 1
    length: int | None = None
    seed: int = 0
    first_trial: int = 0
    sampler: str = "dpmpp_2m_sde"
    n_steps: int = 20
    guidance: float = 1.0
    condition: dict[str, np.ndarray] = field(default_factory=dict)
    """(C,) by name, of all n trials."""
    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    """(T, K) by name, of all n trials."""

    @property
    def n_bins(self) -> int | None:
        """Bins of each trial, as far as the request says."""
        return self.length or next((len(x) for x in self.covariates.values()), None)

    @property
    def trials(self) -> dict[str, Any]:
        """What `LDNS.requests` takes."""
        return {
            "n": self.n, "n_bins": self.length, "seed": self.seed, "first_trial": self.first_trial,
            "condition": {k: np.tile(x, (self.n, 1)) for k, x in self.condition.items()},
            "covariates": {k: [x] * self.n for k, x in self.covariates.items()},
        }  # fmt: skip

    @property
    def manner(self) -> dict[str, Any]:
        """What `LDNS.sample` takes besides."""
        return {"sampler": self.sampler, "n_steps": self.n_steps, "guidance": self.guidance}


class Table:
    """The columns of a model, by what it was trained with: name → size of conditions and covariates."""

    def __init__(self, conditions: Mapping[str, int], covariates: Mapping[str, int]) -> None:
        given = {name: size for name, size in conditions.items() if name != LENGTH}
        self.condition_columns: dict[str, str] = {}
        self.covariate_columns: dict[str, str] = {}
        self.columns = dict(OWN)
        for name, size in given.items():
            column = self._free(name, "condition")
            kind, what = (float, "a number") if size == 1 else (list[float], f"{size} numbers")
            self.columns[column] = Column(kind, entries(size), f"condition of the trials, {what}")
            self.condition_columns[name] = column
        for name, size in covariates.items():
            column = self._free(name, "covariate")
            meaning = f"covariate of the trials, for every bin a list of {size}"
            self.columns[column] = Column(list[list[float]], trace(size), meaning)
            self.covariate_columns[name] = column

    def _free(self, name: str, kind: str) -> str:
        """The name of a column: with its kind before it where it would mean two things, or be no field of a type."""
        ambiguous = name in self.columns or name in ANSWER
        return (
            f"{kind}:{name}"
            if ambiguous or name.startswith("_") or hasattr(BaseModel, name)
            else name
        )

    @property
    def meanings(self) -> dict[str, str]:
        """What each column means."""
        return {name: column.meaning for name, column in self.columns.items()}

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[Request]:
        """The requests in rows of cells by column; None and what is missing is not given.

        Raises ValueError for no rows, a row without anything, an unknown column, and a cell that cannot be meant.
        """
        if not rows:
            raise ValueError("There must be at least one request, got none. Example: [{'n': 10}]")
        return [self._request(i, row) for i, row in enumerate(rows)]

    def _request(self, i: int, row: Mapping[str, Any]) -> Request:
        with told_of(i):
            cells: dict[str, Any] = {}
            for name, value in row.items():
                if name not in self.columns:
                    raise ValueError(
                        f"unknown column {name!r}. {did_you_mean(str(name), self.columns)}"
                    )
                if value is not None and value is not pd.NA:
                    cells[name] = self.columns[name].read(name, value)
            if not cells:
                raise ValueError("it asks for nothing. Give at least n, the number of trials.")
            request = Request(
                **{f.name: cells[f.name] for f in fields(Request) if f.name in cells.keys() & OWN},
                condition={k: cells[c] for k, c in self.condition_columns.items() if c in cells},
                covariates={k: cells[c] for k, c in self.covariate_columns.items() if c in cells},
            )
            _check_lengths(request)
            return request


@contextmanager
def told_of(i: int) -> Iterator[None]:
    """ValueErrors say which request they are about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Request {i}: {error}") from error


def _check_lengths(request: Request) -> None:
    bins = {name: len(x) for name, x in request.covariates.items()}
    if request.length is not None:
        bins["length"] = request.length
    if len(set(bins.values())) > 1:
        raise ValueError(
            "length and covariates must have the same bins, got "
            f"{', '.join(f'{name}: {n}' for name, n in bins.items())}. Leave length out, or give a value for every bin."
        )
