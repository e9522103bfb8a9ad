"""Firing of single units over trials, sampled against real.

Legend: N units.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from ldns_ray.evaluation.plots.identity import against_real, agreement, counted
from ldns_ray.evaluation.plots.style import finished, new_figure
from ldns_ray.evaluation.statistics import Floats


def rates(
    *,
    mean_real_N: Floats,
    mean_sampled_N: Floats,
    sd_real_N: Floats,
    sd_sampled_N: Floats,
    fano_real_N: Floats,
    fano_sampled_N: Floats,
) -> Figure:
    """Each unit's mean rate, how much its rate varies from trial to trial, and its Fano factor.

    Units whose value is NaN on one side, such as the Fano factor of one that never spikes, are left out
    of its panel; the title says how many are left.

    Args:
        mean_real_N, mean_sampled_N: (N,) in Hz.
        sd_real_N, sd_sampled_N: (N,) standard deviations of the trials' rates, in Hz.
        fano_real_N, fano_sampled_N: (N,) variance over mean of spike counts.
    """
    fig, (panels,) = new_figure(1, 3, (10.6, 4.0))
    for ax, title, unit, real_N, sampled_N in zip(
        panels,
        ("Mean rate", "Sd of the rate over trials", "Fano factor"),
        ("Hz", "Hz", ""),
        (mean_real_N, sd_real_N, fano_real_N),
        (mean_sampled_N, sd_sampled_N, fano_sampled_N),
        strict=True,
    ):
        against_real(ax, real_N, sampled_N, unit)
        ax.set_title(f"{title}\n{counted(real_N, sampled_N)}{agreement(real_N, sampled_N, unit)}")
    return finished(fig)
