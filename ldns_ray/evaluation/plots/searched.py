"""What a sweep tried, ready to be drawn: its trials, and where values of settings lie on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from ldns_ray.evaluation.plots.style import cut

Status = Literal["FINISHED", "STOPPED", "FAILED"]
Rows = Sequence[Mapping[str, Any]]
"""Trials: `number` from 1, `status`, `settings` by dotted name, `score` of those that finished, and `rungs`, pairs of
epoch and score while the trial trained."""
NOISE_FLOOR = 1.0
"""The score of samples that are as close to the data as the data is to itself."""
SCORE = "realism score"
LARGE_RANGE = 3
"""Scores so many times as large as the smallest are hard to see on a linear axis."""
UNSET = object()
"""Stands for the value of a setting that a trial does not have."""
GOLDEN = (5**0.5 - 1) / 2
DECADES = 1e12
"""Scores so many times as large as the smallest have no logarithmic axis either."""
MAX_SETTINGS = 12
"""So many settings have a place in a picture."""
MAX_LABELS = 12
"""So many choices of a setting are named."""


@dataclass(frozen=True)
class Axis:
    """The values that a setting was drawn from."""

    name: str
    """Dotted, as in the settings of the trials."""
    kind: Literal["choices", "linear", "log"]
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    """Ends of numbers, None where there is none."""
    integer: bool = False

    @property
    def fixed(self) -> bool:
        """Whether the setting can take one value only."""
        if self.kind == "choices":
            return len(self.choices) < 2
        return self.low is not None and self.low == self.high


@dataclass(frozen=True)
class Tried:
    """A trial as far as it came."""

    number: int
    """From 1."""
    status: Status
    settings: Mapping[str, Any]
    score: float
    """Of a finished trial, otherwise nan."""
    rungs: tuple[tuple[float, float], ...]
    """Epoch and score while it trained, in order."""


def tried(rows: Rows) -> list[Tried]:
    """The trials that have ended, by number. One without a finite score counts as failed, if it had finished."""
    found = []
    for row in rows:
        if row["status"] not in get_args(Status):
            continue
        score: Any = row.get("score")
        scored = row["status"] == "FINISHED" and _is_number(score)
        status: Status = row["status"] if scored or row["status"] != "FINISHED" else "FAILED"
        rungs = sorted((float(e), float(s)) for e, s in row.get("rungs") or () if _is_number(s))
        found.append(
            Tried(row["number"], status, row["settings"], float(score) if scored else math.nan, tuple(rungs))
        )  # fmt: skip
    return sorted(found, key=lambda trial: trial.number)


def values_of(axis: Axis, trials: Iterable[Tried]) -> list[Any]:
    """Of a setting, by trial; `UNSET` where a trial does not have it."""
    return [trial.settings.get(axis.name, UNSET) for trial in trials]


def of_status(trials: Iterable[Tried], status: Status) -> list[Tried]:
    return [trial for trial in trials if trial.status == status]


def best(trials: Iterable[Tried]) -> Tried:
    """The finished trial of the lowest score, the first of equals."""
    return min(of_status(trials, "FINISHED"), key=lambda trial: trial.score)


def number(value: float) -> str:
    """A number in few letters: 0.0003 is 3e-4."""
    text = f"{value:.6g}"
    if 0 < abs(value) < 1e-3 or "e" in text:
        digits, _, exponent = f"{value:.5e}".partition("e")
        digits = digits.rstrip("0").rstrip(".")
        return f"{digits}e{int(exponent)}"
    return text


def told(score: float) -> str:
    """A score for a title."""
    return f"{score:.2f}" if abs(score) < 100 else f"{score:.0f}"


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def titles(names: Iterable[str], width: int = 32) -> dict[str, str]:
    """Settings in few words: the levels between the first and the last are left out where that is clear.

    width: letters at most.
    """
    full = list(dict.fromkeys(names))
    short = [".".join(dict.fromkeys((words[0], words[-1]))) for words in (n.split(".") for n in full)]  # fmt: skip
    return {
        name: cut(name if short.count(brief) > 1 else brief, width)
        for name, brief in zip(full, short, strict=True)
    }


@dataclass(frozen=True)
class Scale:
    """Where values lie on an axis: at their number, its logarithm, or the place of the choice."""

    axis: Axis
    choices: tuple[Any, ...]
    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def at(self, value: Any, aside: float = 0.0) -> float:
        """nan where the value has no place. aside: from -0.5 to 0.5, how far to draw it from those of the same value."""
        if self.axis.kind == "choices":
            return self.choices.index(value) + 0.6 * aside if value in self.choices else math.nan
        if not _is_number(value) or (self.axis.kind == "log" and value <= 0):
            return math.nan
        if self.axis.kind == "log":
            return math.log10(value)
        return float(value) + (0.4 * aside if self.axis.integer else 0.0)

    def share(self, value: Any, aside: float = 0.0) -> float:
        """The same from 0 at the lower to 1 at the upper end."""
        return (self.at(value, aside) - self.low) / (self.high - self.low)


def aside(trial: Tried) -> float:
    """Where a trial stands among others of the same choice: evenly spread, and the same in every picture."""
    return trial.number * GOLDEN % 1 - 0.5


def scale(axis: Axis, values: Iterable[Any], *, n_ticks: int = 5, width: int = 12) -> Scale:
    """Over all the axis can take, and whatever else was tried. width: letters of a choice's label."""
    present = [value for value in values if value is not UNSET]
    if axis.kind == "choices":
        choices = list(axis.choices)
        choices += [v for i, v in enumerate(present) if v not in choices and v not in present[:i]]
        if all(_is_number(choice) for choice in choices):
            choices.sort()
        step = -(-len(choices) // MAX_LABELS) or 1
        ticks = tuple(range(0, len(choices), step))
        labels = tuple(label(choices[i], width) for i in ticks)
        return Scale(axis, tuple(choices), -0.5, max(len(choices), 1) - 0.5, ticks, labels)
    log = axis.kind == "log"
    found = [x for x in (*present, axis.low, axis.high) if _is_number(x) and (x > 0 or not log)]
    numbers = found or [1.0]
    low, high = padded(numbers, log, margin=0.03)
    if axis.integer and not log:
        low, high = min(low, min(numbers) - 0.3), max(high, max(numbers) + 0.3)
    at = [math.log10(x) if log else x for x in (low, high)]
    values_at_ticks = spaced(low, high, log, n_ticks, integer=axis.integer)
    ticks_at = tuple(math.log10(x) if log else x for x in values_at_ticks)
    return Scale(axis, (), at[0], at[1], ticks_at, tuple(number(x) for x in values_at_ticks))


def score_axis(scores: Iterable[float]) -> Axis:
    """The axis of scores: logarithmic over a large range."""
    values = list(scores)
    log = bool(values) and 0 < LARGE_RANGE * min(values) < max(values) < DECADES * min(values)
    return Axis(SCORE, "log" if log else "linear")


def draw_scores(ax: Axes, scores: Iterable[float]) -> None:
    """Makes the upright axis one of scores, the noise floor among them, with a name that says what is good."""
    values = [NOISE_FLOOR, *scores]
    log = score_axis(values).kind == "log"
    low, high = padded(values, log, margin=0.06)
    ticks = spaced(low, high, log, 7)
    ax.set_yscale("log" if log else "linear")
    ax.set_ylim(low, high)
    ax.set_yticks(ticks, [number(tick) for tick in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel(f"{SCORE} (lower is better{', log' if log else ''})")
    ax.axhline(NOISE_FLOOR, color="0.5", linewidth=1.0, linestyle=(0, (6, 2)), zorder=0,
               label="noise floor: as close as the data is to itself")  # fmt: skip


def padded(values: Sequence[float], log: bool, margin: float) -> tuple[float, float]:
    """Ends of an axis that holds the values, a share of it left free on both sides; never of no length."""
    low, high = min(values), max(values)
    if log:
        room = (high / low) ** margin if high > low else 2.0
        return low / room, high * room
    gap = margin * (high - low) or 0.1 * abs(low) or 0.5
    return low - gap, high + gap


def spaced(
    low: float, high: float, log: bool, at_most: int, *, integer: bool = False
) -> list[float]:
    """Round numbers from `low` to `high`, so many as there is room for."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):  # fmt: skip
            ticks = [d * 10.0**k for k in decades for d in digits]
            if integer:
                ticks = [tick for tick in ticks if tick == round(tick)]
            inside = [tick for tick in ticks if low <= tick <= high]
            if 2 <= len(inside) <= at_most:
                return inside
        whole = [10.0**k for k in decades if low <= 10.0**k <= high]
        if len(whole) > at_most:
            return whole[:: -(-len(whole) // at_most)]
    even: Iterable[float] = MaxNLocator(
        at_most, integer=integer, steps=[1, 2, 2.5, 5, 10]
    ).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high]


def label(value: Any, width: int) -> str:
    """A choice in few letters."""
    if _is_number(value):
        return number(value)
    return cut("none" if value is None else str(value), width)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
