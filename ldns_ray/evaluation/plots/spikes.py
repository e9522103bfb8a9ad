"""Real spikes beside sampled ones.

Legend: S trials, T bins, N units.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldns_ray.evaluation import metrics
from ldns_ray.evaluation.plots.style import OTHER, REAL, SAMPLED, finished, new_figure
from ldns_ray.evaluation.statistics import Floats, Spikes, summarise


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
            ax.set_title(f"{name} trial {column + 1}")
            if row == 1:
                ax.set_xlabel("time in trial (s)")
        axes[row][0].set_ylabel("unit (by real rate)")
    return finished(fig)


def population_counts(real: Spikes, sampled: Spikes, *, log: bool = True) -> Figure:
    """How often all units together fire 0, 1, 2, … spikes in a bin: histogram, and KDE as line."""
    a, b = (summarise(x).pool()[0] for x in (real, sampled))
    densities = metrics.count_densities(real, sampled)
    counts = np.arange(len(densities[0]))
    fig, ((ax,),) = new_figure(1, 1, (6.4, 4.2))
    smallest = 1.0
    for pooled, density, colour, name, shift in (
        (a, densities[0], REAL, "real", -0.2),
        (b, densities[1], SAMPLED, "sampled", 0.2),
    ):
        share = pooled.histogram_K / pooled.n_bins
        smallest = min(smallest, share[share > 0].min())
        ax.bar(np.arange(len(share)) + shift, share, 0.4, color=colour, alpha=0.35)
        ax.plot(counts, density, color=colour, linewidth=1.6, label=name)
    ax.set(xlabel="spikes per bin, all units together", ylabel="share of bins")
    if log:
        ax.set_yscale("log")
        ax.set_ylim(smallest / 3, 2)
    ax.set_title(f"Population spike count (KL = {metrics.kl_psc(a, b):.2g} nats)")
    ax.legend()
    return finished(fig)


def correlations(real: Spikes, sampled: Spikes) -> Figure:
    """Correlation matrix of all units, real and sampled, and one against the other by pair."""
    a, b = (summarise(x).pool()[0] for x in (real, sampled))
    a_NN, b_NN = a.correlation(), b.correlation()
    below = np.tril_indices(a.n_units, -1)
    x, y = a_NN[below], b_NN[below]
    extent = float(np.quantile(np.abs(x), 0.99)) if x.size else 1.0
    extent = max(extent, 1e-3)
    fig, ((left, middle, right),) = new_figure(1, 3, (12.0, 3.7))
    for ax, matrix_NN, name in ((left, a_NN, "Real"), (middle, b_NN, "Sampled")):
        shown_NN = matrix_NN.copy()
        np.fill_diagonal(shown_NN, np.nan)
        image = ax.imshow(shown_NN, cmap="PuOr_r", vmin=-extent, vmax=extent)
        ax.set(title=f"{name} correlations", xlabel="unit", ylabel="unit")
        fig.colorbar(image, ax=ax, label="correlation of counts", fraction=0.046, extend="both")
    _scatter(right, x, y, "real correlation", "sampled correlation", size=4)
    r = _pearson(x, y)
    right.set_title(f"All pairs of units\nr = {r:.3f}, RMSE = {metrics.rmse_corr(a, b):.3g}")
    return finished(fig)


def isi(real: Spikes, sampled: Spikes, bin_width_s: float) -> Figure:
    """Mean and standard deviation of each unit's inter-spike intervals, sampled against real.

    Units without an interval on one side are left out; the title says how many.
    """
    sides = [metrics.isi_statistics(x, bin_width_s) for x in (real, sampled)]
    distances = metrics.compare(real, sampled, bin_width_s)
    fig, (panels,) = new_figure(1, 2, (8.6, 4.2))
    for ax, a_N, b_N, name, key in zip(
        panels,
        *sides,
        ("mean", "standard deviation"),
        ("rmse_mean_isi", "rmse_std_isi"),
        strict=True,
    ):
        both = np.isfinite(a_N) & np.isfinite(b_N)
        _scatter(ax, 1e3 * a_N[both], 1e3 * b_N[both], "real (ms)", "sampled (ms)", size=14)
        ax.set_title(
            f"Inter-spike interval, {name}\n{both.sum()} of {len(both)} units: "
            f"r = {_pearson(a_N[both], b_N[both]):.3f}, RMSE = {1e3 * distances[key]:.3g} ms"
        )
    return finished(fig)


def spike_statistics(real: Spikes, sampled: Spikes, bin_width_s: float) -> dict[str, Figure]:
    """The four pictures that need spikes alone, by name."""
    return {
        "rasters": rasters(real, sampled, bin_width_s),
        "population_counts": population_counts(real, sampled),
        "correlations": correlations(real, sampled),
        "isi": isi(real, sampled, bin_width_s),
    }


def _scatter(ax: Axes, x: Floats, y: Floats, xlabel: str, ylabel: str, *, size: float) -> None:
    """Points with the identity line, both axes over the same range."""
    values = np.concatenate([x, y])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color="0.6", linewidth=1.0, zorder=0)
    ax.scatter(x, y, s=size, color=OTHER, alpha=0.5, linewidths=0, rasterized=True)
    ax.set(xlim=limits, ylim=limits, xlabel=xlabel, ylabel=ylabel, aspect="equal")


def _pearson(x: Floats, y: Floats) -> float:
    """Correlation of two lists; 0 where one does not vary."""
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _first(spikes: Spikes, n: int) -> list[np.ndarray]:
    return list(spikes[:n])
