"""Every candidate and every metric in one picture: how many times the noise floor away from the data."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ldns_ray.evaluation.catalogue import FURTHER, SCORED, Metric
from ldns_ray.evaluation.plots.style import MARKS, REAL, Mark, blank_figure, cut, finished, styled
from ldns_ray.evaluation.rows import Interval, Row, rivals

BAND = (1 / 1.5, 1.5)
"""Where real trials lie when they are compared like samples: four ratios of five, measured on the scored metrics with
twelve random halves of 728 trials of a premotor recording."""
LANE, SCORE_LANE, GAP = 0.1, 0.165, 0.14
"""Inches of a candidate in a metric's line and in the score's, which has numbers, and between lines."""
WIDTH = 9.6
"""Inches of the picture."""
REAL_MARK = Mark(REAL, "d", "-")
WIDEST = 1e3
"""Ratios beyond this, or below its inverse, stand at the edge."""


@dataclass(frozen=True)
class Line:
    """One line of the picture."""

    title: str
    values: tuple[float | None, ...]
    """Ratio of each candidate, None where it has none."""
    intervals: tuple[Interval | None, ...]
    floor: str
    """The distance that a ratio of 1 stands for."""
    top: float
    lane: float
    """Inches from the top of the picture, and of a candidate."""

    def at(self, candidate: int) -> float:
        return self.top + (candidate + 0.5) * self.lane

    @property
    def bottom(self) -> float:
        return self.top + len(self.values) * self.lane


def overview(rows: Sequence[Row]) -> Figure:
    """The ratio of each candidate's distance to the noise floor, metric by metric, below its score.

    A dot for each candidate, with its bootstrap interval where there is one; 1, with the shaded band, is
    as close as the data is to itself. Metrics that no candidate has are left out. Candidates after as many as there
    are `style.MARKS` have the same marks again, open.
    """
    if not rows:
        raise ValueError("rows is empty. Pass one row per candidate.")
    ranked = rivals(rows)
    rank = 1 + sum(row.score < rows[0].score for row in ranked)
    of = f", rank {rank} of {1 + len(ranked)}" if ranked else ""
    marks = _marks(rows)
    scored, further = _lines(rows)
    lines = [*scored, *further]
    height = lines[-1].bottom + GAP / 2
    names = [cut(row.name, 40) for row in rows]
    columns = _columns(names)
    fig = blank_figure((WIDTH, height + 1.2 + 0.2 * -(-len(names) // columns)))
    ax = fig.add_subplot()
    low, high = _limits(lines)
    ax.set(xscale="log", xlim=(low, high), ylim=(height, 0))
    ax.axvspan(*BAND, color="0.92", linewidth=0, zorder=0)
    ax.axvline(1, color="0.35", linewidth=1.2, zorder=1)
    for line in lines:
        for i, (value, interval, mark) in enumerate(
            zip(line.values, line.intervals, marks, strict=True)
        ):
            if value is not None and not np.isnan(value):
                end = _dot(ax, value, interval, line.at(i), mark, (low, high))
                if line is lines[0]:
                    ax.annotate(f"{value:.2f}", (end, line.at(i)), (6, 0), textcoords="offset points",
                                va="center", fontsize=8.5, color="0.1", fontweight="bold")  # fmt: skip
    for line in lines[1:]:
        section = line in (lines[1], *further[:1])
        ax.axhline(line.top - GAP / 2, color="0.4" if section else "0.9", linewidth=0.8, zorder=0)
    _labels(ax, lines)
    ax.set_title(f"Realism of {names[0]}: {rows[0].score:.2f}{of} (1 is as close as the data is to itself)")  # fmt: skip
    handles = [
        Line2D([], [], color=mark.colour, marker=mark.marker, markerfacecolor=mark.face, linestyle="-", linewidth=1.2, markersize=6,
               label=name)
        for name, mark in zip(names, marks, strict=True)
    ]  # fmt: skip
    fig.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
    )
    return finished(fig)


def _columns(names: Sequence[str]) -> int:
    """Columns of the legend, at most four, in which the longest name has room."""
    needed = 0.55 + 0.07 * max(map(len, names))
    return max(1, min(len(names), 4, int(WIDTH / needed)))


def _marks(rows: Sequence[Row]) -> list[Mark]:
    """Real trials are black, others as in all pictures; open once there are no more marks."""
    place = itertools.count()
    return [REAL_MARK if row.kind == "real" else _mark(next(place)) for row in rows]


def _mark(i: int) -> Mark:
    return MARKS[i % len(MARKS)]._replace(open=i >= len(MARKS))


def _lines(rows: Sequence[Row]) -> tuple[list[Line], list[Line]]:
    """The score and the metrics it is made of, and the further ones, from top to bottom."""
    score = tuple(row.score for row in rows)
    intervals = tuple(row.score_interval for row in rows)
    scored = [Line("Realism score\n(of the next four)", score, intervals, "", GAP / 2, SCORE_LANE)]
    further: list[Line] = []
    y = scored[0].bottom + GAP
    for metric in (*SCORED, *FURTHER):
        measured = [row.metrics.get(metric.name) for row in rows]
        if not any(measured):
            continue
        line = Line(
            title=metric.title,
            values=tuple(m.ratio if m else None for m in measured),
            intervals=tuple(m.ratio_interval if m else None for m in measured),
            floor=_floor(metric, next(m.floor for m in measured if m)),
            top=y,
            lane=LANE,
        )
        (scored if metric in SCORED else further).append(line)
        y = line.bottom + GAP
    return scored, further


def _floor(metric: Metric, floor: float) -> str:
    return f"{floor:.2g} {metric.unit}".strip()


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Of the axis: around all that is drawn, with room for the numbers, at most `WIDEST` from 1 either way."""
    values = [v for line in lines for v in line.values if v is not None]
    ends = [end for line in lines for interval in line.intervals if interval for end in interval]
    drawn = np.array([*BAND, *values, *ends])
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    low, high = max(drawn.min(), 1 / WIDEST), min(drawn.max(), WIDEST)
    span = (high / low) ** 0.04
    return low / span, high * span**3


