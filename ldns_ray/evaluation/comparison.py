"""How real sampled spikes are: every candidate beside the noise floor and the PSTH baseline.

Spikes are arrays (S, T, N) or lists of (T_i, N).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldns_ray.data.batches import TrialSet
from ldns_ray.evaluation.baselines import psth, sample_psth
from ldns_ray.evaluation.metrics import compare
from ldns_ray.evaluation.score import METRICS, realism

MAX_CLASSES = 32
"""Conditions with at most so many distinct values are classes of the PSTH."""
SHORT_NAMES = {
    "kl_psc": "KL population count", "rmse_corr": "RMSE correlations",
    "rmse_mean_isi": "RMSE mean ISI (s)", "rmse_std_isi": "RMSE sd ISI (s)",
}  # fmt: skip

Spikes = Sequence[np.ndarray] | np.ndarray


@dataclass(frozen=True)
class Row:
    """One candidate against the reference."""

    name: str
    score: float
    """Realism: 1 is as close as the data is to itself, larger is worse."""
    distances: dict[str, float]
    """The paper's four metrics, at the size of half the reference; median over random halves."""
    floors: dict[str, float]
    """The same between the two halves of the reference."""
    ratios: dict[str, float]
    """Distance over floor, median over the halves."""
    whole: dict[str, float]
    """All metrics between the whole reference and as many sampled trials."""


def compare_candidates(
    reference: Spikes,
    candidates: Mapping[str, Spikes],
    bin_width_s: float,
    *,
    seed: int = 0,
    n_splits: int = 20,
) -> list[Row]:
    """One row per candidate, in order."""
    rows = []
    for name, spikes in candidates.items():
        result = realism(reference, spikes, bin_width_s, seed=seed, n_splits=n_splits)
        whole = compare(reference, spikes[: len(reference)], bin_width_s)
        rows.append(Row(name, result.score, result.distances, result.floors, result.ratios, whole))
    return rows


def class_labels(conditions: Mapping[str, np.ndarray], condition: str = "") -> np.ndarray | None:
    """A class number per trial: the distinct values of `condition`, or of every condition that has few.

    None if there is no such condition. Raises ValueError for an unknown name.
    """
    if condition and condition not in conditions:
        known = ", ".join(conditions) or "none"
        raise ValueError(
            f"The dataset has no condition {condition!r}; it has: {known}. Set evaluation.label."
        )
    columns = []
    for name in [condition] if condition else sorted(conditions):
        values = np.round(conditions[name], 4)
        if condition or len(np.unique(values, axis=0)) <= MAX_CLASSES:
            columns.append(values)
    if not columns:
        return None
    _, labels = np.unique(np.concatenate(columns, axis=1), axis=0, return_inverse=True)
    return np.asarray(labels.ravel())


Labels = tuple[np.ndarray | None, np.ndarray | None]


def split_labels(train: TrialSet, other: TrialSet, condition: str = "") -> Labels:
    """`class_labels` of two splits, numbered alike; None for both if a class is missing from `train`."""
    both = {k: np.concatenate((v, other.conditions[k])) for k, v in train.conditions.items()}
    labels = class_labels(both, condition)
    if labels is None or not set(labels[len(train) :]) <= set(labels[: len(train)]):
        return None, None
    return labels[: len(train)], labels[len(train) :]


def sample_baseline(
    train: TrialSet, labels: np.ndarray | None, n: int, *, seed: int
) -> list[np.ndarray]:
    """Spikes of `n` trials of the PSTH + Poisson baseline made from the training trials."""
    model = psth(train.spikes_list(), labels, bin_width_s=train.bin_width_s)
    return list(sample_psth(model, n, seed=seed)[0])


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as a table for a terminal, each distance with its floor."""
    header = ["", "score", *(SHORT_NAMES[m] for m in METRICS), "silent units"]
    table = [header]
    for row in rows:
        cells = [f"{row.distances[m]:.4f} (floor {row.floors[m]:.4f})" for m in METRICS]
        table.append([row.name, f"{row.score:.2f}", *cells, f"{row.whole['n_silent']:.0f}"])
    return format_table(table)


def format_table(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first row a header, as aligned text."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in table]  # fmt: skip
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def metric_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One line per candidate and metric: distance, floor, ratio."""
    return [
        {"candidate": row.name, "score": row.score, "metric": title, "distance": row.distances[name],
         "floor": row.floors[name], "ratio": row.ratios[name]}
        for row in rows for name, title in SHORT_NAMES.items()
    ]  # fmt: skip
