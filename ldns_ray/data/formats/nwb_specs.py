"""What to take from an NWB file beside spikes, each of which can be written as a short text."""

import re
from dataclasses import dataclass
from typing import Literal

from ldns_ray.checks import check


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
class ColumnSpec:
    """NAME=COLUMN:UNIT: a condition, the numeric column of the trials table it comes from, its physical unit."""

    name: str
    column: str
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> "ColumnSpec":
        """From COLUMN, COLUMN:UNIT, NAME=COLUMN or NAME=COLUMN:UNIT."""
        match = re.fullmatch(r"(?:([^=:]+)=)?([^=:]+)(?::(.*))?", text)
        if match is None:
            raise ValueError(f"expected NAME=COLUMN:UNIT, such as delay=delay:ms, got {text!r}.")
        name, column, unit = match.groups()
        return cls(name or column, column, unit or "")


@dataclass(frozen=True)
class AngleSpec:
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
    def parse(cls, text: str) -> "AngleSpec":
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
