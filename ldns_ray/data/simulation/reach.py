"""Simulated delayed reaches, aligned to movement onset, with known rates and latents.

A hand that moves, and a population that prepares the movement, is triggered, rotates and drives the
hand, each as the field describes it:

- Hand: the speed of the movement of least jerk (Flash & Hogan 1985), along a path that bends.
- Preparation: a state that holds what will be done, direction, extent, speed and bend, and is released
  before the movement (Churchland, Santhanam & Shenoy 2006).
- Trigger: a transient that is the same for every movement (Kaufman et al. 2016).
- Rotations: damped, starting from where the preparation was (Churchland et al. 2012).
- Drive: the velocity of the hand a moment later (Georgopoulos et al. 1982; Moran & Schwartz 1999).

Shapes: T bins, N units, D latents. Times are seconds from movement onset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

# Movement onset, in seconds after the first bin begins: the start of bin 50 of 5 ms.
ONSET_S = 0.25

# Movements: length in m, and how much it and the duration vary, as sd of their logarithms; sd of the
# direction around the target's and of the bend, in radians; sd of the tremor's velocity, and its waves.
AMPLITUDE_M, AMPLITUDE_SPREAD = 0.11, 0.12
VIGOUR_SPREAD = 0.12
ANGLE_SD, BEND_SD = math.radians(8), math.radians(20)
TREMOR_M_PER_S, TREMOR_WAVES = 0.004, 4

# The population: when the trigger comes, how fast it lets go of the preparation, how long its transient
# rises; the planes of rotation, one for direction and extent, one for vigour and bend; how far the
# drive is ahead of the hand, and the speed that counts as 1.
TRIGGER_S, TRIGGER_SD_S = -0.12, 0.015
RELEASE_S, TRANSIENT_S = 0.03, 0.1
ROTATION_HZ, ROTATION_DECAY_S = (2.0, 2.8), 0.2
LEAD_S, DRIVE_M_PER_S = 0.05, 0.5

# How strongly units read each part: mean, and sd for each latent. Most units are excited by the trigger.
WEIGHTS = {
    "preparation": (0.0, (0.5, 0.5, 0.25, 0.25)),
    "trigger": (0.5, (0.7,)),
    "rotations": (0.0, (0.7, 0.7, 0.35, 0.35)),
    "drive": (0.0, (0.6, 0.6)),
}
LOG_MEAN_SD = 0.7
REFERENCE_TRIALS = 128


@dataclass(frozen=True, eq=False)
class Movement:
    """One reach. angle: direction at peak speed, in radians. bend: turn from peak speed to the end, in radians.

    amplitude: length of the path in m. duration: s. vigour: deviation of the duration from what the
    amplitude asks for, in standard deviations, fast is positive. trigger: when it is released.
    tremor_hz, tremor_phase: (TREMOR_WAVES, 2), for each wave and axis.
    """

    angle: float
    amplitude: float
    duration: float
    vigour: float
    bend: float
    trigger: float
    tremor_hz: np.ndarray
    tremor_phase: np.ndarray


def draw_movement(generator: np.random.Generator, angle: float) -> Movement:
    """A reach in about the direction `angle`, in radians."""
    turn, extent, vigour, bend, delay = generator.standard_normal(5)
    amplitude = AMPLITUDE_M * math.exp(AMPLITUDE_SPREAD * extent)
    return Movement(
        angle=angle + ANGLE_SD * turn,
        amplitude=amplitude,
        # Longer reaches take longer, and are faster all the same.
        duration=(0.24 + amplitude) * math.exp(-VIGOUR_SPREAD * vigour),
        vigour=vigour,
        bend=BEND_SD * bend,
        trigger=TRIGGER_S + TRIGGER_SD_S * delay,
        tremor_hz=generator.uniform(2, 10, (TREMOR_WAVES, 2)),
        tremor_phase=generator.uniform(0, 2 * math.pi, (TREMOR_WAVES, 2)),
    )


def hand_velocity(time_T: np.ndarray, movement: Movement) -> np.ndarray:
    """(T, 2) m/s: speed of least jerk, 30 A/D u² (1 - u)² with u = time / D (Flash & Hogan 1985).

    The direction turns evenly through `bend` before and after peak speed; tremor goes on throughout.
    """
    m = movement
    u_T = np.clip(time_T / m.duration, 0, 1)
    speed_T = 30 * m.amplitude / m.duration * (u_T * (1 - u_T)) ** 2
    angle_T = m.angle + m.bend * (2 * u_T - 1)
    phase_TW2 = 2 * math.pi * m.tremor_hz * time_T[:, None, None] + m.tremor_phase
    tremor_T2 = np.cos(phase_TW2).sum(axis=1) * (TREMOR_M_PER_S * math.sqrt(2 / TREMOR_WAVES))
    return speed_T[:, None] * np.stack([np.cos(angle_T), np.sin(angle_T)], axis=1) + tremor_T2


def held(time_T: np.ndarray, release_s: float) -> np.ndarray:
    """(T,) share of the preparation that is still held `time_T` after its release: 1 before, then
    (1 + t/r) exp(-t/r), the fall of a critically damped system."""
    x_T = np.maximum(time_T, 0) / release_s
    return (1 + x_T) * np.exp(-x_T)


def rotation(time_T: np.ndarray, *, hz: float, decay_s: float, release_s: float) -> np.ndarray:
    """(T,) complex z of z' = (2 pi i hz - 1/decay_s) z - held', from rest: what a preparation of 1 turns into.

    Exact: with r = release_s, w = 2 pi i hz - 1/decay_s and a = 1 + r w,
    z(t) = (exp(w t) - (1 + a t/r) exp(-t/r)) / a².
    """
    t_T = np.maximum(time_T, 0)
    w = complex(-1 / decay_s, 2 * math.pi * hz)
    a = 1 + release_s * w
    x_T = t_T / release_s
    return (np.exp(w * t_T) - (1 + a * x_T) * np.exp(-x_T)) / a**2


def population_latents(time_T: np.ndarray, movement: Movement) -> np.ndarray:
    """(T, 11): preparation (4), trigger (1), rotations (2 planes of 2), drive (2), all of the order of 1."""
    m = movement
    since_T = time_T - m.trigger
    prepared_P = np.array([
        m.amplitude / AMPLITUDE_M * np.exp(1j * m.angle),
        complex(m.vigour, m.bend / BEND_SD),
    ])  # fmt: skip
    turning_TP = np.stack(
        [rotation(since_T, hz=hz, decay_s=ROTATION_DECAY_S, release_s=RELEASE_S) for hz in ROTATION_HZ],
        axis=1,
    )  # fmt: skip
    x_T = np.maximum(since_T, 0) / TRANSIENT_S
    planes = held(since_T, RELEASE_S)[:, None] * prepared_P, turning_TP * prepared_P
    preparation_T4, rotations_T4 = (
        np.stack([z_TP.real, z_TP.imag], axis=2).reshape(len(time_T), -1) for z_TP in planes
    )
    return np.concatenate(
        [
            preparation_T4,
            (x_T * np.exp(1 - x_T))[:, None],
            rotations_T4,
            hand_velocity(time_T + LEAD_S, m) / DRIVE_M_PER_S,
        ],
        axis=1,
    )


def reach(
    n_trials: int = 2295,
    n_units: int = 182,
    *,
    seed: int = 42,
    bin_width_s: float = 0.005,
    n_bins: int = 140,
    n_targets: int = 8,
    mean_rate: float = 0.04,
    fractions: Sequence[float] = (0.8, 0.05, 0.15),
) -> Iterator[Trial]:
    """Delayed reaches to targets on a circle, 250 ms before movement onset to 450 ms after it.

    In the shape of the monkey recording of Kapoor, Schulz et al. 2024.
    Angle, amplitude, speed and bend vary from trial to trial; targets come in shuffled blocks.
    latents: those of `population_latents`. rates: exp(W latents + b), `mean_rate` counts per bin on the
    mean over units, whose means are log-normal. Spikes are Poisson.
    covariates: velocity (T, 2) of the hand in m/s. conditions: angle (cos, sin) of the velocity at peak
    speed, tremor aside; target, a number from 0.
    Raises ValueError for trials that end before the movement begins.
    """
    check_positive(n_trials=n_trials, n_units=n_units, n_bins=n_bins, n_targets=n_targets)
    check_positive(bin_width_s=bin_width_s, mean_rate=mean_rate)
    time_T = (np.arange(n_bins) + 0.5) * bin_width_s - ONSET_S
    if time_T[-1] < 0:
        least = math.ceil(ONSET_S / bin_width_s + 0.5)
        raise ValueError(f"n_bins must be at least {least} of {bin_width_s:g} s, got {n_bins}.")
    weights_ND, offset_N = _readout(time_T, n_units, n_targets, mean_rate, seed)
    targets = [target for block in range(math.ceil(n_trials / n_targets))
               for target in keyed_generator(seed, BLOCK, block).permutation(n_targets).tolist()]  # fmt: skip
    targets = targets[:n_trials]
    splits = assign_splits(n_trials, fractions, seed, strata=np.array(targets))
    for i, (target, split) in enumerate(zip(targets, splits, strict=True)):
        generator = keyed_generator(seed, TRIAL, i)
        movement = draw_movement(generator, 2 * math.pi * target / n_targets)
        latents_TD = population_latents(time_T, movement)
        rates_TN = np.exp(latents_TD @ weights_ND.T + offset_N)
        angle = [math.cos(movement.angle), math.sin(movement.angle)]
        yield Trial(
            spikes=poisson(generator, rates_TN),
            trial_id=f"reach{i:06d}",
            session="reach",
            split=split,
            covariates={"velocity": hand_velocity(time_T, movement).astype(np.float32)},
            conditions={"angle": np.array(angle, np.float32), "target": np.array([target], np.float32)},
            rates=rates_TN.astype(np.float32),
            latents=latents_TD.astype(np.float32),
        )  # fmt: skip


def _readout(
    time_T: np.ndarray, n_units: int, n_targets: int, mean_rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) weights and (N,) offsets; the offsets give each unit its mean, over movements of their own."""
    system = keyed_generator(seed, SYSTEM)
    centre_D = np.concatenate([np.full(len(sds), mean) for mean, sds in WEIGHTS.values()])
    spread_D = np.concatenate([sds for _, sds in WEIGHTS.values()])
    weights_ND = centre_D + spread_D * system.standard_normal((n_units, len(spread_D)))
    mean_N = np.exp(LOG_MEAN_SD * system.standard_normal(n_units))
    mean_N *= mean_rate / mean_N.mean()
    gain_N = np.zeros(n_units)
    for i in range(REFERENCE_TRIALS):
        angle = 2 * math.pi * (i % n_targets) / n_targets
        latents_TD = population_latents(time_T, draw_movement(system, angle))
        gain_N += np.exp(latents_TD @ weights_ND.T).mean(axis=0)
    return weights_ND, np.log(mean_N * REFERENCE_TRIALS / gain_N)
