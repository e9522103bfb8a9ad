"""What every reader of a file format gives: the trials of one file, and what the file says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ldns_ray.data.schema import Trial

DIGITS = 6
"""Numbers as names are filled up with zeros to so many digits, so that they sort as numbers."""


def numbered(i: int) -> str:
    """The name of a trial that has none: its number in the file."""
    return f"{i:0{DIGITS}d}"


@dataclass
class Recording:
    """One file of a recording, opened and checked; its trials come one by one.

    trials: with ids unique in the file; session "" where the file names none; split one of
        `ldns_ray.data.splits.CHOICES`, "train+val+test" where the file brings none.
    unit_names: of the units in order; empty where the file names none.
    covariate_units, condition_units: name -> physical unit of what the trials carry.
    strata: a label per trial that came, within which splits are shared out; or none at all, and the
        trials' conditions are taken.
    dropped: reason -> number of trials left out. It and `strata` are whole once `trials` has ended.
    """

    trials: Iterator[Trial]
    unit_names: Sequence[str] = ()
    covariate_units: Mapping[str, str] = field(default_factory=dict)
    condition_units: Mapping[str, str] = field(default_factory=dict)
    strata: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


class Reader(Protocol):
    """A file format with its options: a frozen dataclass of plain values, which travels to workers.

    Options are checked when it is made (ValueError).
    """

    @property
    def bin_width_s(self) -> float: ...

    def read(self, path: str) -> Recording:
        """Open a local file. What is wrong with it, here or in a trial, is a ValueError that begins with `path`
        and names trial, unit and bin where it can; nothing else is raised but OSError."""
        ...
