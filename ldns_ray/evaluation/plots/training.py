"""How training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ldns_ray.evaluation.plots.style import OTHER, SAMPLED, finished, new_figure
from ldns_ray.evaluation.statistics import Floats

LARGE_RANGE = 10
"""Losses so many times as large as the smallest are hard to see on a linear axis."""


def training_curves(history: Sequence[Mapping[str, object]]) -> Figure:
    """Training and validation loss by step, a panel for each stage.

    Rows hold `step`, and any of `train_loss`, `val_loss`, `stage`; a loss that is missing, None
    or not finite is skipped, so validation may be rarer than training. The best validation loss is
    marked. Losses over a large range are drawn on a logarithmic axis.
    """
    if not history:
        raise ValueError("history is empty. Pass one row per logged step.")
    stages = list(dict.fromkeys(str(row.get("stage", "training")) for row in history))
    fig, (panels,) = new_figure(1, len(stages), (5.3 * len(stages), 3.9))
    for ax, stage in zip(panels, stages, strict=True):
        rows = [row for row in history if str(row.get("stage", "training")) == stage]
        drawn: list[Floats] = []
        for key, colour, name in (
            ("train_loss", OTHER, "training"),
            ("val_loss", SAMPLED, "validation"),
        ):
            points = np.array([(row["step"], row.get(key)) for row in rows], np.float64)
            steps, losses = points[np.isfinite(points).all(1)].T
            if not steps.size:
                continue
            drawn.append(losses)
            marker = "o" if len(steps) < 30 else ""
            ax.plot(
                steps, losses, color=colour, linewidth=1.1, marker=marker, markersize=3, label=name
            )
            if key == "val_loss":
                best = int(np.argmin(losses))
                ax.plot(
                    steps[best],
                    losses[best],
                    "*",
                    color=colour,
                    markersize=12,
                    label=f"best, {losses[best]:.4g} at step {steps[best]:.0f}",
                )
        ax.set(xlabel="optimiser step", ylabel="loss per entry", title=stage.capitalize())
        if drawn:
            low, high = (f(np.concatenate(drawn)) for f in (np.min, np.max))
            if 0 < LARGE_RANGE * low < high:
                ax.set_yscale("log")
            ax.legend()
    return finished(fig)
