"""Where samples go that were asked for the velocity of something that moves in a plane, such as a hand.

Legend: T bins, K channels.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ldns_ray.evaluation.decoding.decoders import TraceDecoding, Traces, median_angle_error
from ldns_ray.evaluation.plots.style import finished, new_figure
from ldns_ray.evaluation.statistics import Floats

MAX_PATHS = 300
"""Trials that are drawn."""
DIRECTIONS = LinearSegmentedColormap.from_list(
    "directions", ["#0072B2", "#6CC5A1", "#E08214", "#4A1259", "#0072B2"]
)
"""Violet up, orange to the left, green down. A circle in lightness and from blue to yellow, which colour-blind readers
see too."""


def is_planar_velocity(decoding: TraceDecoding, name: str, unit: str) -> bool:
    """Whether a covariate looks like a velocity in a plane: two channels, per second or called so."""
    return decoding.asked[0].shape[1] == 2 and (unit.endswith("/s") or "vel" in name.lower())


def reaches(decoding: TraceDecoding, name: str, bin_width_s: float, unit: str = "") -> Figure:
    """Paths integrated from the velocities that samples were asked for, and from those decoded from them.

    Every path starts at 0, ends in a dot, and has the colour of the direction in which the one asked for
    ends; the axes are equal.

    Args:
        decoding: of two channels, taken as to the right and up.
        unit: of the velocity.
    """
    length = unit.removesuffix("/s") if unit.endswith("/s") else f"{unit} s".strip()
    sides = [paths(x[:MAX_PATHS], bin_width_s) for x in (decoding.asked, decoding.decoded)]
    ends = [np.stack([path[-1] for path in side]) for side in sides]
    asked_S, reached_S = (_directions(ends_S2) for ends_S2 in ends)
    everything = np.concatenate([path for side in sides for path in side])
    reach = 1.05 * float(np.abs(everything).max()) or 1.0
    fig, (axes,) = new_figure(1, 2, (9.6, 5.1))
    colours = DIRECTIONS(asked_S / 360 % 1)
    alpha = float(np.clip(30 / len(asked_S), 0.35, 0.9))
    for ax, side, ends_S2 in zip(axes, sides, ends, strict=True):
        ax.add_collection(LineCollection(side, colors=colours, linewidths=1.0, alpha=alpha))
        ax.scatter(*ends_S2.T, s=12, c=colours, linewidths=0, zorder=3)
        ax.plot(0, 0, "+", color="0.3", markersize=9, zorder=4)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ax.set(xlabel=f"position 1 ({length})", ylabel=f"position 2 ({length})")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5, symmetric=True))
    extent, miss = (float(np.median(np.hypot(*x.T))) for x in (ends[0], ends[1] - ends[0]))
    axes[0].set_title(
        f"{name} asked for: {len(asked_S)} paths,\nmedian length {extent:.3g} {length}"
    )
    axes[1].set_title(
        f"Decoded from the samples: ends {miss:.3g} {length} off,\n"
        f"directions {median_angle_error(asked_S, reached_S):.0f}° (medians)"
    )
    _wheel(axes[0])
    return finished(fig)


def paths(velocities: Traces, bin_width_s: float) -> list[Floats]:
    """(T_i + 1, 2) positions from (T_i, 2) velocities, starting at 0."""
    start = np.zeros((1, 2))
    return [
        np.concatenate([start, np.cumsum(np.asarray(v, np.float64), axis=0) * bin_width_s])
        for v in velocities
    ]


def _directions(ends_S2: Floats) -> Floats:
    """(S,) in degrees."""
    return np.degrees(np.arctan2(ends_S2[:, 1], ends_S2[:, 0]))


def _wheel(ax: Axes) -> None:
    """The key of the colours, in a corner."""
    n = 48
    inset = ax.inset_axes((0.02, 0.02, 0.15, 0.15))
    inset.set_in_layout(False)
    inset.pie(
        np.ones(n),
        colors=[DIRECTIONS((i + 0.5) / n) for i in range(n)],
        wedgeprops={"width": 0.45, "linewidth": 0},
    )
