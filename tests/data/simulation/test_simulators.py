from __future__ import annotations

import inspect
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from ldns_ray.data.schema import TrialChecker
from ldns_ray.data.simulation.lorenz import (
    LORENZ_PERIOD,
    LORENZ_START,
    lorenz,
    lorenz_trajectories,
)
from ldns_ray.data.simulation.simulators import SIMULATORS
from ldns_ray.data.simulation.speech import critically_damped, speech


def test_integrator_converges_with_order_four() -> None:
    start = np.array([LORENZ_START])
    ends = {
        n: lorenz_trajectories(start, 41, step=0.015, substeps=n)[0, -1] for n in (1, 2, 4, 8, 64)
    }
    errors = np.array([np.linalg.norm(ends[n] - ends[64]) for n in (1, 2, 4, 8)])
    orders = np.log2(errors[:-1] / errors[1:])
    assert (np.abs(orders - 4) < 0.5).all(), orders


def test_integrator_stays_at_a_fixed_point() -> None:
    c = np.sqrt(8 / 3 * 27)
    path = lorenz_trajectories(np.array([[c, c, 27.0]]), 50, step=0.015)
    np.testing.assert_allclose(path[0], np.broadcast_to([c, c, 27.0], (50, 3)), atol=1e-9)


def test_a_hundred_samples_a_period() -> None:
    path = lorenz_trajectories(np.array([LORENZ_START]), 8000, step=LORENZ_PERIOD / 100)
    # The dominant period is that of x, a loop on each wing; z peaks once per loop.
    z = path[0, :, 2]
    peaks = np.sum((z[1:-1] > z[:-2]) & (z[1:-1] > z[2:]))
    assert 0.4 < 8000 / peaks / 100 < 0.6


def test_lorenz_follows_its_definition() -> None:
    trials = list(lorenz(20, n_bins=100, n_units=12, seed=3))
    assert Counter(t.split for t in trials) == {"train": 14, "val": 2, "test": 4}
    x = np.concatenate([t.latents for t in trials if t.latents is not None]).astype(np.float64)
    rates = np.concatenate([t.rates for t in trials if t.rates is not None]).astype(np.float64)
    for t in trials:
        assert t.latents is not None
        np.testing.assert_allclose(t.latents.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(t.latents.std(axis=0), 1, atol=1e-5)
    # Undo the softplus (beta 2): what is left is affine in the latents, rows of unit length.
    log_rate = np.log(np.expm1(2 * rates)) / 2
    design = np.column_stack([x, np.ones(len(x))])
    weights, *_ = np.linalg.lstsq(design, log_rate, rcond=None)
    np.testing.assert_allclose(design @ weights, log_rate, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(weights[:3], axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(weights[3], np.log(0.3), atol=1e-3)


@pytest.mark.parametrize(
    "trials",
    [list(lorenz(60, 100, 20, seed=1)), list(speech(40, 20, seed=1))],
    ids=["lorenz", "speech"],
)
def test_spikes_are_poisson_draws_of_the_rates(trials: list) -> None:
    checker = TrialChecker()
    for trial in trials:
        checker.check(trial)
    assert len(checker) == len(trials)
    spikes = np.concatenate([t.spikes for t in trials]).astype(np.float64)
    rates = np.concatenate([t.rates for t in trials])
    z = (spikes - rates).sum(axis=0) / np.sqrt(rates.sum(axis=0))
    assert np.abs(z).max() < 4
    fano = ((spikes - rates) ** 2).sum() / rates.sum()
    assert 0.97 < fano < 1.03


def test_trials_depend_on_seed_and_index_alone() -> None:
    for make in (
        lambda n, seed, **more: lorenz(n, 30, 5, seed=seed, **more),
        lambda n, seed, **more: speech(n, 5, seed=seed, n_blocks=1, max_bins=120, **more),
    ):
        few, many, other = list(make(3, 1)), list(make(300, 1)), list(make(3, 2))
        for a, b, c in zip(few, many, other, strict=False):
            assert a.trial_id == b.trial_id
            np.testing.assert_array_equal(a.spikes, b.spikes)
            np.testing.assert_array_equal(a.latents, b.latents)
            assert not np.array_equal(a.spikes[:30], c.spikes[:30])
        assert not np.array_equal(few[0].spikes[:30], few[1].spikes[:30])
        (later,) = make(1, 1, first_trial=2)
        assert later.trial_id == few[2].trial_id
        np.testing.assert_array_equal(later.spikes, few[2].spikes)


def test_simulators_are_lazy() -> None:
    assert len(list(islice(speech(10**5, 4), 2))) == 2


def test_speech_has_its_lengths_blocks_and_rates() -> None:
    trials = list(speech(120, 64, seed=0, n_blocks=4, min_bins=100, max_bins=200))
    lengths = [t.n_bins for t in trials]
    assert min(lengths) >= 100
    assert max(lengths) <= 200
    assert len(set(lengths)) > 20
    assert Counter(t.session for t in trials) == {f"block{i:03d}": 30 for i in range(4)}
    for session in {t.session for t in trials}:
        splits = Counter(t.split for t in trials if t.session == session)
        assert splits["train"] >= 19
        assert splits["val"] >= 3
        assert splits["test"] >= 3
    rates = np.concatenate([t.rates for t in trials if t.rates is not None])
    assert 0.3 < rates.mean() < 0.8
    spread = np.log(rates.mean(axis=0)).std()
    assert 0.5 < spread < 1.1


def test_speech_gain_drifts_with_the_blocks() -> None:
    trials = list(speech(400, 32, seed=0, n_blocks=2, max_bins=150, gain_drift=0.3))
    still = list(speech(400, 32, seed=0, n_blocks=2, max_bins=150, gain_drift=1e-9))

    def change(trials: list) -> float:
        first, last = (
            np.concatenate([t.rates for t in trials if t.session == f"block00{i}"]) for i in (0, 1)
        )
        return float(np.log(last.mean(axis=0) / first.mean(axis=0)).std())

    assert 0.15 < change(trials) < 0.45
    assert change(still) < 0.1


def test_critical_damping_reaches_its_target_without_overshoot() -> None:
    x = critically_damped(np.ones((200, 1)), rate_hz=3.0, step=0.02)[:, 0]
    t = 0.02 * np.arange(1, 201)
    w = 2 * np.pi * 3.0
    np.testing.assert_allclose(x, 1 - (1 + w * t) * np.exp(-w * t), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lorenz(0), "n_trials must be positive, got 0"),
        (lambda: lorenz(3, mean_rate=0.0), "mean_rate must be positive, got 0.0"),
        (lambda: speech(3, min_bins=9, max_bins=8), r"max_bins must be at least min_bins \(9\)"),
    ],
)
def test_bad_settings_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        list(make())


@pytest.mark.parametrize("name", SIMULATORS)
def test_a_simulator_says_what_its_trials_are(name: str) -> None:
    """As wide in time, and with the covariates, that they have by default."""
    simulator = SIMULATORS[name]
    (trial,) = simulator.draw(n_trials=1)
    assert set(trial.covariates) == set(simulator.covariate_units)
    parameters = inspect.signature(simulator.draw).parameters
    if "bin_width_s" in parameters:
        assert simulator.bin_width_s == parameters["bin_width_s"].default
