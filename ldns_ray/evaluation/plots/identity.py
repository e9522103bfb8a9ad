"""Sampled against real, value by value: points about the line on which both are equal.

Legend: N values, of units or of pairs of units.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ldns_ray.evaluation.plots.style import MARKS, cut, marked
from ldns_ray.evaluation.statistics import Floats, rms


def against_real(
    ax: Axes,
    real_N: Floats,
    sampled_N: Floats,
    unit: str = "",
    *,
    size: float = 14,
    others: Mapping[str, Floats] | None = None,
) -> None:
    """Points with the identity line, both axes over the same range; values that are not finite are left out.

    others: further candidates by name, as small open markers, at the edge where they are out of the range of
    the two sides.
    """
    x_n, y_n = _finite(real_N, sampled_N)
    everything = np.concatenate([x_n, y_n])
    low, high = (everything.min(), everything.max()) if everything.size else (0.0, 1.0)
    margin = 0.05 * float(high - low) or 0.05
    limits = (float(low) - margin, float(high) + margin)
    ax.plot(limits, limits, color="0.6", linewidth=1.0, zorder=0)
    alpha = float(np.clip(1200 / max(len(x_n), 1), 0.15, 0.55))
    ax.scatter(x_n, y_n, s=size, marker=MARKS[0].marker, color=MARKS[0].colour, alpha=alpha,
               linewidths=0, zorder=3, rasterized=True, label="sampled")  # fmt: skip
    for name, other_N, mark in marked(others):
        x_n, y_n = (np.clip(values_n, *limits) for values_n in _finite(real_N, other_N))
        ax.scatter(x_n, y_n, s=0.8 * size, marker=mark.marker, facecolors="none", alpha=0.8, clip_on=False,
                   edgecolors=mark.colour, linewidths=0.7, rasterized=True, label=cut(name, 24))  # fmt: skip
    of = f" ({unit})" if unit else ""
    ax.set(xlim=limits, ylim=limits, xlabel=f"real{of}", ylabel=f"sampled{of}", aspect="equal")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def agreement(real_N: Floats, sampled_N: Floats, unit: str = "") -> str:
    """Correlation and root mean squared difference of the values that are finite on both sides, in words."""
    x_n, y_n = _finite(real_N, sampled_N)
    if not x_n.size:
        return "nothing to compare"
    rmse = f"RMSE = {rms(x_n - y_n):.3g}" + (f" {unit}" if unit else "")
    if x_n.size < 2 or np.ptp(x_n) == 0 or np.ptp(y_n) == 0:
        return rmse
    return f"r = {np.corrcoef(x_n, y_n)[0, 1]:.3f}, {rmse}"


def counted(real_N: Floats, sampled_N: Floats) -> str:
    """How many units are compared, in words; only where some are left out."""
    n = len(_finite(real_N, sampled_N)[0])
    return "" if n == len(real_N) else f"{n} of {len(real_N)} units: "


def _finite(real_N: Floats, sampled_N: Floats) -> tuple[Floats, Floats]:
    both_N = np.isfinite(real_N) & np.isfinite(sampled_N)
    return np.asarray(real_N)[both_N], np.asarray(sampled_N)[both_N]
