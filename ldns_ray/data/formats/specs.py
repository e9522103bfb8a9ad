"""What a command line says of a recording's values: which become covariates, conditions, angles."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from ldns_ray.checks import check


@dataclass(frozen=True)
class ValueSpec:
    """NAME=SOURCE:UNIT: a covariate or condition, the array or column that it comes from, its physical unit."""

    name: str
    source: str
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> "ValueSpec":
        """From NAME, NAME:UNIT, NAME=SOURCE or NAME=SOURCE:UNIT."""
        match = re.fullmatch(r"(?:([^=:]+)=)?([^=:]+)(?::(.*))?", text)
        if match is None:
            raise ValueError(
                "expected NAME, NAME:UNIT, NAME=SOURCE or NAME=SOURCE:UNIT, such as vel=hand_vel:m/s, "
                f"got {text!r}."
            )
        name, source, unit = match.groups()
        return cls(name or source, source, unit or "")


@dataclass(frozen=True)
class SeriesSpec:
    """NAME=SERIES:UNIT@LAG: a covariate, and the time series it comes from.

    series: its path in the file or the end of it, such as behavior/hand_vel. unit: the physical unit wanted; ""
    keeps the file's. lag_ms: how much later than the spikes of its bin the covariate is taken.
    """

    name: str
    series: str
    unit: str = ""
    lag_ms: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "SeriesSpec":
        """From SERIES, NAME=SERIES, NAME=SERIES:UNIT or NAME=SERIES:UNIT@MS; the unit may be left out."""
        match = re.fullmatch(r"(?:([^=]+)=)?([^=:@]+)(?::([^@]*))?(?:@([-+.\deE]+)(?:ms)?)?", text)
        try:
            if match is None:
                raise ValueError
            name, series, unit, lag = match.groups()
            return cls(name or series.split("/")[-1], series, unit or "", float(lag or 0))
        except ValueError:
            raise ValueError(
                f"expected NAME=SERIES:UNIT@LAG_MS, such as velocity=behavior/hand_vel:m/s@80, got {text!r}."
            ) from None


@dataclass(frozen=True)
class ArrayAngle:
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
    def parse(cls, text: str) -> "ArrayAngle":
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


@dataclass(frozen=True)
class NwbAngle:
    """NAME=COVARIATE[BIN] or NAME=COLUMN:UNIT: a condition kept as (cos, sin) of an angle.

    source: with `bin`, a covariate of two channels (x, y), whose direction atan2(y, x) in that bin is taken; without,
    a numeric column of the trials table, in `unit`.
    """

    name: str
    source: str
    bin: int | None = None
    unit: Literal["deg", "rad"] = "deg"

    def __post_init__(self) -> None:
        check(self, "")
        if self.bin is not None and self.bin < 0:
            raise ValueError(f"the bin of angle {self.name!r} must be at least 0, got {self.bin}.")

    @classmethod
    def parse(cls, text: str) -> "NwbAngle":
        """From NAME=COVARIATE[BIN], NAME=COLUMN (degrees), NAME=COLUMN:deg or NAME=COLUMN:rad."""
        match = re.fullmatch(
            r"([^=]+)=(?:([^=:\[\]]+)\[(\d+)\]|([^=:\[\]]+?)(?::(deg|rad))?)", text
        )
        if match is None:
            raise ValueError(
                f"expected NAME=COVARIATE[BIN] or NAME=COLUMN:deg, such as angle=velocity[50], got {text!r}."
            )
        name, covariate, bin_, column, unit = match.groups()
        if covariate is not None:
            return cls(name, covariate, int(bin_))
        return cls(name, column, unit="rad" if unit == "rad" else "deg")
