"""What a command line says of a recording's values: which become covariates, conditions, angles."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ArraySpec:
    """NAME=ARRAY:UNIT: a covariate or condition, the array it comes from, its physical unit."""

    name: str
    array: str
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> ArraySpec:
        """From NAME, NAME:UNIT, NAME=ARRAY or NAME=ARRAY:UNIT."""
        match = re.fullmatch(r"(?:([^=:]+)=)?([^=:]+)(?::(.*))?", text)
        if match is None:
            raise ValueError(f"expected NAME=ARRAY:UNIT, such as vel=hand_vel:m/s, got {text!r}.")
        name, array, unit = match.groups()
        return cls(name or array, array, unit or "")


@dataclass(frozen=True)
class AngleSpec:
    """A per-trial angle, kept as (cos, sin).

    In degrees: ARRAY * factor, or TABLE[ARRAY] where the array indexes a table of angles.
    """

    name: str
    array: str
    factor: float = 1.0
    table: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor):
            raise ValueError(f"angle {self.name!r}: factor must be finite, got {self.factor}.")

    @classmethod
    def parse(cls, text: str) -> AngleSpec:
        """From NAME=ARRAY, NAME=ARRAY*FACTOR or NAME=TABLE[ARRAY]."""
        match = re.fullmatch(r"([^=]+)=(?:(\w+)\[(\w+)\]|(\w+)(?:\*([-+.\deE]+))?)", text)
        try:
            if match is None:
                raise ValueError
            name, table, index, array, factor = match.groups()
            return cls(name, array or index, float(factor or 1.0), table)
        except ValueError:
            raise ValueError(
                "expected NAME=ARRAY (degrees), NAME=ARRAY*DEGREES or NAME=TABLE[ARRAY], such as "
                f"angle=target*45, got {text!r}."
            ) from None
