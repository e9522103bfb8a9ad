"""Simulated reaches: the movements, each part of the population against its definition, and what emerges."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import TrialChecker
from ldns_ray.data.simulation.reach import (
    AMPLITUDE_M,
    ROTATION_DECAY_S,
    ROTATION_HZ,
    TREMOR_M_PER_S,
    TREMOR_WAVES,
    Movement,
    draw_movement,
    hand_velocity,
    held,
    population_latents,
    reach,
    rotation,
)

ONSET_BIN = 50
STRAIGHT = Movement(
    angle=0.6, amplitude=0.1, duration=0.3, vigour=0.0, bend=0.0, trigger=-0.1,
    tremor_hz=np.full((TREMOR_WAVES, 2), 5.0), tremor_phase=np.zeros((TREMOR_WAVES, 2)),
)  # fmt: skip


@pytest.fixture(scope="module")
def reaches() -> TrialSet:
    checker = TrialChecker()
    trials = [checker.check(trial) for trial in reach(240, seed=3)]
    return TrialSet.from_trials(trials, bin_width_s=0.005)


def stacked(column: np.ndarray | None, n_trials: int = 240) -> np.ndarray:
    assert column is not None
    return column.reshape(n_trials, 140, -1).astype(np.float64)


# -- Movements


def test_the_hand_covers_its_amplitude_at_least_jerk() -> None:
    time_T = np.arange(0, 0.3, 1e-4) + 0.5e-4
    still = np.full(1, -1.0)
    moved_T2 = hand_velocity(time_T, STRAIGHT) - hand_velocity(
        time_T, Movement(**{**vars(STRAIGHT), "amplitude": 0.0})
    )
    path_2 = moved_T2.sum(axis=0) * 1e-4
    np.testing.assert_allclose(path_2, 0.1 * np.array([math.cos(0.6), math.sin(0.6)]), rtol=1e-4)
    # Peak speed 15/8 of the mean speed, halfway.
    speed_T = np.linalg.norm(moved_T2, axis=1)
    assert speed_T.max() == pytest.approx(1.875 * 0.1 / 0.3, rel=1e-4)
    assert time_T[speed_T.argmax()] == pytest.approx(0.15, abs=1e-3)
    # Waves of one frequency and phase add up: as large as tremor can be.
    trembling = np.linalg.norm(hand_velocity(still, STRAIGHT))
    assert trembling == pytest.approx(2 * math.sqrt(TREMOR_WAVES) * TREMOR_M_PER_S)


def test_a_bend_turns_the_hand_evenly() -> None:
    bent = Movement(**{**vars(STRAIGHT), "bend": 0.5})
    rest = Movement(**{**vars(STRAIGHT), "amplitude": 0.0})
    time_T = np.array([0.075, 0.15, 0.225])
    velocity_T2 = hand_velocity(time_T, bent) - hand_velocity(time_T, rest)
    angle_T = np.arctan2(velocity_T2[:, 1], velocity_T2[:, 0])
    np.testing.assert_allclose(angle_T, [0.6 - 0.25, 0.6, 0.6 + 0.25], atol=1e-9)


def test_movements_are_plausible(reaches: TrialSet) -> None:
    velocity_ST2 = stacked(reaches.covariates["velocity"])
    speed_ST = np.linalg.norm(velocity_ST2, axis=2)
    peak_S, at_S = speed_ST.max(axis=1), speed_ST.argmax(axis=1)
    assert speed_ST[:, : ONSET_BIN - 1].max() < 4 * TREMOR_M_PER_S
    assert 0.3 < peak_S.min() < peak_S.max() < 1.0
    assert peak_S.std() > 0.05
    assert ((at_S > ONSET_BIN + 15) & (at_S < ONSET_BIN + 60)).all()
    # The condition is the direction at peak speed, but for tremor and the bin's width.
    angle_S2 = reaches.conditions["angle"]
    np.testing.assert_allclose(np.hypot(*angle_S2.T), 1, atol=1e-6)
    velocity_S2 = velocity_ST2[np.arange(240), at_S]
    error_S = np.angle((velocity_S2 @ [1, 1j]) / (angle_S2 @ [1, 1j]))
    assert np.abs(error_S).max() < math.radians(5)
    target_S = 2 * np.pi / 8 * reaches.conditions["target"][:, 0]
    off_S = np.degrees(np.angle(np.exp(1j * target_S) / (angle_S2 @ [1, 1j])))
    assert 6 < off_S.std() < 10


# -- The population


def test_preparation_becomes_rotation() -> None:
    """The closed forms solve z' = w z - held', held being the fall that critical damping gives."""
    time_T = np.arange(-0.05, 0.5, 1e-4)
    hz, decay_s, release_s = 2.5, 0.15, 0.04
    held_T = held(time_T, release_s)
    z_T = rotation(time_T, hz=hz, decay_s=decay_s, release_s=release_s)
    slope_T = np.gradient(held_T, time_T)
    w = complex(-1 / decay_s, 2 * math.pi * hz)
    np.testing.assert_allclose(np.gradient(z_T, time_T), w * z_T - slope_T, atol=0.02)
    curve_T = np.gradient(slope_T, time_T)
    damped_T = -held_T / release_s**2 - 2 * slope_T / release_s
    after = time_T > 1e-3
    np.testing.assert_allclose(curve_T[after], damped_T[after], atol=2.0)
    assert (held_T[time_T <= 0] == 1).all()
    assert (z_T[time_T <= 0] == 0).all()


def test_latents_are_what_they_are_called() -> None:
    time_T = np.linspace(-0.3, 0.5, 161)
    generator = np.random.default_rng(0)
    one, other = (draw_movement(generator, angle) for angle in (0.0, 2.0))
    a_TD, b_TD = population_latents(time_T, one), population_latents(time_T, other)
    direction = one.amplitude / AMPLITUDE_M * np.array([math.cos(one.angle), math.sin(one.angle)])
    np.testing.assert_allclose(a_TD[0, :2], direction)
    assert a_TD[0, 2] == one.vigour
    before_T, late_T = time_T < -0.2, time_T > 0.2
    np.testing.assert_array_equal(a_TD[before_T, 4:9], 0)
    np.testing.assert_allclose(a_TD[late_T, :4], 0, atol=0.01)
    # The trigger differs by its time alone: shifted by it, it is the same for every movement.
    moved_TD = population_latents(time_T + other.trigger - one.trigger, other)
    np.testing.assert_allclose(moved_TD[:, 4], a_TD[:, 4], atol=1e-12)
    assert not np.allclose(b_TD[:, 4], a_TD[:, 4], atol=0.01)
    # Once the preparation is gone, each plane turns at its frequency and decays.
    step = time_T[1] - time_T[0]
    for plane, hz in enumerate(ROTATION_HZ):
        z_T = a_TD[late_T, 5 + 2 * plane : 7 + 2 * plane] @ [1, 1j]
        growth = (z_T[1:] / z_T[:-1]).mean()
        assert np.angle(growth) / (2 * np.pi * step) == pytest.approx(hz, rel=0.02)
        assert -step / np.log(np.abs(growth)) == pytest.approx(ROTATION_DECAY_S, rel=0.05)
    # The drive leads the hand.
    lead_T2 = hand_velocity(time_T + 0.05, one)
    ratio = a_TD[late_T, 9:] / lead_T2[late_T]
    np.testing.assert_allclose(ratio, ratio[0, 0])


def test_rates_are_exponential_in_the_latents(reaches: TrialSet) -> None:
    assert reaches.latents is not None
    assert reaches.rates is not None
    some = slice(None, None, 11)
    latents, rates = reaches.latents[some], reaches.rates[some]
    design = np.column_stack([latents, np.ones(len(latents))]).astype(np.float64)
    log_rates = np.log(rates.astype(np.float64))
    weights, *_ = np.linalg.lstsq(design, log_rates, rcond=None)
    np.testing.assert_allclose(design @ weights, log_rates, atol=1e-3)
    mean_N = reaches.rates.mean(axis=0)
    assert mean_N.mean() == pytest.approx(0.04, rel=0.05)
    assert 0.5 < np.log(mean_N).std() < 0.9


@pytest.mark.parametrize(
    ("n_units", "mean_rate", "bin_width_s", "n_bins"), [(20, 0.2, 0.02, 35), (60, 0.03, 0.005, 140)]
)
def test_spikes_are_poisson_draws_of_the_rates(
    n_units: int, mean_rate: float, bin_width_s: float, n_bins: int
) -> None:
    settings = {"mean_rate": mean_rate, "bin_width_s": bin_width_s, "n_bins": n_bins}
    trials = list(reach(80, n_units, seed=1, **settings))
    spikes = np.concatenate([t.spikes for t in trials]).astype(np.float64)
    rates = np.concatenate([t.rates for t in trials])
    assert rates.mean() == pytest.approx(mean_rate, rel=0.05)
    z_N = (spikes - rates).sum(axis=0) / np.sqrt(rates.sum(axis=0))
    assert np.abs(z_N).max() < 4
    assert ((spikes - rates) ** 2).sum() / rates.sum() == pytest.approx(1, abs=0.03)


def test_units_are_tuned_by_cosines(reaches: TrialSet) -> None:
    """Mean counts over targets, as Georgopoulos et al. 1982 fitted them: b0 + b1 cos + b2 sin."""
    target_S = reaches.conditions["target"][:, 0].astype(int)
    counts_SN = stacked(reaches.spikes).sum(axis=1)
    mean_KN = np.stack([counts_SN[target_S == k].mean(axis=0) for k in range(8)])
    angle_K = 2 * np.pi * np.arange(8) / 8
    design_K3 = np.stack([np.ones(8), np.cos(angle_K), np.sin(angle_K)], axis=1)
    fit_KN = design_K3 @ np.linalg.lstsq(design_K3, mean_KN, rcond=None)[0]
    residual_N = ((mean_KN - fit_KN) ** 2).sum(axis=0)
    r2_N = 1 - residual_N / ((mean_KN - mean_KN.mean(axis=0)) ** 2).sum(axis=0)
    assert (r2_N > 0.7).mean() > 0.5
    # By chance, two of seven degrees of freedom explain 2/7.
    assert np.median(r2_N) > 0.75


def test_velocity_can_be_decoded_from_rates(reaches: TrialSet) -> None:
    rates, velocity = stacked(reaches.rates), stacked(reaches.covariates["velocity"])
    x_STF = np.concatenate([rates, np.ones((240, 140, 1))], axis=2)
    weights, *_ = np.linalg.lstsq(
        x_STF[:180].reshape(-1, 183), velocity[:180].reshape(-1, 2), rcond=None
    )
    error = velocity[180:] - x_STF[180:] @ weights
    r2 = 1 - (error**2).sum() / ((velocity[180:] - velocity[180:].mean(axis=(0, 1))) ** 2).sum()
    assert r2 > 0.85


# -- Trials


def test_trials_depend_on_seed_and_index_alone() -> None:
    few, many = list(reach(5, 6, seed=1)), list(islice(reach(400, 6, seed=1), 5))
    for a, b, c in zip(few, many, reach(5, 6, seed=2), strict=True):
        assert a.trial_id == b.trial_id
        pairs = [(a.spikes, b.spikes), (a.rates, b.rates), (a.latents, b.latents)]
        pairs += [(a.covariates["velocity"], b.covariates["velocity"])]
        pairs += [(a.conditions[k], b.conditions[k]) for k in ("angle", "target")]
        for x, y in pairs:
            np.testing.assert_array_equal(x, y)
        assert not np.array_equal(a.spikes, c.spikes)
    assert not np.array_equal(few[0].spikes, few[1].spikes)


def test_targets_are_balanced_in_time_and_over_splits(reaches: TrialSet) -> None:
    target_S = reaches.conditions["target"][:, 0].astype(int)
    for block in range(30):
        assert sorted(target_S[8 * block : 8 * block + 8]) == list(range(8))
    assert not np.array_equal(target_S[:8], target_S[8:16])
    trials = list(reach(160, 2, seed=0, n_bins=51, n_targets=4, fractions=(0.5, 0.25, 0.25)))
    splits = Counter((t.split, int(t.conditions["target"][0])) for t in trials)
    for target in range(4):
        assert abs(splits["train", target] - 20) <= 2
        assert abs(splits["val", target] - 10) <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_targets": 0}, "n_targets must be positive, got 0"),
        ({"mean_rate": 0.0}, "mean_rate must be positive, got 0.0"),
        ({"n_bins": 50}, "n_bins must be at least 51 of 0.005 s, got 50"),
        ({"n_bins": 5, "bin_width_s": 0.05}, "n_bins must be at least 6 of 0.05 s, got 5"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(reach(3, 4, seed=0, **settings))
