"""What simulators share: keyed random streams, Poisson counts, the check of their settings."""

from __future__ import annotations

import numpy as np

# Keys that keep the random streams of one seed apart.
SYSTEM, TRIAL, BLOCK = 0, 1, 2


def keyed_generator(seed: int, *key: int) -> np.random.Generator:
    """A stream of its own for each (seed, key)."""
    return np.random.default_rng(np.random.SeedSequence([seed, *key]))


def poisson(generator: np.random.Generator, rates_TN: np.ndarray) -> np.ndarray:
    """(T, N) counts of these expectations, uint8, or uint16 where one exceeds 255."""
    counts = generator.poisson(rates_TN)
    return counts.astype(np.uint8 if counts.max() <= 255 else np.uint16)


def check_positive(**settings: float) -> None:
    """Raises ValueError for the first setting that is not above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}.")
