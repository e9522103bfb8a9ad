"""How a sweep went: trial by trial, and epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ldns_ray.evaluation.plots.searched import (
    Rows,
    Tried,
    best,
    counted,
    draw_scores,
    number,
    of_status,
    told,
    tried,
)
from ldns_ray.evaluation.plots.style import (
    FAINT,
    OTHER,
    REAL,
    SAMPLED,
    finished,
    new_figure,
    shared_legend,
)

FINAL = 0.25
"""How far the final scores are from the last epoch, in lengths of the axis before it."""
LABEL = 0.09
"""Width of an epoch's label, as a share of the axis."""


def history(rows: Rows) -> Figure | None:
    """Score of each trial by its number, and the best so far.

    A trial that was stopped early has its last score while it trained; where there was none it is at the upper edge,
    as are those that failed. None without trials.
    """
    trials = tried(rows)
    if not trials:
        return None
    done, early, failed = (of_status(trials, s) for s in ("FINISHED", "STOPPED", "FAILED"))
    fig, axes = new_figure(1, 1, (9.2, 4.4))
    ax = axes[0, 0]
    last = {trial.number: trial.rungs[-1][1] for trial in early if trial.rungs}
    draw_scores(ax, [*(trial.score for trial in done), *last.values()])
    size = float(np.clip(400 / len(trials), 4.5, 6.5))
    title = f"None of {counted(len(trials), 'trial')} finished"
    if done:
        winner = best(trials)
        title = f"The best of {counted(len(done), 'finished trial')} scores {told(winner.score)}"
        numbers, scores = [t.number for t in done], [t.score for t in done]
        so_far = np.minimum.accumulate(scores)
        ax.step([*numbers, trials[-1].number], [*so_far, so_far[-1]], where="post", color=REAL, linewidth=1.3,
                zorder=2, label="best so far")  # fmt: skip
        ax.plot(numbers, scores, "o", color=OTHER, markersize=size, markeredgewidth=0, alpha=0.85, zorder=3,
                label=f"finished ({len(done)})")  # fmt: skip
        ax.plot(winner.number, winner.score, "*", color=SAMPLED, markersize=14, zorder=5, markeredgecolor="white",
                label=f"best: trial {winner.number}, {told(winner.score)}")  # fmt: skip
    if early:
        ax.plot(list(last), list(last.values()), "v", color=FAINT, markerfacecolor="none", markersize=size - 0.5,
                markeredgewidth=0.8, zorder=1, label=f"stopped early, last score ({len(early)})")  # fmt: skip
    _at_edge(ax, [t.number for t in early if not t.rungs], "v", FAINT, size)
    _at_edge(ax, [t.number for t in failed], "x", REAL, size, f"failed ({len(failed)})")
    ax.set(xlabel="trial", xlim=(0.5, trials[-1].number + 0.5))
    ax.set_title(title, pad=12)
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    shared_legend(fig, ax)
    return finished(fig)


def _at_edge(
    ax: Axes, numbers: list[int], marker: str, colour: str, size: float, label: str = ""
) -> None:
    """Trials without a score, just above the axes."""
    if numbers:
        ax.plot(numbers, [1.015] * len(numbers), marker, color=colour, markerfacecolor="none", markersize=size,
                transform=ax.get_xaxis_transform(), clip_on=False, label=label or None)  # fmt: skip


def halving(rows: Rows) -> Figure | None:
    """Score of each trial at the epochs where trials were compared, and on the right where it ended.

    None where no trial had a score while it trained.
    """
    trials = tried(rows)
    epochs = sorted({epoch for trial in trials for epoch, _ in trial.rungs})
    if not epochs:
        return None
    done, early, failed = (of_status(trials, s) for s in ("FINISHED", "STOPPED", "FAILED"))
    log = epochs[0] > 0 and epochs[-1] > 4 * epochs[0]
    at = [math.log(epoch) if log else epoch for epoch in epochs]
    place = dict(zip(epochs, at, strict=True))
    end = at[-1] + FINAL * (at[-1] - at[0] or 1.0)

    def path(trial: Tried) -> tuple[list[float], list[float]]:
        """A trial's places and scores."""
        final = [(end, trial.score)] if trial.status == "FINISHED" else []
        points = [*((place[epoch], score) for epoch, score in trial.rungs), *final]
        return [x for x, _ in points], [y for _, y in points]

    fig, axes = new_figure(1, 1, (9.2, 4.6))
    ax = axes[0, 0]
    draw_scores(ax, [score for trial in trials for score in path(trial)[1]])
    alpha = float(np.clip(25 / len(trials), 0.25, 0.9))
    for group, colour, dashes, ending, name in (
        (early, FAINT, (0, (4, 2)), "x", "stopped early"),
        (failed, REAL, (0, (1, 2)), "1", "failed"),
        (done, OTHER, "-", "o", "finished"),
    ):
        if group:
            ax.plot([], [], color=colour, linestyle=dashes, linewidth=1.1, marker=ending, markersize=4.5,
                    label=f"{name} ({len(group)})")  # fmt: skip
        for x, y in (path(trial) for trial in group if trial.rungs or trial in done):
            ax.plot(x, y, color=colour, linestyle=dashes, linewidth=1.1, alpha=alpha, zorder=2)
            ax.plot(x[-1], y[-1], ending, color=colour, markersize=4.5, alpha=max(alpha, 0.6), zorder=2)  # fmt: skip
    title = f"{len(early) or 'None'} of {counted(len(trials), 'trial')} stopped early"
    if done:
        winner = best(trials)
        ax.plot(*path(winner), "-o", color=SAMPLED, linewidth=2.4, markersize=5, zorder=4,
                label=f"best: trial {winner.number}, {told(winner.score)}")  # fmt: skip
        ax.axvline((at[-1] + end) / 2, color="0.85", linewidth=0.8, zorder=0)
        for epoch, score in winner.rungs[:1]:
            title += f"; the best went from {told(score)} at epoch {number(epoch)} to {told(winner.score)}"
    ax.set_title(title)
    _epochs(ax, trials, place, end)
    ax.set_xlabel(f"epoch{' (log)' if log else ''}")
    shared_legend(fig, ax)
    return finished(fig)


def _epochs(ax: Axes, trials: Sequence[Tried], place: dict[float, float], end: float) -> None:
    """Names the epochs as far as they have room, each with the trials that came so far; from the end, for the last matter most."""
    room = LABEL * (end - min(place.values()))
    named: dict[float, str] = {}
    if of_status(trials, "FINISHED"):
        named[end] = f"final\n{counted(len(of_status(trials, 'FINISHED')), 'trial')}"
    for epoch, x in reversed(place.items()):
        if not named or min(named) - x >= room:
            n = sum(any(e == epoch for e, _ in trial.rungs) for trial in trials)
            named[x] = f"{number(epoch)}\n{counted(n, 'trial')}"
    ax.set_xticks(list(named), list(named.values()))
    ax.xaxis.set_minor_locator(NullLocator())
