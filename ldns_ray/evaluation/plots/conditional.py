"""Figures of what samples were asked for and what is decoded from them.

Real trials are black, samples orange.

Legend: S trials, T bins, K channels, C classes.
"""

from __future__ import annotations

import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldns_ray.evaluation.decoding.conditional import Conditional
from ldns_ray.evaluation.decoding.decoders import AngleDecoding, ClassDecoding, Ints, TraceDecoding
from ldns_ray.evaluation.plots.reaches import is_planar_velocity, reaches
from ldns_ray.evaluation.plots.style import DPI, REAL, SAMPLED, finished, new_figure, plain, styled

MAX_CHANNELS = 3
"""Channels of a covariate that are drawn."""
MAX_NUMBERED = 12
"""Confusion matrices of so many classes have their numbers written into them."""


def conditional(
    decoded: Conditional, bin_width_s: float, units: dict[str, str]
) -> dict[str, Figure]:
    """A picture by name, fit for a file, for everything that was decoded. units: of the covariates, by name."""
    figures = {
        f"decoded_{_word(name)}": traces(x, plain(name), bin_width_s, plain(units.get(name, "")))
        for name, x in decoded.covariates.items()
    }
    figures |= {
        f"reached_{_word(name)}": reaches(x, plain(name), bin_width_s, plain(units.get(name, "")))
        for name, x in decoded.covariates.items()
        if is_planar_velocity(x, name, units.get(name, ""))
    }
    if decoded.classes is not None:
        figures["decoded_classes"] = confusions(
            decoded.classes, list(map(plain, decoded.class_names))
        )
    for name, x in decoded.angles.items():
        figures[f"decoded_{_word(name)}"] = angles(x, plain(name))
    return figures


def _word(name: str) -> str:
    """A name without slashes and the like, which files and artifacts cannot have."""
    return re.sub(r"[^\w.-]", "_", name)


def traces(
    decoding: TraceDecoding, name: str, bin_width_s: float, unit: str = "", n_trials: int = 4
) -> Figure:
    """A covariate as asked for and as decoded from the first sampled trials, and R² real beside sampled."""
    n_channels = min(decoding.asked[0].shape[1], MAX_CHANNELS)
    shown = min(n_trials, len(decoding.asked))
    fig = Figure(
        figsize=(1.95 * shown + 2.8, 1.9 * n_channels + 1.2), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(fig)
    grid = fig.add_gridspec(n_channels, shown + 1, width_ratios=(*[1] * shown, 1.1))
    first: Axes | None = None
    for channel in range(n_channels):
        for trial in range(shown):
            ax = fig.add_subplot(grid[channel, trial], sharex=first, sharey=first)
            first = first or ax
            asked, decoded = (x[trial][:, channel] for x in (decoding.asked, decoding.decoded))
            time = (np.arange(len(asked)) + 0.5) * bin_width_s
            ax.axhline(0, color="0.85", linewidth=0.8, zorder=0)
            ax.plot(time, asked, color="0.55", linewidth=2.4, label="asked for")
            ax.plot(time, decoded, color=SAMPLED, linewidth=1.3, label="decoded")
            styled(ax)
            ax.tick_params(labelleft=trial == 0, labelbottom=channel == n_channels - 1)
            if channel == 0:
                ax.set_title(f"Sampled trial {trial + 1}")
            if trial == 0:
                ax.set_ylabel(f"{name} {channel + 1}" + (f" ({unit})" if unit else ""))
            if channel == n_channels - 1:
                ax.set_xlabel("time in trial (s)")
            if channel == trial == 0:
                ax.legend(loc="best", handlelength=1.2)
    _r_squared_bars(fig.add_subplot(grid[:, shown]), decoding, name, n_channels)
    return finished(fig)


def _r_squared_bars(ax: Axes, decoding: TraceDecoding, name: str, n_channels: int) -> None:
    groups = ["all", *(str(k + 1) for k in range(n_channels))]
    place = np.arange(len(groups))
    for x, colour, side, shift in (
        (decoding.real, REAL, "real", -0.2),
        (decoding.sampled, SAMPLED, "sampled", 0.2),
    ):
        heights = [x.total, *x.per_channel[:n_channels]]
        bars = ax.bar(place + shift, heights, 0.38, color=colour, label=side)
        ax.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set_xticks(place, groups)
    low = min(0.0, ax.get_ylim()[0])
    ax.set_ylim(low, 1 + 0.18 * (1 - low))  # room for the legend
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= 1])
    ax.set(xlabel=f"{name} channel", ylabel="R² of the decoder", title="Real held-out and sampled")
    styled(ax)
    ax.legend(loc="upper center", ncols=2, handlelength=1.0, columnspacing=1.2)


