"""Whether samples of every length are like real trials of that length.

Legend: S trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldns_ray.evaluation.metrics import kl_psc, rmse_corr, rmse_mean_isi
from ldns_ray.evaluation.statistics import Spikes

Trials = Sequence[NDArray[Any]]


def terciles(n_bins_S: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Shortest and longest length of the shorter, middle and longer third of trials, in bins, both included.

    The thirds do not overlap: a length that many trials have is in the lower one. A third may be empty, and is then
    left out.
    """
    low, high = (int(x) for x in np.quantile(n_bins_S, (1 / 3, 2 / 3), method="inverted_cdf"))
    bounds = [(int(n_bins_S.min()), low), (low + 1, high), (high + 1, int(n_bins_S.max()))]
    return [(a, b) for a, b in bounds if a <= b]


def of_lengths(trials: Trials, low: int, high: int) -> list[NDArray[Any]]:
    """The trials of `low` to `high` bins."""
    return [x for x in trials if low <= len(x) <= high]


def beside(
    real: Trials, other_real: Trials, sampled: Trials, *, bin_width_s: float, seed: int
) -> dict[str, Any] | None:
    """Statistics of samples beside real trials, and distances beside their floors, at one size.

    Random subsets of `other_real` and of `sampled`, as large as the smaller of both and of `real`, are compared with
    `real`. None where one of the three has no trial.

    Returns:
        `rate_real`, `rate_sampled`: spikes per unit and second. `kl_psc`, `rmse_corr`, `rmse_mean_isi` and their
        floors, by `…_floor`. `n_trials` of each subset, `n_real` they are compared with.
    """
    if not (real and other_real and sampled):
        return None
    n = min(len(real), len(other_real), len(sampled))
    rng = np.random.default_rng(seed)
    fake, floor = ([x[i] for i in rng.permutation(len(x))[:n]] for x in (sampled, other_real))

    def distances(trials: Spikes) -> dict[str, float]:
        return {
            "kl_psc": kl_psc(real, trials),
            "rmse_corr": rmse_corr(real, trials),
            "rmse_mean_isi": rmse_mean_isi(real, trials, bin_width_s),
        }

    return {
        "rate_real": mean_rate(real, bin_width_s),
        "rate_sampled": mean_rate(sampled, bin_width_s),
        **distances(fake),
        **{f"{name}_floor": x for name, x in distances(floor).items()},
        "n_trials": n,
        "n_real": len(real),
    }


def mean_rate(trials: Trials, bin_width_s: float) -> float:
    """Spikes per unit and second."""
    n_entries = sum(x.size for x in trials)
    return float(sum(int(x.sum()) for x in trials) / (n_entries * bin_width_s))
