"""Latents of real trials beside those of sampled ones.

Legend: S trials, T bins, X bins of all trials laid end to end, D latents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D

from ldns_ray.evaluation.plots.style import CYCLE, blank_figure, finished, styled
from ldns_ray.evaluation.statistics import Floats, Spikes

N_BEHIND = 25
"""Trials that are drawn in grey behind the others, for the extent of all."""


def latents(
    real_latents: Spikes,
    sampled_latents: Spikes,
    bin_width_s: float,
    *,
    n_trials: int = 3,
    n_shown: int = 4,
) -> Figure:
    """Trajectories of a few trials along the real principal axes, and below the traces of single latents.

    Real on the left and sampled on the right, with the same axes, view and limits; a trial has the same
    colour above and below. With two latents the trajectories lie in a plane, with one there are traces alone.

    Args:
        real_latents, sampled_latents: (S, T, D) arrays or lists of (T_i, D).
        n_trials: trials in colour.
        n_shown: latents whose traces are drawn.
    """
    sides = [[np.asarray(z, np.float64) for z in x] for x in (real_latents, sampled_latents)]
    if not all(sides):
        raise ValueError("latents must hold at least one trial on each side, got an empty list.")
    n_latents = sides[0][0].shape[1]
    n_axes, shown = min(n_latents, 3), min(n_shown, n_latents)
    height = 4.6 if n_axes > 1 else 0.4
    fig = blank_figure((10.0, height + 1.1 * shown + 0.6))
    n_rows = 2 if n_axes > 1 else 1
    grid = fig.add_gridspec(n_rows, 1, height_ratios=(height, 1.1 * shown + 0.4)[-n_rows:])
    if n_axes > 1:
        _trajectories(fig, grid[0].subgridspec(1, 2), sides, n_axes, n_trials)
    _traces(
        fig,
        grid[n_rows - 1].subgridspec(shown, 2, wspace=0.08),
        sides,
        shown,
        n_trials,
        bin_width_s,
    )
    return finished(fig)


def principal_axes(values_XD: Floats) -> tuple[Floats, Floats]:
    """(D,) the mean and (D, D) the directions of most variance, as columns, the first the largest."""
    mean_D = values_XD.mean(0)
    centred_XD = values_XD - mean_D
    _, vectors_DD = np.linalg.eigh(centred_XD.T @ centred_XD / len(values_XD))
    axes_DD = vectors_DD[:, ::-1]
    # Signs are arbitrary: with the largest component positive the same latents make the same picture.
    largest_D = np.take_along_axis(axes_DD, np.abs(axes_DD).argmax(0)[None], axis=0)[0]
    return mean_D, axes_DD * np.where(largest_D < 0, -1.0, 1.0)


def _trajectories(
    fig: Figure, grid: Any, sides: list[list[Floats]], n_axes: int, n_trials: int
) -> None:
    mean_D, axes_DD = principal_axes(np.concatenate(sides[0]))
    shares = []
    placed: list[list[Floats]] = []
    for side in sides:
        centred_XD = np.concatenate(side) - mean_D
        total = np.sum(centred_XD**2)
        shares.append(np.sum((centred_XD @ axes_DD[:, :n_axes]) ** 2) / total if total else 1.0)
        placed.append([(z - mean_D) @ axes_DD[:, :n_axes] for z in side[: n_trials + N_BEHIND]])
    drawn_XA = np.concatenate([z for side in placed for z in side])
    low_A, high_A = drawn_XA.min(0), drawn_XA.max(0)
    margin_A = np.where(high_A > low_A, 0.02 * (high_A - low_A), 0.5)
    for column, (side, name, share) in enumerate(
        zip(placed, ("Real", "Sampled"), shares, strict=True)
    ):
        ax = fig.add_subplot(grid[column], projection="3d" if n_axes == 3 else None)
        for z_TA in side[n_trials:]:
            ax.plot(*z_TA.T, color="0.8", linewidth=0.5, alpha=0.6)
        for z_TA, colour in zip(side[:n_trials], CYCLE, strict=False):
            ax.plot(*z_TA.T, color=colour, linewidth=1.4)
            ax.plot(*z_TA[:1].T, "o", color=colour, markersize=5.5, markeredgecolor="white")
        names = [f"axis {i + 1}" for i in range(n_axes)]
        limits = np.stack([low_A - margin_A, high_A + margin_A], axis=1)
        ax.set(xlabel=names[0], ylabel=names[1], xlim=limits[0], ylim=limits[1])
        if isinstance(ax, Axes3D):
            ax.set(zlabel=names[2], zlim=limits[2])
            ax.tick_params(labelsize=7, pad=-1)
            ax.set_box_aspect((1, 1, 0.8), zoom=0.95)
            for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
                axis.set_pane_color("white")
            ax.zaxis.label.set_fontsize(9)
        else:
            styled(ax)
        which = f"the first {n_axes} real principal axes" if name == "Real" else "the same axes"
        ax.set_title(f"{name}: {share:.0%} of the variance along {which}\n(dots: starts of trials)")


def _traces(
    fig: Figure, grid: Any, sides: list[list[Floats]], shown: int, n_trials: int, bin_width_s: float
) -> None:
    for d in range(shown):
        left: Axes | None = None
        for column, (side, name) in enumerate(zip(sides, ("Real", "Sampled"), strict=True)):
            ax = fig.add_subplot(grid[d, column], sharey=left)
            left = left or ax
            for z_TD, colour in zip(side[:n_trials], CYCLE, strict=False):
                time = (np.arange(len(z_TD)) + 0.5) * bin_width_s
                ax.plot(time, z_TD[:, d], color=colour, linewidth=1.0)
            ends = [len(z) * bin_width_s for s in sides for z in s[:n_trials]]
            ax.set_xlim(0, max(ends))
            styled(ax)
            if d == 0:
                ax.set_title(f"{name}, {min(n_trials, len(side))} trials")
            if column == 0:
                ax.set_ylabel(f"latent {d + 1}")
            ax.tick_params(labelleft=column == 0, labelbottom=d == shown - 1)
            if d == shown - 1:
                ax.set_xlabel("time in trial (s)")
