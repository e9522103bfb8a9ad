"""Simulated recordings whose statistics are known, and what can go wrong with samples of them."""

import numpy as np

BIN = 0.005
BLOCK = 20
"""Bins over which the drive that all units share is constant: 100 ms, the window of the Fano factors."""
REFRACTORY = 6


def refractory_population(n_trials=400, n_units=16, n_blocks=4, seed=0, gain=1.0):
    """Units of different rates, silent for `REFRACTORY` bins after a spike, (S, T, N). Every other follows a drive."""
    rng = np.random.default_rng(seed)
    drive = rng.gamma(0.4, 2.5, (n_trials, n_blocks, 1)).repeat(BLOCK, axis=1)
    follows_N = np.arange(n_units) % 2
    rates = np.linspace(0.05, 0.2, n_units) * (follows_N * drive + (1 - follows_N))
    chance = 1 - np.exp(-gain * rates)
    spikes = (rng.random(chance.shape) < chance).astype(np.uint8)
    for t in range(1, spikes.shape[1]):
        recent = spikes[:, max(0, t - REFRACTORY) : t].any(1)
        spikes[:, t] *= ~recent
    return spikes


def units_shuffled(spikes, rng):
    """The same population, its units in another order."""
    return spikes[:, :, rng.permutation(spikes.shape[2])]


def refractoriness_removed(spikes, rng):
    """Each unit's spikes at random bins of the block they lie in: counts of blocks stay as they are."""
    blocks = spikes.reshape(len(spikes), -1, BLOCK, spikes.shape[2])
    return rng.permuted(blocks, axis=2).reshape(spikes.shape)


def correlations_destroyed(spikes, rng):
    """Each unit's trials in another order."""
    order = np.argsort(rng.random(spikes.shape[::2]), axis=0)
    return np.take_along_axis(spikes, order[:, None], axis=0)
