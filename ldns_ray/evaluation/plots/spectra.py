"""How fast latents move: power spectra, real beside sampled.

Legend: D latents, F frequencies.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ldns_ray.evaluation.plots.style import REAL, SAMPLED, blank_figure, finished, styled
from ldns_ray.evaluation.spectra import raised
from ldns_ray.evaluation.statistics import Floats, rms


def spectra(
    *, frequencies_F: Floats, real_DF: Floats, sampled_DF: Floats, n_shown: int = 4
) -> Figure:
    """Spectra of the latents of most real power, and the difference to the sampled ones of all latents.

    Powers are drawn from `spectra.POWER_FLOOR` of a latent's mean power up.

    Args:
        frequencies_F: (F,) in Hz; frequency 0 is not drawn.
        real_DF, sampled_DF: (D, F) mean power over trials, in units of that of white noise of variance 1.
        n_shown: latents that have a panel.
    """
    moving = frequencies_F > 0
    if not moving.any():
        raise ValueError(
            f"frequencies_F must hold one above 0, got {frequencies_F.tolist()}. "
            "Give spectra of trials of two bins or more."
        )
    hertz_F = frequencies_F[moving]
    real_DF, sampled_DF = raised(real_DF[:, moving], sampled_DF[:, moving])
    decibels_DF = 10 * np.log10(sampled_DF / real_DF)
    most_D = np.argsort(-real_DF.sum(1), kind="stable")[:n_shown]
    n_rows = 1 if len(most_D) <= 2 else 2
    n_columns = -(-len(most_D) // n_rows)
    fig = blank_figure((2.6 * n_columns + 4.6, 2.4 * n_rows + 1.4))
    grid = fig.add_gridspec(n_rows, n_columns + 1, width_ratios=(*[1] * n_columns, 1.5))
    marker = "." if hertz_F.size < 40 else ""
    first = None
    for i, d in enumerate(most_D):
        ax = fig.add_subplot(grid[divmod(i, n_columns)], sharex=first, sharey=first)
        first = first or ax
        ax.plot(hertz_F, real_DF[d], color=REAL, linewidth=1.8, marker=marker, label="real")
        ax.plot(
            hertz_F, sampled_DF[d], color=SAMPLED, linewidth=1.4, marker=marker, label="sampled"
        )
        _logarithmic(ax, hertz_F)
        ax.set_yscale("log")
        ax.set_title(f"Latent {d + 1}{_rms(decibels_DF[d])}")
        ax.tick_params(labelleft=i % n_columns == 0, labelbottom=i + n_columns >= len(most_D))
        if i % n_columns == 0:
            ax.set_ylabel("power (white noise of sd 1: 1)")
        if i + n_columns >= len(most_D):
            ax.set_xlabel("frequency (Hz)")
        styled(ax)
    if first:
        first.legend()
    _differences(fig.add_subplot(grid[:, -1]), hertz_F, decibels_DF)
    return finished(fig)


def _differences(ax: Axes, hertz_F: Floats, decibels_DF: Floats) -> None:
    """Each latent's difference, and the mean over latents."""
    ax.axhline(0, color=REAL, linewidth=1.2, label="real")
    for d, decibels_F in enumerate(decibels_DF):
        label = "single latents" if d == 0 else None
        ax.plot(hertz_F, decibels_F, color=SAMPLED, alpha=0.3, linewidth=0.8, label=label)
    ax.plot(hertz_F, decibels_DF.mean(0), color=SAMPLED, linewidth=2.2, label="mean over latents")
    low, high = (float(f(decibels_DF, initial=start)) for f, start in ((np.min, -1), (np.max, 1)))
    ax.set(
        xlabel="frequency (Hz)",
        ylabel="power, sampled over real (dB)",
        ylim=(1.2 * low, 1.2 * high),
    )
    _logarithmic(ax, hertz_F)
    ax.set_title(f"All {len(decibels_DF)} latents{_rms(decibels_DF)}")
    styled(ax)
    ax.legend()


def _rms(decibels: Floats) -> str:
    """The size of a difference, in words."""
    return f": {rms(decibels):.2g} dB off (RMS)"


def _logarithmic(ax: Axes, hertz_F: Floats) -> None:
    """The axis of frequencies, with plain numbers."""
    ax.set(xscale="log", xlim=(hertz_F.min() / 1.15, hertz_F.max() * 1.15))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
