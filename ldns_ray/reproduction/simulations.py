"""Real trials of any length, where the recording is a simulation."""

from __future__ import annotations

import numpy as np

from ldns_ray.config import Dataset
from ldns_ray.data.card import Card
from ldns_ray.data.simulation.simulators import SIMULATORS
from ldns_ray.settings import to_dict

LENGTHS = {"lorenz": ("n_bins",), "speech": ("min_bins", "max_bins")}
"""What a simulator calls the length of its trials; reaches have one of their own."""


def real_of_length(dataset: Dataset, card: Card, n_bins: int, n: int) -> list[np.ndarray]:
    """Spikes (n_bins, N) of `n` trials of the system that a dataset was simulated with; none if it was not.

    The system is that of the seed, its units, loadings and drift; trials are drawn as those of the dataset are, with
    another length, and random numbers that no trial of the dataset had.
    """
    if card.provenance.get("simulator") != to_dict(dataset):
        return []
    lengths = LENGTHS.get(dataset.simulator)
    if lengths is None:
        return []
    draw = SIMULATORS[dataset.simulator].draw
    trials = draw(
        n, n_units=dataset.n_units, seed=dataset.seed, first_trial=dataset.n_trials, **dict.fromkeys(lengths, n_bins)
    )  # fmt: skip
    return [trial.spikes for trial in trials]
