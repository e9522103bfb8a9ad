"""Statistics of single units, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ldns_ray.evaluation.metrics import isi_statistics
from ldns_ray.evaluation.statistics import Spikes, summarise
from ldns_ray.evaluation.variability import trial_variability


def unit_statistics(spikes: Spikes, bin_width_s: float) -> dict[str, np.ndarray]:
    """Statistics of each unit, (N,) each, by name.

    `spikes`; `mean_rate_hz`, and `sd_rate_hz` of a trial's rate over trials; `fano` of the counts in windows of
    `variability.WINDOW_S`, NaN for units without a spike in any; `mean_isi_s` and `sd_isi_s`, NaN for units without an
    inter-spike interval.
    """
    trials = summarise(spikes)
    of_trials = trial_variability(trials, bin_width_s)
    v = of_trials.pool()[0]
    mean_isi_N, sd_isi_N = isi_statistics(trials, bin_width_s)
    return {
        "spikes": trials.spikes_SN.sum(0).astype(np.int64),
        "mean_rate_hz": v.mean_rate_N / bin_width_s,
        "sd_rate_hz": v.sd_rate_N / bin_width_s,
        "fano": np.where(of_trials.window_sum_SN.any(0), v.fano_N, np.nan),
        "mean_isi_s": mean_isi_N,
        "sd_isi_s": sd_isi_N,
    }


def unit_table(
    statistics: Mapping[str, Mapping[str, np.ndarray]], unit_names: Sequence[str]
) -> dict[str, list[object]]:
    """Columns of a table with a row per set of trials and unit; NaN becomes None.

    statistics: `unit_statistics` by the name of the set, such as "real".
    """
    columns: dict[str, list[object]] = {"trials": [], "unit": []}
    for name, of_units in statistics.items():
        columns["trials"] += [name] * len(unit_names)
        columns["unit"] += list(unit_names)
        for column, values_N in of_units.items():
            plain = [None if np.isnan(x) else x for x in values_N.tolist()]
            columns.setdefault(column, []).extend(plain)
    return columns
