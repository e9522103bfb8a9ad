"""How training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ldns_ray.evaluation.plots.style import OTHER, SAMPLED, finished, new_figure


def training_curves(history: Sequence[Mapping[str, object]]) -> Figure:
    """Training and validation loss by step, a panel for each stage.

    Rows hold `step`, and any of `train_loss`, `val_loss`, `stage`; a missing or None loss is
    skipped, so validation may be rarer than training. The best validation loss is marked.
    """
    if not history:
        raise ValueError("history is empty. Pass one row per logged step.")
    stages = list(dict.fromkeys(str(row.get("stage", "training")) for row in history))
    fig, (panels,) = new_figure(1, len(stages), (5.6 * len(stages), 4.0))
    for ax, stage in zip(panels, stages, strict=True):
        rows = [row for row in history if str(row.get("stage", "training")) == stage]
        for key, colour, name in (
            ("train_loss", OTHER, "training"),
            ("val_loss", SAMPLED, "validation"),
        ):
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if not points:
                continue
            steps, losses = np.array(points, np.float64).T
            marker = "o" if len(steps) < 30 else ""
            ax.plot(steps, losses, color=colour, marker=marker, markersize=3, label=name)
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
        ax.legend()
    return finished(fig)
