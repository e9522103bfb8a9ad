"""How well the statistics of single units and pairs agree, as Pearson's r (Kapoor, Schulz et al. 2024, figure 2).

An r says nothing without its ceiling, the r of as many real trials.

Legend: S trials, N units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldns_ray.evaluation.metrics import count_densities, isi_statistics
from ldns_ray.evaluation.statistics import Floats, TrialStatistics, summarise

PUBLISHED = {
    "mean_isi": 0.9969,
    "sd_isi": 0.9905,
    "correlations_paper": 0.9988,
    "count_density": 0.9988,
}
"""Of the Lorenz system, real beside sampled, from the authors' notebook."""

N_DRAWS = 20
"""Random subsets, of which medians are taken."""


def pearson(x: Floats, y: Floats) -> float | None:
    """Pearson's r over the entries that are finite on both sides; None of fewer than two, or where one side is constant."""
    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both], y[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def agreement(
    real: TrialStatistics, sampled: TrialStatistics, bin_width_s: float
) -> dict[str, float | None]:
    """Pearson's r of each statistic between two sets of trials.

    `mean_isi`, `sd_isi`: of the units' inter-spike intervals; units without an interval on either side are left out.
    `correlations`: of the pairs of units, the strictly lower triangle. `correlations_paper`: as published, over the
    whole matrix with zeros on and above the diagonal, which lie on the line and raise r. `count_density`: of the two
    densities of the population spike count. None where there is nothing to correlate.
    """
    (mean_a_N, sd_a_N), (mean_b_N, sd_b_N) = (
        isi_statistics(x, bin_width_s) for x in (real, sampled)
    )
    a, b = real.pool()[0], sampled.pool()[0]
    lower_a_NN, lower_b_NN = (np.tril(x.correlation(), -1) for x in (a, b))
    pairs = np.tri(a.n_units, k=-1, dtype=bool)
    return {
        "mean_isi": pearson(mean_a_N, mean_b_N),
        "sd_isi": pearson(sd_a_N, sd_b_N),
        "correlations": pearson(lower_a_NN[pairs], lower_b_NN[pairs]),
        "correlations_paper": pearson(lower_a_NN.ravel(), lower_b_NN.ravel()),
        "count_density": pearson(*count_densities(a, b)),
    }


def beside_ceiling(
    real: Sequence[NDArray[np.generic]],
    other_real: Sequence[NDArray[np.generic]],
    sampled: Sequence[NDArray[np.generic]],
    bin_width_s: float,
    *,
    seed: int,
    n_draws: int = N_DRAWS,
) -> dict[str, Any]:
    """`agreement` of samples with real trials, and of other real trials with the same, at one size.

    Args:
        real, other_real: disjoint sets of real trials, (T_i, N) each.
        sampled: (T_i, N) each.
        n_draws: random subsets of each set, as large as the smallest of the three.

    Returns:
        `sampled` and `ceiling`, by statistic the median over the subsets, None where none has a value, and `n_trials`,
        the size of all sets.
    """
    n = min(len(real), len(other_real), len(sampled))
    draws: dict[str, list[dict[str, float | None]]] = {"sampled": [], "ceiling": []}
    for i in range(n_draws):
        rng = np.random.default_rng([seed, i])
        first, *others = (_some(x, n, rng) for x in (real, sampled, other_real))
        for found, other in zip(draws.values(), others, strict=True):
            found.append(agreement(first, other, bin_width_s))
    return {
        **{name: {key: _median([x[key] for x in found]) for key in found[0]} for name, found in draws.items()},
        "n_trials": n,
    }  # fmt: skip


def _median(values: Sequence[float | None]) -> float | None:
    there = [x for x in values if x is not None]
    return float(np.median(there)) if there else None


def _some(
    trials: Sequence[NDArray[np.generic]], n: int, rng: np.random.Generator
) -> TrialStatistics:
    return summarise([trials[i] for i in np.sort(rng.permutation(len(trials))[:n])])
