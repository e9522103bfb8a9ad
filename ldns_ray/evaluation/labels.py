"""Classes of trials: the distinct values of their conditions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ldns_ray.data.batches import TrialSet

MAX_CLASSES = 32
"""Conditions with at most so many distinct values are classes of the PSTH."""

SplitLabels = tuple[np.ndarray | None, np.ndarray | None]
"""Of two splits."""


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


def split_labels(train: TrialSet, other: TrialSet, condition: str = "") -> SplitLabels:
    """`class_labels` of two splits, numbered alike; None for both if a class is missing from `train`."""
    both = {k: np.concatenate((v, other.conditions[k])) for k, v in train.conditions.items()}
    labels = class_labels(both, condition)
    if labels is None or not set(labels[len(train) :]) <= set(labels[: len(train)]):
        return None, None
    return labels[: len(train)], labels[len(train) :]
