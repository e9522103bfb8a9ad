"""The score against each setting that was searched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldns_ray.evaluation.plots.searched import (
    MAX_SETTINGS,
    UNSET,
    Axis,
    Rows,
    Scale,
    Tried,
    aside,
    best,
    draw_scores,
    of_status,
    scale,
    titles,
    told,
    tried,
    values_of,
)
from ldns_ray.evaluation.plots.style import (
    FAINT,
    OTHER,
    REAL,
    SAMPLED,
    finished,
    new_figure,
)

LETTERS = 30
"""Of all labels of a panel together."""
FEW = 3
"""So many finished trials of a choice have a median."""


def slices(rows: Rows, axes: Sequence[Axis]) -> Figure | None:
    """A panel for each setting and a point for each trial, with the median of the trials of each choice.

    The first `MAX_SETTINGS` of the axes are drawn; settings that can take one value only are left out. Trials that were
    stopped early stand at their last score. None with fewer than two finished trials, and without settings.
    """
    trials = tried(rows)
    done = of_status(trials, "FINISHED")
    early = [trial for trial in of_status(trials, "STOPPED") if trial.rungs]
    searched = [axis for axis in axes if not axis.fixed]
    shown = searched[:MAX_SETTINGS]
    if len(done) < 2 or not shown:
        return None
    n_columns = len(shown) if len(shown) <= 4 else 3 if len(shown) in (5, 6, 9) else 4
    n_rows = -(-len(shown) // n_columns)
    fig, panels = new_figure(
        n_rows, n_columns, (min(9.6, 2.4 + 2.4 * n_columns), 1.3 + 2.1 * n_rows)
    )
    scores = [*(trial.score for trial in done), *(trial.rungs[-1][1] for trial in early)]
    title = titles(axis.name for axis in axes)
    for i, (ax, axis) in enumerate(zip(panels.flat, shown, strict=False)):
        draw_scores(ax, scores)
        fig.supylabel(ax.get_ylabel(), fontsize=9)
        ax.set(ylabel="", xlabel=title[axis.name] + (" (log)" if axis.kind == "log" else ""))
        ax.tick_params(labelleft=i % n_columns == 0)
        width = LETTERS // max(len(axis.choices), 1)
        _slice(ax, scale(axis, values_of(axis, [*done, *early]), width=width), done, early)
    for ax in panels.flat[len(shown) :]:
        ax.remove()
    winner = best(trials)
    of = f"{len(shown)} of {len(searched)} settings" if len(shown) < len(searched) else "setting"
    fig.suptitle(
        f"Scores of {len(done)} finished trials by {of}; the best, trial {winner.number}: {told(winner.score)}",
        fontsize=10,
    )
    keys = {
        text: key
        for ax in fig.axes
        for key, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    fig.legend(
        list(keys.values()),
        list(keys),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=9,
    )
    finished(fig)
    for ax in fig.axes:
        ax.xaxis.label.set_fontsize(8)
    return fig


def _slice(ax: Axes, one: Scale, done: Sequence[Tried], early: Sequence[Tried]) -> None:
    """The points of a setting; trials that do not have it are nowhere."""

    def at(trials: Sequence[Tried]) -> list[float]:
        return [one.at(t.settings.get(one.axis.name, UNSET), aside(t)) for t in trials]

    alpha = float(np.clip(25 / len(done), 0.45, 0.85))
    ax.plot(at(done), [trial.score for trial in done], "o", color=OTHER, markersize=4, markeredgewidth=0, alpha=alpha,
            zorder=2, label="finished")  # fmt: skip
    if early:
        ax.plot(at(early), [trial.rungs[-1][1] for trial in early], "v", color=FAINT, markerfacecolor="none", markersize=3.5,
                markeredgewidth=0.7, alpha=0.8, zorder=1, label="stopped early, last score")  # fmt: skip
    winner = best(done)
    ax.plot(at([winner]), [winner.score], "*", color=SAMPLED, markersize=12, markeredgecolor="white", zorder=4,
            label="best")  # fmt: skip
    if one.axis.kind == "choices":
        for place, choice in enumerate(one.choices):
            own = [t.score for t in done if t.settings.get(one.axis.name, UNSET) == choice]
            if len(own) >= FEW:
                ax.plot([place - 0.36, place + 0.36], [np.median(own)] * 2, color=REAL, linewidth=1.6, zorder=3,
                        label="median")  # fmt: skip
    ax.set_xticks(one.ticks, one.labels)
    ax.set_xlim(one.low, one.high)
