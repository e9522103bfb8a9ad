"""A figure of what a dataset holds.

Legend: S trials, T bins, N units, d channels of a covariate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ldns_ray.data.description import Description
from ldns_ray.data.schema import Trial
from ldns_ray.evaluation.plots.style import CYCLE, OTHER, REAL, blank_figure, cut, finished, styled

MAX_COVARIATES, MAX_CHANNELS = 2, 3
"""Covariates below the raster, and channels of each."""
MAX_LINES = 100
"""Units that have a line of the raster to themselves; ticks of more overlap, lest they be too small to see."""
MAX_BARS = 80
"""Bars of the population spike count."""
MAX_NAMED = 12
"""So many sessions are named in the picture."""
SMOOTHED = 50
"""Trials over which rates are averaged, at most; a tenth of them where there are fewer."""


def dataset(
    description: Description, *, name: str = "", units: Mapping[str, str] | None = None
) -> Figure:
    """Raster and covariates of one trial, unit rates, population counts, and rates over trials.

    units: physical units of the covariates, by name.
    """
    d = description
    shown = sorted(d.example.covariates)[:MAX_COVARIATES]
    fig = blank_figure((12.0, 7.6 + 0.5 * len(shown)))
    columns = fig.add_gridspec(2, 2, width_ratios=(1.9, 1), height_ratios=(3, 1))
    trial = columns[0, 0].subgridspec(1 + len(shown), 1, height_ratios=[4] + [1.3] * len(shown))
    raster_ax = fig.add_subplot(trial[0])
    below = [fig.add_subplot(trial[1 + i], sharex=raster_ax) for i in range(len(shown))]
    side = columns[0, 1].subgridspec(2, 1)

    raster(raster_ax, d.example, d.bin_width_s, np.argsort(d.rates_N, kind="stable"))
    for ax, covariate in zip(below, shown, strict=True):
        traces(ax, d.example.covariates[covariate], d.bin_width_s, covariate, (units or {}).get(covariate, ""))  # fmt: skip
    for ax in [raster_ax, *below][:-1]:
        ax.tick_params(labelbottom=False)
    [raster_ax, *below][-1].set_xlabel("time in trial (s)")
    unit_rates(fig.add_subplot(side[0]), d.rates_N)
    population_counts(fig.add_subplot(side[1]), d.population_K)
    rates_over_trials(fig.add_subplot(columns[1, :]), d)
    bins = f"{1000 * d.bin_width_s:g} ms"
    fig.suptitle(f"{cut(name, 70)}: {d.n_trials} trials, {len(d.rates_N)} units, bins of {bins}", fontsize=11)  # fmt: skip
    return finished(fig)


def raster(ax: Axes, trial: Trial, bin_width_s: float, order_N: np.ndarray) -> None:
    """A tick for every spike, a line for every unit; the k spikes of a bin sit evenly inside it."""
    counts_TN = trial.spikes[:, order_N]
    bins, units = np.nonzero(counts_TN)
    k = counts_TN[bins, units].astype(np.int64)
    first = np.cumsum(k) - k
    place = np.arange(k.sum()) - np.repeat(first, k)
    time = (np.repeat(bins, k) + (place + 1) / (np.repeat(k, k) + 1)) * bin_width_s
    line = np.repeat(units, k)
    half = 0.45 * max(1.0, len(order_N) / MAX_LINES)
    ax.vlines(time, line - half, line + half, color=REAL, linewidth=0.9)
    ax.set(xlim=(0, len(counts_TN) * bin_width_s), ylim=(-1, len(order_N)))
    ax.set(title=f"trial {cut(trial.trial_id, 50)}, {trial.split}", ylabel="unit (by rate)")
    styled(ax)


def traces(ax: Axes, values_Td: np.ndarray, bin_width_s: float, name: str, unit: str) -> None:
    """The first channels of a covariate over the time of a trial."""
    time = (np.arange(len(values_Td)) + 0.5) * bin_width_s
    n_channels = values_Td.shape[1]
    for channel, colour in zip(range(min(n_channels, MAX_CHANNELS)), CYCLE, strict=False):
        ax.plot(time, values_Td[:, channel], color=colour, linewidth=1.4, label=f"{channel + 1}")
    # Beside the legend above the axes, where no line can be, and where long names have room.
    ax.annotate(cut(f"{name} ({unit})" if unit else name, 70), (0, 1), (0, 4), "axes fraction",
                textcoords="offset points", fontsize=9)  # fmt: skip
    ax.yaxis.set_major_locator(MaxNLocator(3))
    if n_channels > 1:
        ax.legend(
            loc="lower right",
            bbox_to_anchor=(1, 0.96),
            ncols=MAX_CHANNELS,
            handlelength=1.2,
            borderpad=0,
        )
    styled(ax)


def unit_rates(ax: Axes, rates_N: np.ndarray) -> None:
    """How many units have which mean rate."""
    ax.hist(rates_N, bins=min(40, max(10, len(rates_N) // 4)), color=OTHER)
    silent = int((rates_N == 0).sum())
    ax.set_title(f"Unit rates: median {np.median(rates_N):.3g} Hz, {silent or 'none'} silent")
    ax.set(xlabel="mean rate (Hz)", ylabel="units", xlim=(0, None))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    styled(ax)


def population_counts(ax: Axes, population_K: np.ndarray) -> None:
    """How often all units together fire so many spikes in a bin; neighbouring counts together where there are many."""
    width = -(-len(population_K) // MAX_BARS)
    edges = np.arange(0, len(population_K) + width, width)
    bins = np.add.reduceat(population_K, edges[:-1])
    share = bins / bins.sum()
    smallest = share[share > 0].min() / 3
    ax.stairs(share, edges - 0.5, color=OTHER, fill=True, baseline=smallest)
    ax.set_yscale("log")
    together = f", {width} counts a bar" if width > 1 else ""
    ax.set_title(f"Population spike count{together}")
    ax.set(xlabel="spikes per bin, all units together", ylabel="share of bins")
    ax.set(xlim=(-0.5, edges[-1] - 0.5), ylim=(smallest, None))
    styled(ax)


def rates_over_trials(ax: Axes, description: Description) -> None:
    """Each trial's mean rate and its moving average, session after session: drift shows as a slope or a step."""
    d = description
    width = max(1, min(SMOOTHED, d.n_trials // 10))
    size = float(np.clip(4000 / d.n_trials, 4, 14))
    start = 0
    for i, (name, session) in enumerate(d.sessions.items()):
        rate_S = np.array([session.rate_by_trial[t] for t in sorted(session.rate_by_trial)])
        rate_S /= d.bin_width_s
        trial_S = start + np.arange(len(rate_S))
        colour = CYCLE[i % 2]
        ax.scatter(trial_S, rate_S, s=size, color=colour, alpha=0.35, linewidths=0, rasterized=True)
        ax.plot(trial_S, moving_mean(rate_S, width), color=REAL, linewidth=1.4)
        if 1 < len(d.sessions) <= MAX_NAMED:
            ax.text(trial_S.mean(), 1.0, cut(name, 200 // len(d.sessions)), ha="center", va="bottom",
                    fontsize=8, transform=ax.get_xaxis_transform())  # fmt: skip
        start += len(rate_S)
    ax.set(xlim=(-0.5, start - 0.5), ylim=(0, None), ylabel="Hz per unit")
    sessions = f", {len(d.sessions)} sessions in turn" if len(d.sessions) > 1 else ""
    ax.set_xlabel(f"trial, by name{sessions}; line: mean of {width}")
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    styled(ax)


def moving_mean(values_S: np.ndarray, width: int) -> np.ndarray:
    """(S,) mean of the up to `width` values around each; fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values_S)])
    at = np.arange(len(values_S))
    low = np.maximum(at - width // 2, 0)
    high = np.minimum(at - width // 2 + width, len(values_S))
    return (sums[high] - sums[low]) / (high - low)
