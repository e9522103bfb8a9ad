"""All settings of all trials at once: each trial is a line from setting to setting to its score."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from ldns_ray.evaluation.plots.searched import (
    MAX_SETTINGS,
    SCORE,
    UNSET,
    Axis,
    Rows,
    Scale,
    aside,
    best,
    of_status,
    scale,
    score_axis,
    titles,
    told,
    tried,
    values_of,
)
from ldns_ray.evaluation.plots.style import SAMPLED, blank_figure, finished
from ldns_ray.evaluation.statistics import Floats

COLOURS = LinearSegmentedColormap.from_list(
    "dark_is_low", colormaps["viridis"](np.linspace(0, 0.94, 128))
)
"""Even to the eye, and for all eyes; without the last yellow, which is too light for lines on white."""
BELOW = -0.09
"""Where lines go that have no value of a setting."""
BAR, TICK = 0.025, 0.004
"""Width of the bar of colours, and half of that of a tick, as shares of the picture."""
SLANTED = 8
"""From so many settings on, their names are written at a slant."""
LETTERS = 14
"""Of a choice's label, and of a line of a setting's name."""


def parallel_coordinates(rows: Rows, axes: Sequence[Axis]) -> Figure | None:
    """A line for each finished trial over an axis for each setting, in the colour of its score; the best one stands out.

    The first `MAX_SETTINGS` of the axes are drawn, the first of them next to the score; settings that can take one value
    only are left out. None with fewer than two finished trials, and without settings.
    """
    trials = of_status(tried(rows), "FINISHED")
    title = titles(axis.name for axis in axes)
    searched = [axis for axis in axes if not axis.fixed]
    shown = searched[:MAX_SETTINGS][::-1]
    if len(trials) < 2 or not shown:
        return None
    scores = [trial.score for trial in trials]
    scales = [scale(axis, values_of(axis, trials), width=LETTERS) for axis in shown]
    of_scores = scale(score_axis(scores), scores, n_ticks=7)
    y_SA = np.array([
        [*(s.share(t.settings.get(s.axis.name, UNSET), aside(t)) for s in scales), of_scores.share(t.score)]
        for t in trials
    ])  # fmt: skip
    unset_A = np.isnan(y_SA).any(0)
    winner = best(trials)

    fig = blank_figure((9.6, 5.0))
    ax = fig.add_subplot()
    _lines(ax, np.where(np.isnan(y_SA), BELOW, y_SA), trials.index(winner))
    for place, one in enumerate(scales):
        _axis(ax, place, one, half=TICK * len(shown), with_unset=bool(unset_A[place]))
    _colour_bar(ax, len(shown), of_scores, y_SA[:, -1])
    names = [*(title[axis.name] for axis in shown), SCORE]
    logs = [one.axis.kind == "log" for one in (*scales, of_scores)]
    _headings(ax, [f"{name} (log)" if log else name for name, log in zip(names, logs, strict=True)])
    of = f" in {len(shown)} of {len(searched)} settings" if len(shown) < len(searched) else ""
    fig.suptitle(f"{len(trials)} finished trials{of}, the darker the better; in orange the best, trial {winner.number}: {told(winner.score)}", fontsize=10)  # fmt: skip
    ax.set(
        xlim=(-0.02 * len(shown), len(shown) * (1 + BAR)),
        ylim=(BELOW - 0.03 if unset_A.any() else -0.02, 1.0),
    )
    ax.axis("off")
    return finished(fig)


def _lines(ax: Axes, y_SA: Floats, winner: int) -> None:
    """The best trials on top, the very best thick and in its own colour."""
    n_trials, n_axes = y_SA.shape
    order_S = np.argsort(-y_SA[:, -1], kind="stable")
    order_S = order_S[order_S != winner]
    segments = [np.column_stack([np.arange(n_axes), y_SA[i]]) for i in order_S]
    colours = _colours(y_SA[:, -1], y_SA[order_S, -1])
    ax.add_collection(
        LineCollection(segments, colors=colours, linewidths=1.1, alpha=float(np.clip(30 / n_trials, 0.35, 0.85)), zorder=1)
    )  # fmt: skip
    ax.plot(range(n_axes), y_SA[winner], color=SAMPLED, linewidth=2.6, zorder=2, solid_joinstyle="round",
            path_effects=[Stroke(linewidth=4.6, foreground="white"), Normal()])  # fmt: skip


def _axis(ax: Axes, place: int, one: Scale, *, half: float, with_unset: bool) -> None:
    """Ticks on both sides, texts on the right and readable above lines. half: length of a tick on a side."""
    ax.plot([place, place], [0, 1], color="0.15", linewidth=1.0, zorder=3)
    places = [(tick - one.low) / (one.high - one.low) for tick in one.ticks]
    texts = dict(zip(places, one.labels, strict=True)) | ({BELOW: "not set"} if with_unset else {})
    for y, text in texts.items():
        ax.plot([place - half, place + half], [y, y], color="0.15", linewidth=1.0, zorder=3)
        ax.annotate(text, (place, y), (4, 0), textcoords="offset points", va="center", fontsize=7.5, zorder=4,
                    path_effects=[Stroke(linewidth=2.4, foreground="white"), Normal()])  # fmt: skip


def _colour_bar(ax: Axes, place: int, one: Scale, share_S: Floats) -> None:
    """The axis of the scores, which says which colour is which."""
    at = np.linspace(0, 1, 256)
    ax.imshow(
        _colours(share_S, at)[:, None], extent=(place, place + BAR * place, 0, 1), origin="lower", aspect="auto",
        interpolation="bilinear", zorder=0,
    )  # fmt: skip
    for tick, text in zip(one.ticks, one.labels, strict=True):
        y = (tick - one.low) / (one.high - one.low)
        ax.plot([place, place + BAR * place], [y, y], color="white", linewidth=0.8, zorder=1)
        ax.annotate(
            text,
            (place + BAR * place, y),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )


def _colours(share_S: Floats, at: Floats) -> Floats:
    """Of places on the axis of scores, for colours that go from the lowest score to the highest."""
    low, high = share_S.min(), share_S.max()
    colours: Floats = COLOURS(np.clip((at - low) / (high - low or 1), 0, 1))
    return colours


def _headings(ax: Axes, names: Sequence[str]) -> None:
    """The names of the axes over them, at a slant where they are many."""
    slanted = len(names) > SLANTED
    look = (
        {"rotation": 28, "ha": "left", "rotation_mode": "anchor"} if slanted else {"ha": "center"}
    )
    for place, name in enumerate(names):
        ax.annotate(
            name if slanted else _wrapped(name), (place, 1), (0, 8), textcoords="offset points", va="bottom",
            fontsize=8.5, **look,
        )  # fmt: skip


def _wrapped(name: str) -> str:
    """A name over several lines, broken after dots and at underscores, which become spaces."""
    parts = name.replace("_", " ").replace(".", ".\n").replace(" (", "\n(").split("\n")
    return "\n".join(line for part in parts for line in textwrap.wrap(part, LETTERS))
