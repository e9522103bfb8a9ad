"""Real spikes beside sampled ones.

Legend: S trials, T bins, N units.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ldns_ray.evaluation import metrics
from ldns_ray.evaluation.plots.identity import against_real, agreement, counted
from ldns_ray.evaluation.plots.style import (
    REAL,
    SAMPLED,
    cut,
    finished,
    marked,
    new_figure,
    shared_legend,
)
from ldns_ray.evaluation.statistics import Spikes, summarise


def rasters(real: Spikes, sampled: Spikes, bin_width_s: float, n_trials: int = 3) -> Figure:
    """Spikes of the first trials, real in the upper row and sampled in the lower.

    A line per unit, units with more spikes in the real trials higher up; darker where a bin holds
    more spikes.
    """
    sides = [[np.asarray(trial) for trial in _first(x, n_trials)] for x in (real, sampled)]
    order_N = np.argsort(summarise(real).spikes_SN.sum(0), kind="stable")
    longest = max(len(trial) for side in sides for trial in side)
    most = max(1, max(int(trial.max()) for side in sides for trial in side))
    columns = max(len(side) for side in sides)
    fig, axes = new_figure(2, columns, (3.2 * columns, 5.6), sharex=True, sharey=True)
    for row, (side, colour, name) in enumerate(
        zip(sides, (REAL, SAMPLED), ("Real", "Sampled"), strict=True)
    ):
        for column, ax in enumerate(axes[row]):
            if column >= len(side):
                ax.set_visible(False)
                continue
            bins, units = np.nonzero(side[column][:, order_N])
            counts = side[column][:, order_N][bins, units]
            ax.vlines(
                (bins + 0.5) * bin_width_s,
                units - 0.45,
                units + 0.45,
                color=colour,
                linewidth=1.3,
                alpha=0.7 + 0.3 * counts / most if counts.size else None,
            )
            ax.set(xlim=(0, longest * bin_width_s), ylim=(-1, len(order_N)))
            rate = side[column].mean() / bin_width_s
            ax.set_title(f"{name} trial {column + 1}: {rate:.3g} Hz per unit")
            if row == 1:
                ax.set_xlabel("time in trial (s)")
        axes[row][0].set_ylabel("unit (by real rate)")
        axes[row][0].yaxis.set_major_locator(MaxNLocator(6, integer=True))
    return finished(fig)


def population_counts(
    real: Spikes,
    sampled: Spikes,
    *,
    log: bool = True,
    others: Mapping[str, Spikes] | None = None,
) -> Figure:
    """How often all units together fire 0, 1, 2, … spikes in a bin: histogram, and KDE as line.

    others: spikes of further candidates by name, as thin lines.
    """
    a, b = (summarise(x).pool()[0] for x in (real, sampled))
    densities = metrics.count_densities(a, b)
    fig, ((ax,),) = new_figure(1, 1, (7.2, 4.2))
    smallest = 1.0
    kl = metrics.kl_psc(a, b)
    for pooled, density, colour, label, shift in (
        (a, densities[0], REAL, "real", -0.2),
        (b, densities[1], SAMPLED, f"sampled, KL = {kl:.2g} nats", 0.2),
    ):
        share = pooled.histogram_K / pooled.n_bins
        smallest = min(smallest, share[share > 0].min())
        ax.bar(np.arange(len(share)) + shift, share, 0.4, color=colour, alpha=0.35)
        ax.plot(np.arange(len(density)), density, color=colour, linewidth=1.6, label=label)
    for name, spikes, mark in marked(others):
        c = summarise(spikes).pool()[0]
        density = metrics.count_densities(a, c)[1]
        label = f"{cut(name, 24)}, KL = {metrics.kl_psc(a, c):.2g} nats"
        ax.plot(
            np.arange(len(density)), density, color=mark.colour, linestyle=mark.dashes, linewidth=1.1, label=label
        )  # fmt: skip
    ax.set(xlabel="spikes per bin, all units together", ylabel="share of bins")
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    if log:
        ax.set_yscale("log")
        ax.set_ylim(smallest / 3, 2)
    means = [f"{x.spikes_N.sum() / x.n_bins:.3g}" for x in (a, b)]
    ax.set_title(f"Population spike count: {means[0]} spikes per bin real, {means[1]} sampled")
    ax.legend(loc="upper right")
    return finished(fig)


def correlations(real: Spikes, sampled: Spikes) -> Figure:
    """Correlation matrix of all units, real and sampled, and one against the other by pair."""
    a_NN, b_NN = (metrics.correlations(x) for x in (real, sampled))
    below = np.tril_indices(len(a_NN), -1)
    x, y = a_NN[below], b_NN[below]
    extent = float(np.quantile(np.abs(x), 0.99)) if x.size else 1.0
    extent = max(extent, 1e-3)
    fig, ((left, middle, right),) = new_figure(1, 3, (10.8, 3.4))
    for ax, matrix_NN, values, name in ((left, a_NN, x, "Real"), (middle, b_NN, y, "Sampled")):
        shown_NN = matrix_NN.copy()
        np.fill_diagonal(shown_NN, np.nan)
        image = ax.imshow(shown_NN, cmap="PuOr_r", vmin=-extent, vmax=extent)
        mean = f", mean {values.mean():.3g}" if values.size else ""
        ax.set(title=f"{name} correlations{mean}", xlabel="unit", ylabel="unit")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        bar = fig.colorbar(
            image, ax=ax, label="correlation of counts", fraction=0.046, extend="both"
        )
        bar.ax.tick_params(labelsize=8.5)
    against_real(right, x, y, size=4)
    right.set(xlabel="real correlation", ylabel="sampled correlation")
    right.set_title(f"All pairs of units\n{agreement(x, y)}")
    return finished(fig)


def isi(
    real: Spikes,
    sampled: Spikes,
    bin_width_s: float,
    *,
    others: Mapping[str, Spikes] | None = None,
) -> Figure:
    """Mean and standard deviation of each unit's inter-spike intervals, sampled against real.

    Units without an interval on one side are left out; the title says how many.
    others: spikes of further candidates by name, as small open markers.
    """
    in_ms = {
        name: [1e3 * values_N for values_N in metrics.isi_statistics(spikes, bin_width_s)]
        for name, spikes in (others or {}).items()
    }
    sides = [metrics.isi_statistics(x, bin_width_s) for x in (real, sampled)]
    fig, (panels,) = new_figure(1, 2, (9.2, 4.8))
    for i, (ax, name) in enumerate(zip(panels, ("mean", "standard deviation"), strict=True)):
        a_N, b_N = (1e3 * side[i] for side in sides)
        against_real(ax, a_N, b_N, "ms", others={k: x[i] for k, x in in_ms.items()})
        ax.set_title(
            f"Inter-spike interval, {name}\n{counted(a_N, b_N)}{agreement(a_N, b_N, 'ms')}"
        )
    if others:
        shared_legend(fig, panels[0])
    return finished(fig)


def _first(spikes: Spikes, n: int) -> list[np.ndarray]:
    return list(spikes[:n])