def _dot(
    ax: Axes, value: float, interval: Interval | None, y: float, mark: Mark, limits: tuple[float, float]
) -> float:  # fmt: skip
    """Draws a ratio, at the edge what lies beyond it, and returns how far right it goes."""
    low, high = limits
    x = float(np.clip(value, low, high))
    marker = mark.marker if x == value else "<" if x == low else ">"
    end = x
    if interval is not None:
        start, end = (float(np.clip(edge, low, high)) for edge in interval)
        ax.plot(
            [start, end], [y, y], color=mark.colour, linewidth=1.3, solid_capstyle="butt", zorder=2
        )
    size = 9 if marker == "*" else 6
    ax.plot(x, y, marker=marker, color=mark.colour, markerfacecolor=mark.face, markersize=size,
            markeredgewidth=float(mark.open), zorder=3, clip_on=False)  # fmt: skip
    return max(x, end)


def _labels(ax: Axes, lines: Sequence[Line]) -> None:
    middles = [(line.top + line.bottom) / 2 for line in lines]
    ax.set_yticks(middles, [line.title for line in lines])
    ax.get_yticklabels()[0].set_fontweight("bold")
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel("distance to the data, over the data's own noise floor (ratio, logarithmic)")
    styled(ax)
    right = ax.twinx()
    right.set_ylim(ax.get_ylim())
    right.set_yticks(middles, ["noise floor:", *(line.floor for line in lines[1:])])
    right.spines[["top", "left", "right"]].set_visible(False)
    for side in (ax, right):
        side.tick_params(axis="y", length=0, labelsize=9)
    right.tick_params(axis="y", labelcolor="0.4", labelsize=8.5)
    ax.spines["left"].set_visible(False)
