"""Pictures of results that evaluations have not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from ldns_ray.evaluation.plots.style import OTHER, REAL, SAMPLED, finished, new_figure

Trials = Sequence[NDArray[Any]]


def rates_by_length(real: Trials, sampled: Trials, unseen: Trials, bin_width_s: float) -> Figure:
    """The mean rate of each trial against its length: real, sampled, and sampled with lengths that no trial had.

    Spikes (T_i, N) each.
    """
    fig, ((ax,),) = new_figure(1, 1, (7.2, 4.2))
    for trials, colour, name in (
        (real, REAL, "real"), (sampled, SAMPLED, "sampled"), (unseen, OTHER, "sampled, length never seen"),
    ):  # fmt: skip
        lengths = [len(x) * bin_width_s for x in trials]
        rates = [float(x.mean()) / bin_width_s for x in trials]
        ax.scatter(lengths, rates, s=10, color=colour, alpha=0.5, linewidths=0, label=name)
    ax.set(xlabel="length of the trial (s)", ylabel="mean rate of a unit (Hz)", ylim=(0, None))
    ax.set_title("Rates of trials by their length")
    ax.legend(loc="best")
    return finished(fig)
