"""Speech-like trials of variable length.

Shapes: T bins, N units, D latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ldns_ray.data.schema import Trial
from ldns_ray.data.simulation.draws import (
    BLOCK,
    SYSTEM,
    TRIAL,
    check_positive,
    keyed_generator,
    poisson,
)
from ldns_ray.data.splits import assign_splits

# Variance in time of an articulator that follows phoneme targets of unit variance (measured).
LATENT_VARIANCE = 0.62


def speech(
    n_trials: int = 9270,
    n_units: int = 128,
    *,
    seed: int = 42,
    bin_width_s: float = 0.02,
    min_bins: int = 100,
    max_bins: int = 512,
    n_latents: int = 8,
    n_phonemes: int = 39,
    n_blocks: int = 20,
    mean_rate: float = 0.5,
    gain_drift: float = 0.05,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    first_trial: int = 0,
) -> Iterator[Trial]:
    """Speech-like trials of variable length, in the shape of threshold crossings of a speech BCI.

    Each phoneme is a target for `n_latents` articulators, which follow as critically damped
    second-order systems (the task dynamics of Saltzman & Munhall 1989). A trial is silence, a
    random sequence of phonemes of 60-200 ms, and silence. Rates are exponential in the latents
    around log-normal channel means (`mean_rate` counts per bin); each unit's log gain walks from
    block to block with sd `gain_drift`, and blocks are the sessions. Spikes are Poisson.
    first_trial: number of the first one; a trial's random numbers are those of its number.
    """
    check_positive(n_trials=n_trials, n_units=n_units, min_bins=min_bins, n_latents=n_latents)
    check_positive(n_phonemes=n_phonemes, n_blocks=n_blocks, mean_rate=mean_rate)
    check_positive(bin_width_s=bin_width_s)
    if max_bins < min_bins:
        raise ValueError(f"max_bins must be at least min_bins ({min_bins}), got {max_bins}.")
    system = keyed_generator(seed, SYSTEM)
    targets_PD = system.standard_normal((n_phonemes, n_latents))
    loading_ND = system.standard_normal((n_units, n_latents)) / math.sqrt(n_latents)
    spread = 0.8
    mean_N = mean_rate * np.exp(spread * system.standard_normal(n_units) - spread**2 / 2)
    steps_GN = keyed_generator(seed, BLOCK).standard_normal((n_blocks, n_units)) * gain_drift
    log_gain_GN = np.cumsum(steps_GN, axis=0) - steps_GN[0]
    block = [i * n_blocks // n_trials for i in range(n_trials)]
    splits = assign_splits(n_trials, fractions, seed, strata=np.array(block))
    # Half the variance of the log-rate keeps the mean of its exponential near mean_N.
    offset_N = np.log(mean_N) - 0.5 * LATENT_VARIANCE * (loading_ND**2).sum(axis=1)
    for i in range(n_trials):
        generator = keyed_generator(seed, TRIAL, first_trial + i)
        n_bins = int(generator.integers(min_bins, max_bins + 1))
        target_TD = _phoneme_targets(generator, targets_PD, n_bins, bin_width_s)
        x_TD = critically_damped(target_TD, rate_hz=4.0, step=bin_width_s)
        rates_TN = np.exp(x_TD @ loading_ND.T + offset_N + log_gain_GN[block[i]])
        yield Trial(
            spikes=poisson(generator, rates_TN),
            trial_id=f"speech{first_trial + i:06d}",
            session=f"block{block[i]:03d}",
            split=splits[i],
            rates=rates_TN.astype(np.float32),
            latents=x_TD.astype(np.float32),
        )


def _phoneme_targets(
    generator: np.random.Generator, targets_PD: np.ndarray, n_bins: int, bin_width_s: float
) -> np.ndarray:
    """(T, D) targets: 0 (rest) in silence, else those of the phoneme of the moment."""
    target_TD = np.zeros((n_bins, targets_PD.shape[1]))
    before, after = (int(generator.uniform(0.1, 0.3) / bin_width_s) for _ in range(2))
    at = before
    while at < n_bins - after:
        length = max(1, round(generator.uniform(0.06, 0.2) / bin_width_s))
        end = min(at + length, n_bins - after)
        target_TD[at:end] = targets_PD[generator.integers(len(targets_PD))]
        at = end
    return target_TD


def critically_damped(target_TD: np.ndarray, *, rate_hz: float, step: float) -> np.ndarray:
    """(T, D) positions x of x'' = w² (target - x) - 2 w x', w = 2 pi rate_hz, from rest at 0.

    Exact for targets constant within a bin: with e = x - target and v = x',
    e(t) = (e + (v + w e) t) exp(-w t), v(t) = (v - w (v + w e) t) exp(-w t).
    """
    w = 2 * math.pi * rate_hz
    decay = math.exp(-w * step)
    x, v = np.zeros(target_TD.shape[1]), np.zeros(target_TD.shape[1])
    path = np.empty_like(target_TD)
    for t, target in enumerate(target_TD):
        error = x - target
        push = (v + w * error) * step
        x, v = target + (error + push) * decay, (v - w * push) * decay
        path[t] = x
    return path
