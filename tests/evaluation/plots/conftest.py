"""Recordings to draw."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def pair():
    """Real and sampled counts of six units: 30 and 25 trials."""
    rng = np.random.default_rng(0)
    rates = np.linspace(0.2, 0.6, 6)
    return rng.poisson(rates, (30, 40, 6)), rng.poisson(rates, (25, 40, 6))
