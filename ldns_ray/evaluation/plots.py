"""Figures: real spikes beside sampled ones, and how training went.

Every function returns a matplotlib `Figure` that belongs to nobody: no pyplot, no global state,
so figures can be drawn in any worker. `save_figures` writes them. Real data is black, samples
are orange (colours of Okabe & Ito, safe for colour-blind readers).

Legend: S trials, T bins, N units, D latents.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldns_ray.evaluation import metrics
from ldns_ray.evaluation.statistics import Floats, Spikes, summarise

REAL, SAMPLED, OTHER = "#000000", "#D55E00", "#0072B2"
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
DPI = 110


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


def spike_statistics(real: Spikes, sampled: Spikes, bin_width_s: float) -> dict[str, Figure]:
    """The four pictures that need spikes alone, by name."""
    return {
        "rasters": rasters(real, sampled, bin_width_s),
        "population_counts": population_counts(real, sampled),
        "correlations": correlations(real, sampled),
        "isi": isi(real, sampled, bin_width_s),
    }


def png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> list[Path]:
    """Write each figure to `folder/<name>.png` and return the paths, in the order given."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(target / f"{name}.png")
        paths[-1].write_bytes(png(figure))
    return paths


def new_figure(
    rows: int,
    columns: int,
    size: tuple[float, float],
    *,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, np.ndarray]:
    """A figure of the house's look, and its axes (rows, columns)."""
    fig = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for ax in axes.flat:
        styled(ax)
    return fig, axes


def finished(fig: Figure) -> Figure:
    """The figure with titles, labels and legends of one size."""
    for ax in fig.axes:
        ax.title.set_fontsize(10)
        ax.xaxis.label.set_fontsize(9)
        ax.yaxis.label.set_fontsize(9)
        legend = ax.get_legend()
        if legend is not None:
            legend.set_frame_on(False)
            for text in legend.get_texts():
                text.set_fontsize(9)
    return fig


def styled(ax: Axes) -> None:
    """Axes without box, with small tick labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8.5)


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