def confusions(decoding: ClassDecoding, names: list[str]) -> Figure:
    """Share of the trials of each class that are decoded as each class, real and sampled."""
    n = len(names)
    fig, (axes,) = new_figure(1, 2, (9.2, 4.2))
    for ax, confusion_CC, side, share in (
        (axes[0], decoding.confusion_real_CC, "Real held-out", decoding.accuracy_real),
        (axes[1], decoding.confusion_sampled_CC, "Sampled", decoding.accuracy_sampled),
    ):
        shares_CC = _shares(confusion_CC)
        image = ax.imshow(shares_CC, cmap="Greys", vmin=0, vmax=1)
        ax.spines[["top", "right"]].set_visible(True)
        ax.set_title(f"{side}: {share:.1%} of {confusion_CC.sum()} trials")
        ax.set(
            xlabel="decoded class",
            ylabel="class of the trial" if side != "Sampled" else "class asked for",
        )
        if n <= MAX_NUMBERED:
            ax.set_xticks(range(n), names)
            ax.set_yticks(range(n), names)
            for i, j in np.argwhere(confusion_CC > 0):
                colour = "white" if shares_CC[i, j] > 0.5 else "black"
                ax.text(
                    j,
                    i,
                    f"{100 * shares_CC[i, j]:.0f}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=8,
                )
    bar = fig.colorbar(image, ax=axes, fraction=0.03, label="share of the class's trials")
    bar.ax.tick_params(labelsize=8.5)
    return finished(fig)


def _shares(confusion_CC: Ints) -> np.ndarray:
    """Rows as shares of their sums; rows of no trial stay 0."""
    return confusion_CC / np.maximum(confusion_CC.sum(1, keepdims=True), 1)


def angles(decoding: AngleDecoding, name: str) -> Figure:
    """The decoded angle of each trial against its own, real, and against the one asked for, sampled."""
    fig, (axes,) = new_figure(1, 2, (8.6, 4.3), sharey=True)
    for ax, asked_S, decoded_S, error, colour, side in (
        (
            axes[0],
            decoding.asked_real_S,
            decoding.decoded_real_S,
            decoding.error_real,
            REAL,
            "Real held-out",
        ),
        (
            axes[1],
            decoding.asked_sampled_S,
            decoding.decoded_sampled_S,
            decoding.error_sampled,
            SAMPLED,
            "Sampled",
        ),
    ):
        # Each point is drawn on the turn that is nearest to its angle, so that 359 and 1 lie together.
        turned_S = asked_S + (decoded_S - asked_S + 180) % 360 - 180
        ax.plot([0, 360], [0, 360], color="0.6", linewidth=1.0, zorder=0)
        ax.scatter(asked_S, turned_S, s=10, color=colour, alpha=0.35, linewidths=0, rasterized=True)
        ax.set(
            xlabel=f"{name} {'asked for' if side == 'Sampled' else 'of the trial'} (°)",
            ylabel=f"decoded {name} (°)", xlim=(-20, 380), title=f"{side}: median error {error:.1f}°",
        )  # fmt: skip
        ax.set_xticks(range(0, 361, 90))
    low, high = axes[0].get_ylim()
    axes[0].set_yticks([tick for tick in range(-180, 541, 90) if low <= tick <= high])
    return finished(fig)
