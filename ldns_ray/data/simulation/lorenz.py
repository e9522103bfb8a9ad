"""Spikes driven by Lorenz systems.

Shapes: B trials, T bins, N units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ldns_ray.data.schema import Trial
from ldns_ray.data.simulation.draws import SYSTEM, TRIAL, check_positive, keyed_generator, poisson
from ldns_ray.data.splits import assign_splits

# The period of the standard Lorenz system's dominant frequency, and a point on its attractor.
LORENZ_PERIOD = 1.5008
LORENZ_START = (-9.7869288, -15.03852, 20.533978)
LORENZ_CHUNK = 256


def _softplus(x: np.ndarray, beta: float) -> np.ndarray:
    return np.logaddexp(0.0, beta * x) / beta


def lorenz_trajectories(
    start_B3: np.ndarray,
    n_steps: int,
    *,
    step: float,
    substeps: int = 4,
    sigma: float = 10.0,
    rho: float = 28.0,
    beta: float = 8 / 3,
) -> np.ndarray:
    """(B, n_steps, 3) samples of the Lorenz system, `step` apart, beginning at `start_B3`.

    Classical fourth-order Runge-Kutta with `substeps` steps between samples.
    """

    def velocity(x: np.ndarray) -> np.ndarray:
        a, b, c = x[:, 0], x[:, 1], x[:, 2]
        return np.stack([sigma * (b - a), a * (rho - c) - b, a * b - beta * c], axis=1)

    h = step / substeps
    x = np.asarray(start_B3, dtype=np.float64)
    path = np.empty((len(x), n_steps, 3))
    for i in range(n_steps):
        path[:, i] = x
        for _ in range(substeps):
            k1 = velocity(x)
            k2 = velocity(x + h / 2 * k1)
            k3 = velocity(x + h / 2 * k2)
            k4 = velocity(x + h * k3)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return path


def lorenz(
    n_trials: int = 5000,
    n_bins: int = 256,
    n_units: int = 128,
    *,
    seed: int = 42,
    mean_rate: float = 0.3,
    samples_per_period: float = 100.0,
    burn_in: int = 100,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    first_trial: int = 0,
) -> Iterator[Trial]:
    """Spikes of units that read out a Lorenz system (Kapoor, Schulz et al. 2024, section 4.1).

    latents: the three coordinates, each z-scored over the trial's own bins. rates: softplus with
    beta 2 of `C x + log(mean_rate)`, rows of C of unit length. Spikes are Poisson.
    first_trial: number of the first one; a trial's random numbers are those of its number.
    """
    check_positive(n_trials=n_trials, n_bins=n_bins, n_units=n_units, mean_rate=mean_rate)
    loading_N3 = keyed_generator(seed, SYSTEM).standard_normal((n_units, 3))
    loading_N3 /= np.linalg.norm(loading_N3, axis=1, keepdims=True)
    splits = assign_splits(n_trials, fractions, seed)
    step = LORENZ_PERIOD / samples_per_period
    for first in range(0, n_trials, LORENZ_CHUNK):
        trials = range(first, min(first + LORENZ_CHUNK, n_trials))
        generators = [keyed_generator(seed, TRIAL, first_trial + i) for i in trials]
        start_B3 = np.stack([LORENZ_START + 2.0 * g.standard_normal(3) for g in generators])
        path_BT3 = lorenz_trajectories(start_B3, burn_in + n_bins, step=step)[:, burn_in:]
        path_BT3 = path_BT3 - path_BT3.mean(axis=1, keepdims=True)
        # One bin has no spread: its z-score is 0.
        path_BT3 /= np.maximum(path_BT3.std(axis=1, keepdims=True), 1e-12)
        for i, generator, x_T3 in zip(trials, generators, path_BT3, strict=True):
            rates_TN = _softplus(x_T3 @ loading_N3.T + math.log(mean_rate), beta=2.0)
            yield Trial(
                spikes=poisson(generator, rates_TN),
                trial_id=f"lorenz{first_trial + i:06d}",
                session="lorenz",
                split=splits[i],
                rates=rates_TN.astype(np.float32),
                latents=x_T3.astype(np.float32),
            )
