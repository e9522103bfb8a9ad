"""Latents of real trials beside those of sampled ones.

Legend: S trials, T bins, D latents.
"""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldns_ray.evaluation.plots.style import CYCLE, DPI, REAL, SAMPLED, finished, styled
from ldns_ray.evaluation.statistics import Spikes


def latents(
    real_latents: Spikes,
    sampled_latents: Spikes,
    n_trials: int = 3,
    n_shown: int = 4,
) -> Figure:
    """Latent traces of a few trials, and trajectories in the two real directions of most variance.

    Latents are (S, T, D) arrays or lists of (T_i, D).
    """
    sides = [[np.asarray(z, np.float64) for z in x] for x in (real_latents, sampled_latents)]
    if not all(sides):
        raise ValueError("latents must hold at least one trial on each side, got an empty list.")
    stacked = np.concatenate(sides[0])
    mean_D = stacked.mean(0)
    _, _, axes_DD = np.linalg.svd(np.cov(stacked.T).reshape(stacked.shape[1], -1), hermitian=True)
    shown = min(n_shown, stacked.shape[1])
    fig = Figure(figsize=(11.0, 1.3 * shown + 1.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(fig)
    grid = fig.add_gridspec(shown, 3, width_ratios=(1, 1, 1.2))
    for column, (side, name) in enumerate(zip(sides, ("Real", "Sampled"), strict=True)):
        for d in range(shown):
            ax = fig.add_subplot(grid[d, column])
            for trial, colour in zip(side[:n_trials], CYCLE, strict=False):
                ax.plot(trial[:, d], color=colour, linewidth=1.0)
            reach = 1.05 * max(np.abs(z[:, d]).max() for s in sides for z in s[:n_trials])
            ax.set_ylim(-reach, reach)
            styled(ax)
            if d == 0:
                ax.set_title(f"{name} latents, {min(n_trials, len(side))} trials")
            if column == 0:
                ax.set_ylabel(f"latent {d + 1}")
            if d == shown - 1:
                ax.set_xlabel("bin")
            else:
                ax.tick_params(labelbottom=False)
    ax = fig.add_subplot(grid[:, 2])
    for side, colour, name in zip(sides, (REAL, SAMPLED), ("real", "sampled"), strict=True):
        for i, trial in enumerate(side[: 4 * n_trials]):
            plane = (trial - mean_D) @ axes_DD[:2].T
            second = plane[:, 1] if plane.shape[1] > 1 else np.zeros(len(plane))
            label = name if i == 0 else None
            ax.plot(plane[:, 0], second, color=colour, alpha=0.6, linewidth=0.9, label=label)
    ax.set(
        title="Trajectories, real principal axes",
        xlabel="first principal component",
        ylabel="second principal component",
    )
    styled(ax)
    ax.legend()
    return finished(fig)
