"""How a sweep went, and what came of it: every picture that its trials allow.

A picture is None where there is nothing to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ldns_ray.evaluation.plots.parallel import parallel_coordinates
from ldns_ray.evaluation.plots.progress import halving, history
from ldns_ray.evaluation.plots.searched import Axis, Rows, titles
from ldns_ray.evaluation.plots.slices import slices
from ldns_ray.evaluation.plots.style import OTHER, finished, new_figure

SMALLEST = 0.01
"""Smaller shares are not told."""


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


def importance_bars(values: Mapping[str, float | None]) -> Figure | None:
    """A bar for each setting, the most important on top; what has no value stands below, and says so.

    values: shares of the variance of scores, from 0 to 1. What they lack to 1 is a bar of its own.
    """
    known = {name: value for name, value in values.items() if value is not None}
    if not known or max(known.values()) <= 0:
        return None
    short = titles(values, width=44)
    ranked = sorted(known, key=lambda name: -known[name])
    bars: list[tuple[str, float | None, dict[str, Any]]] = [
        *((short[name], known[name], {"color": OTHER}) for name in ranked),
        *((short[name], None, {}) for name in values if name not in known),
    ]
    rest = 1 - sum(known.values())
    if rest > SMALLEST:
        bars.append(("several together, and noise", rest, {"color": "0.88", "hatch": "///", "edgecolor": "0.6", "linewidth": 0}))  # fmt: skip
    fig, axes = new_figure(1, 1, (9.2, 1.3 + 0.32 * len(bars)))
    ax = axes[0, 0]
    for place, (_, share, look) in enumerate(bars):
        text = "not known"
        if share is not None:
            ax.barh(place, 100 * share, 0.66, **look)
            text = f"{100 * share:.0f} %" if share >= SMALLEST else f"< {100 * SMALLEST:g} %"
        ax.annotate(text, (100 * (share or 0), place), (4, 0), textcoords="offset points", va="center",
                    fontsize=8.5, color="0.2")  # fmt: skip
    ax.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    ax.tick_params(axis="y", length=0, labelsize=9)
    ax.set(ylim=(len(bars) - 0.4, -0.6), xlim=(0, 108 * max(*known.values(), rest)))
    ax.set_xlabel("share of the variance of the log scores that the setting explains alone (%)")
    ax.set_title(f"{bars[0][0]} matters most: {100 * known[ranked[0]]:.0f} % of the variance of the scores")  # fmt: skip
    ax.spines["left"].set_visible(False)
    return finished(fig)
