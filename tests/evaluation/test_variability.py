"""Rates, their spread over trials, and Fano factors, against hand computation and slow definitions."""

import numpy as np
import pytest

from ldns_ray.evaluation.variability import (
    rmse_fano,
    rmse_std_rate,
    trial_variability,
)


def test_by_hand():
    """At 50 ms a window is two bins: 1+1, 0+2 and 3+0 spikes; the last bin of the second trial fills none."""
    trials = [np.array([[1], [1], [0], [2]]), np.array([[3], [0], [5]])]
    (found,) = trial_variability(trials, 0.05).pool()
    assert found.mean_rate_N == pytest.approx([12 / 7])
    assert found.sd_rate_N == pytest.approx([np.std([1.0, 8 / 3])])
    assert found.fano_N == pytest.approx([np.var([2, 2, 3]) / np.mean([2, 2, 3])])


def test_ragged_trials_against_slow_definitions():
    rng = np.random.default_rng(0)
    trials = [rng.poisson(0.3, (n, 4)) for n in rng.integers(1, 70, 30)]
    (found,) = trial_variability(trials, 0.01).pool()
    windows = [x[i : i + 10].sum(0) for x in trials for i in range(0, len(x) - 9, 10)]
    rates = [x.mean(0) for x in trials]
    np.testing.assert_allclose(found.fano_N, np.var(windows, 0) / np.mean(windows, 0))
    np.testing.assert_allclose(found.sd_rate_N, np.std(rates, 0))
    np.testing.assert_allclose(found.mean_rate_N, np.concatenate(trials).mean(0))


def test_weights_are_the_trials_repeated():
    rng = np.random.default_rng(1)
    trials = [rng.poisson(0.5, (n, 3)) for n in (12, 25, 40)]
    weighted = trial_variability(trials, 0.02).pool([[2, 0, 1]])[0]
    (direct,) = trial_variability([trials[0], trials[0], trials[2]], 0.02).pool()
    for name in ("mean_rate_N", "sd_rate_N", "fano_N"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(direct, name), rtol=1e-12)


def test_poisson_counts_have_a_fano_factor_of_one_and_regular_ones_of_none():
    rng = np.random.default_rng(2)
    poisson = rng.poisson(0.4, (200, 100, 1))
    regular = np.ones((200, 100, 1), int)
    (found,) = trial_variability(np.concatenate([poisson, regular], axis=2), 0.01).pool()
    # 2000 windows: the variance has a relative standard error of about √(2 / 2000).
    assert found.fano_N == pytest.approx([1.0, 0.0], abs=4 * np.sqrt(2 / 2000))
    assert found.sd_rate_N[1] == 0


def test_distances_by_hand():
    low, high = (trial_variability([np.full((4, 2), k), np.zeros((4, 2), int)], 0.05).pool()[0] for k in (1, 3))  # fmt: skip
    # Rates of 1 and 0, or 3 and 0, spikes per bin of 50 ms: standard deviations of 10 and 30 Hz.
    assert rmse_std_rate(low, high, 0.05) == pytest.approx(20.0)
    # Windows of 2, 2, 0, 0 spikes, or 6, 6, 0, 0.
    assert rmse_fano(low, high) == pytest.approx(9 / 3 - 1 / 1)


@pytest.mark.parametrize(
    "trials", [np.zeros((3, 20, 2), int), np.ones((1, 2, 1), int), np.full((2, 1, 1), 7)]
)
def test_silence_single_trials_and_short_ones_are_finite(trials):
    (found,) = trial_variability(trials, 0.005).pool()
    assert np.isfinite([*found.mean_rate_N, *found.sd_rate_N, *found.fano_N]).all()
    assert (found.fano_N == 0).all()
