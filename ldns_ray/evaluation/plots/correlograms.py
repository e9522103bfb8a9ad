"""When units fire again, and when two units fire after one another: real beside sampled.

Legend: G groups of units, L lags from -(L-1)/2 to (L-1)/2 bins.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ldns_ray.evaluation.plots.style import (
    MARKS,
    REAL,
    cut,
    finished,
    marked,
    new_figure,
    shared_legend,
)
from ldns_ray.evaluation.statistics import Floats, rms

Pair = tuple[Floats, Floats]
"""auto_GL and cross_GL, in spikes² per bin²."""

KINDS = ("autocorrelogram", "cross-correlogram")
SCALE = 1e3
"""Correlograms are drawn in thousandths."""


def correlograms(
    *, real: Pair, sampled: Pair, bin_width_s: float, others: Mapping[str, Pair] | None = None
) -> Figure:
    """Autocorrelograms in the upper row, cross-correlograms in the lower, a column for each group of units.

    Groups go from the units most correlated with the others to the least. Autocorrelograms have a gap at
    lag 0, where the variance of the counts would hide all else.

    Args:
        real, sampled: auto_GL and cross_GL.
        bin_width_s: seconds per lag.
        others: further candidates by name, as thin lines.
    """
    n_groups, n_lags = real[0].shape
    lags = np.arange(n_lags) - n_lags // 2
    drawn = [("sampled", sampled, MARKS[0]), *marked(others)]
    fig, axes = new_figure(2, n_groups, (2.65 * max(n_groups, 2), 5.6), sharex=True)
    for row, kind in enumerate(KINDS):
        for group, ax in enumerate(axes[row]):
            ax.axhline(0, color="0.85", linewidth=0.8, zorder=0)
            for name, pair, mark in [("real", real, None), *drawn]:
                values_L = SCALE * np.array(pair[row][group], np.float64)
                if row == 0:
                    values_L[lags == 0] = np.nan
                ax.plot(
                    1e3 * bin_width_s * lags,
                    values_L,
                    color=mark.colour if mark else REAL,
                    linestyle=mark.dashes if mark else "-",
                    linewidth=2.0 if mark is None else 1.5 if mark is MARKS[0] else 1.0,
                    # A line of one lag is a point.
                    marker="." if n_lags < 4 else "",
                    label=cut(name, 24),
                )
            error_L = (real[row][group] - sampled[row][group])[(lags != 0) | (row == 1)]
            rmse = f"{SCALE * rms(error_L):.2g}" if error_L.size else "–"
            ax.set_title(f"{_group(group, n_groups) if row == 0 else ''}RMSE {rmse}")
            ax.yaxis.set_major_locator(MaxNLocator(4))
            if row == 1:
                ax.set_xlabel("lag (ms)")
        axes[row][0].set_ylabel(f"{kind}\n(10⁻³ spikes² / bin²)")
    shared_legend(fig, axes[0][0])
    return finished(fig)


def _group(group: int, n_groups: int) -> str:
    which = {0: ", most correlated", n_groups - 1: ", least"} if n_groups > 1 else {}
    return f"Group {group + 1} of units{which.get(group, '')}\n"
