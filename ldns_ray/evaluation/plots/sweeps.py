"""How a sweep went, and what came of it: every picture that its trials allow.

A picture is None where there is nothing to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ldns_ray.evaluation.plots.parallel import parallel_coordinates
from ldns_ray.evaluation.plots.searched import (
    Axis,
    Rows,
    best,
    draw_scores,
    number,
    of_status,
    titles,
    told,
    tried,
)
from ldns_ray.evaluation.plots.slices import slices
from ldns_ray.evaluation.plots.style import (
    FAINT,
    OTHER,
    REAL,
    SAMPLED,
    cut,
    finished,
    new_figure,
    shared_legend,
)

MAX_RUNGS = 8
"""So many epochs of rungs are named."""


def sweep_figures(
    rows: Rows, axes: Sequence[Axis], importances: Mapping[str, float | None]
) -> dict[str, Figure]:
    """Every picture that the trials allow, by name.

    axes: of the settings that were searched; the more important come first. importances: of settings, as far as known.
    """
    ranked = sorted(axes, key=lambda axis: -(importances.get(axis.name) or 0.0))
    drawn = {
        "history": history(rows),
        "halving": halving(rows),
        "importances": importance_bars(importances),
        "parallel_coordinates": parallel_coordinates(rows, ranked),
        "slices": slices(rows, ranked),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def history(rows: Rows) -> Figure | None:
    """Score of each trial by its number, and the best so far.

    A trial that was stopped early has its last score while it trained, below the upper edge where there was none;
    there also are those that failed.
    """
    trials = tried(rows)
    if not trials:
        return None
    done, early, failed = (of_status(trials, s) for s in ("FINISHED", "STOPPED", "FAILED"))
    fig, axes = new_figure(1, 1, (9.2, 4.4))
    ax = axes[0, 0]
    last = [(trial.number, trial.rungs[-1][1]) for trial in early if trial.rungs]
    draw_scores(ax, [*(trial.score for trial in done), *(score for _, score in last)])
    size = float(np.clip(260 / len(trials), 3.5, 6.5))
    if done:
        winner = best(trials)
        so_far = np.minimum.accumulate([trial.score for trial in done])
        numbers = [trial.number for trial in done]
        ax.step([*numbers, trials[-1].number], [*so_far, so_far[-1]], where="post", color=REAL, linewidth=1.3,
                zorder=2, label="best so far")  # fmt: skip
        ax.plot(numbers, [trial.score for trial in done], "o", color=OTHER, markersize=size, markeredgewidth=0,
                alpha=0.8, zorder=3, label=f"finished ({len(done)})")  # fmt: skip
        ax.plot(winner.number, winner.score, "*", color=SAMPLED, markersize=14, zorder=5, markeredgecolor="white",
                label=f"best: trial {winner.number}, {told(winner.score)}")  # fmt: skip
        title = f"The best of {_counted(len(done), 'finished trial')} scores {told(winner.score)} (trial {winner.number})"
    else:
        title = f"None of {_counted(len(trials), 'trial')} finished"
    if early:
        ax.plot(*np.transpose(last or np.empty((0, 2))), "v", color=FAINT, markerfacecolor="none", markersize=size,
                zorder=2, label=f"stopped early, last score ({len(early)})")  # fmt: skip
    unscored = [trial.number for trial in early if not trial.rungs]
    edge = ax.get_xaxis_transform()
    ax.plot(unscored, [1.0] * len(unscored), "v", color=FAINT, markerfacecolor="none", markersize=size,
            transform=edge, clip_on=False)  # fmt: skip
    if failed:
        ax.plot([trial.number for trial in failed], [1.0] * len(failed), "x", color=REAL, markersize=size,
                transform=edge, clip_on=False, label=f"failed ({len(failed)})")  # fmt: skip
    ax.set(xlabel="trial", title=title, xlim=(0.5, trials[-1].number + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    shared_legend(fig, ax)
    return finished(fig)


def halving(rows: Rows) -> Figure | None:
    """Score of each trial at the epochs where trials were compared, and its final score on the right."""
    trials = [trial for trial in tried(rows) if trial.rungs]
    if not trials:
        return None
    done, early, failed = (of_status(trials, s) for s in ("FINISHED", "STOPPED", "FAILED"))
    epochs = sorted({epoch for trial in trials for epoch, _ in trial.rungs})
    log = epochs[0] > 0 and epochs[-1] > 4 * epochs[0]
    gap = epochs[-1] - epochs[0] or epochs[-1] or 1.0
    end = epochs[-1] * (epochs[-1] / epochs[0]) ** 0.25 if log else epochs[-1] + 0.25 * gap
    fig, axes = new_figure(1, 1, (9.2, 4.6))
    ax = axes[0, 0]
    scores = [score for trial in trials for _, score in trial.rungs]
    draw_scores(ax, [*scores, *(trial.score for trial in done)])
    alpha = float(np.clip(25 / len(trials), 0.25, 0.9))
    for group, colour, dashes, ending, name in (
        (early, FAINT, (0, (4, 2)), "x", "stopped early"),
        (failed, REAL, (0, (1, 2)), "x", "failed"),
        (done, OTHER, "-", "o", "finished"),
    ):
        for i, trial in enumerate(group):
            points = [*trial.rungs, *([(end, trial.score)] if trial in done else [])]
            x, y = np.transpose(points)
            ax.plot(x, y, color=colour, linestyle=dashes, linewidth=1.1, alpha=alpha, zorder=2,
                    label=f"{name} ({len(group)})" if i == 0 else None)  # fmt: skip
            ax.plot(
                x[-1], y[-1], ending, color=colour, markersize=4.5, alpha=max(alpha, 0.6), zorder=2
            )
    title = f"{len(early)} of {_counted(len(trials), 'trial')} {'was' if len(early) == 1 else 'were'} stopped early"
    if done:
        winner = best(trials)
        x, y = np.transpose([*winner.rungs, (end, winner.score)])
        ax.plot(x, y, "-o", color=SAMPLED, linewidth=2.4, markersize=5, zorder=4,
                label=f"best: trial {winner.number}, {told(winner.score)}")  # fmt: skip
        title += (
            f"; the best went from {told(y[0])} at epoch {number(x[0])} to {told(winner.score)}"
        )
        ax.axvline((epochs[-1] * end) ** 0.5 if log else (epochs[-1] + end) / 2, color="0.85", linewidth=0.8, zorder=0)  # fmt: skip
    ax.set_xscale("log" if log else "linear")
    ax.xaxis.set_minor_locator(NullLocator())
    named = epochs[:: -(-len(epochs) // MAX_RUNGS)]
    counts = [sum(any(epoch == e for e, _ in trial.rungs) for trial in trials) for epoch in named]
    labels = [
        f"{number(epoch)}\n{_counted(n, 'trial')}" for epoch, n in zip(named, counts, strict=True)
    ]
    final = [(end, f"final\n{_counted(len(done), 'trial')}")] if done else []
    ax.set_xticks([*named, *(x for x, _ in final)], [*labels, *(text for _, text in final)])
    ax.set(xlabel=f"epoch of the comparison{' (log)' if log else ''}", title=title)
    shared_legend(fig, ax)
    return finished(fig)


def importance_bars(values: Mapping[str, float | None]) -> Figure | None:
    """A bar for each setting, the most important on top; what has no value stands below, and says so.

    values: shares of the variance of scores, from 0 to 1. What they lack to 1 is a bar of its own.
    """
    known = {name: value for name, value in values.items() if value is not None}
    if not known or max(known.values()) <= 0:
        return None
    names = [*sorted(known, key=lambda name: -known[name]), *(n for n in values if n not in known)]
    short = titles(values)
    rest = 1 - sum(known.values())
    labels = [cut(short[name], 44) for name in names] + ["several together, and noise"] * (rest > 0)
    fig, axes = new_figure(1, 1, (9.2, 1.3 + 0.32 * len(labels)))
    ax = axes[0, 0]
    ax.barh(
        range(len(known)), [100 * known[name] for name in names[: len(known)]], 0.66, color=OTHER
    )
    if rest > 0:
        ax.barh(
            len(names), 100 * rest, 0.66, color="0.88", hatch="///", edgecolor="0.6", linewidth=0
        )
    for place, text_at in enumerate(
        [*(known.get(name) for name in names), *([rest] if rest > 0 else [])]
    ):
        text = (
            "not known"
            if text_at is None
            else f"{100 * text_at:.0f} %"
            if text_at >= 0.01
            else "< 1 %"
        )
        ax.annotate(text, (100 * (text_at or 0), place), (4, 0), textcoords="offset points", va="center",
                    fontsize=8.5, color="0.2" if text_at is not None else "0.5")  # fmt: skip
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0, labelsize=9)
    ax.set(ylim=(len(labels) - 0.4, -0.6), xlim=(0, 108 * max(*known.values(), rest)))
    ax.set_xlabel("share of the variance of the scores that the setting explains alone (%)")
    ax.set_title(f"{labels[0]} explains most of the scores: {100 * known[names[0]]:.0f} %")
    ax.spines["left"].set_visible(False)
    return finished(fig)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
