"""Observation models: keyed draws, Poisson counts, spike history recovered from its own simulation."""

import numpy as np
import pytest

from ldns_ray.models import observation
from ldns_ray.models.observation import (
    CONDITION_DRAW,
    LATENT_NOISE,
    SPIKE_NOISE,
    SpikeHistory,
    fit_spike_history,
    keyed_generator,
    sample_poisson,
)

N_BINS = (30, 7, 52, 30, 12)
N_UNITS, N_HISTORY = 3, 8


def rates(n_bins=N_BINS, n_units=N_UNITS, seed=0, scale=0.4):
    """Slowly varying rates, counts per bin."""
    rng = np.random.default_rng(seed)
    result = []
    for n in n_bins:
        phase = rng.uniform(0, 2 * np.pi, n_units)
        wave = np.sin(np.arange(n)[:, None] / 15 + phase)
        result.append((scale * np.exp(0.8 * wave)).astype(np.float32))
    return result


def history_model(count_cap=5):
    """Refractory, bursting and delayed units."""
    lag = np.arange(N_HISTORY, 0, -1)  # most recent bin last
    filters = np.stack(
        [-2.5 * np.exp(-lag / 2), 0.3 * np.exp(-lag / 3), 0.7 * (lag == 5) - 0.4 * (lag == 2)]
    )
    return SpikeHistory(
        filters.astype(np.float32),
        np.array([1.0, 0.8, 1.2], np.float32),
        np.array([0.1, -0.3, 0.0], np.float32),
        count_cap,
    )


@pytest.mark.parametrize("kind", ["poisson", "history"])
def test_a_trial_does_not_depend_on_the_others(kind):
    def sample(r, **key):
        return sample_poisson(r, **key) if kind == "poisson" else history_model().sample(r, **key)

    r = rates()
    whole = sample(r, seed=3, first_trial=10)
    parts = sample(r[:2], seed=3, first_trial=10) + sample(r[2:], seed=3, first_trial=12)
    for a, b, x in zip(whole, parts, r, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == x.shape
        assert a.dtype == np.uint8
    same_rates = sample([r[2], r[2]], seed=3)
    assert (same_rates[0] != same_rates[1]).any()
    other_seed = sample(r, seed=4, first_trial=10)
    assert (whole[2] != other_seed[2]).any()
    assert sample([], seed=0) == []


def test_generators_differ_by_seed_trial_and_purpose():
    keys = [
        (seed, trial, purpose)
        for seed in (0, 1, 255, 256, 2**40)
        for trial in (0, 1, 256)
        for purpose in (LATENT_NOISE, SPIKE_NOISE, CONDITION_DRAW)
    ]
    first = {key: tuple(keyed_generator(*key).integers(2**32, size=4)) for key in keys}
    assert len(set(first.values())) == len(keys)
    assert first[keys[5]] == tuple(keyed_generator(*keys[5]).integers(2**32, size=4))


def test_poisson_counts_have_the_mean_and_variance_of_the_rates():
    r = np.tile(np.array([0.05, 1.0, 20.0], np.float32), (20_000, 1))
    (counts,) = sample_poisson([r], seed=0)
    error = 5 * np.sqrt(r[0] / len(r))
    np.testing.assert_array_less(np.abs(counts.mean(0) - r[0]), error)
    np.testing.assert_allclose(counts.var(0), r[0], rtol=0.07)


def test_counts_fit_in_a_byte():
    (counts,) = sample_poisson([np.full((4, 2), 1e4, np.float32)], seed=0)
    assert (counts == 255).all()


def test_history_without_weights_is_poisson_with_the_softplus_of_the_drive():
    """Gain 1 and offset 0: softplus(log r) = log(1 + r); counts above the cap become the cap."""
    r = np.tile(np.array([0.05, 1.0, 3.0], np.float32), (1, 1))
    zeros, ones = np.zeros((3, 4), np.float32), np.ones(3, np.float32)
    model = SpikeHistory(zeros, ones, np.zeros(3, np.float32), 20)
    counts = np.concatenate(model.sample([r] * 20_000, seed=0))
    expected = np.log1p(r[0])
    np.testing.assert_array_less(np.abs(counts.mean(0) - expected), 5 * np.sqrt(expected / 20_000))
    np.testing.assert_allclose(counts.var(0), expected, rtol=0.07)


def test_history_follows_its_formula():
    """Mean count in a bin given the past, unit by unit, against λ = softplus(w·y + a log r + b)."""
    model = history_model(count_cap=15)
    r = rates(n_bins=(60,) * 400)
    spikes = model.sample(r, seed=1)
    predicted, seen = np.zeros(N_UNITS), np.zeros(N_UNITS)
    weighted = np.zeros(N_UNITS)
    for y, x in zip(spikes, r, strict=True):
        y = np.concatenate([np.zeros((N_HISTORY, N_UNITS)), y])
        for t in range(len(x)):
            drive = (model.history_NJ * y[t : t + N_HISTORY].T).sum(1)
            rate = np.logaddexp(0, drive + model.gain_N * np.log(x[t]) + model.offset_N)
            now = y[N_HISTORY + t]
            predicted += rate
            seen += now
            weighted += (now - rate) * y[N_HISTORY + t - 1]
    np.testing.assert_array_less(np.abs(seen - predicted), 5 * np.sqrt(predicted))
    # Residuals are also unrelated to the previous bin.
    np.testing.assert_array_less(np.abs(weighted), 6 * np.sqrt(predicted))


@pytest.mark.parametrize("scale", [0.03, 0.4, 3.0])
def test_sampled_counts_are_those_of_the_plain_loop(scale, monkeypatch):
    """Trial by trial, bin by bin, from the same uniform numbers; in one block and in several."""
    model, r = history_model(), rates(n_bins=(60, 7, 100, 30), scale=scale)
    expected = []
    for i, x in enumerate(r):
        uniform = keyed_generator(5, 20 + i, SPIKE_NOISE).random(x.shape, dtype=np.float32)
        y = np.zeros((N_HISTORY + len(x), N_UNITS), np.float32)
        for t in range(len(x)):
            past = (model.history_NJ.T * y[t : t + N_HISTORY]).sum(0)
            rate = np.logaddexp(0, past + (model.gain_N * np.log(x[t]) + model.offset_N))
            pmf = [np.exp(-rate)]
            for k in range(1, 5):
                pmf.append(pmf[-1] * rate / k)
            y[N_HISTORY + t] = (uniform[t] > np.cumsum(pmf, 0)).sum(0)
        expected.append(y[N_HISTORY:])
    for entries in (2**15, 2 * N_UNITS):
        monkeypatch.setattr(observation, "BLOCK_ENTRIES", entries)
        for a, b in zip(model.sample(r, seed=5, first_trial=20), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert sum(y.sum() for y in expected) > 5


def test_sampled_counts_are_capped():
    model = history_model(count_cap=2)
    spikes = model.sample([np.full((200, N_UNITS), 30.0, np.float32)], seed=0)
    assert spikes[0].max() == 2
    # Rates that underflow exp(-λ).
    spikes = model.sample([np.full((20, N_UNITS), 1e30, np.float32)], seed=0)
    assert spikes[0].max() == 2


def test_filters_are_recovered():
    truth = history_model()
    r = rates(n_bins=(150,) * 120)
    fitted = fit_spike_history(truth.sample(r, seed=2), r, n_history=N_HISTORY, count_cap=5)
    assert fitted.count_cap == 5
    assert fitted.n_history == N_HISTORY
    for unit in range(N_UNITS):
        r_filter = np.corrcoef(fitted.history_NJ[unit], truth.history_NJ[unit])[0, 1]
        assert r_filter > 0.95, unit
    np.testing.assert_allclose(fitted.history_NJ, truth.history_NJ, atol=0.25)
    np.testing.assert_allclose(fitted.gain_N, truth.gain_N, atol=0.15)
    np.testing.assert_allclose(fitted.offset_N, truth.offset_N, atol=0.15)


def test_silent_unit_stays_finite_and_silent():
    r = rates(n_bins=(40,) * 30)
    spikes = sample_poisson(r, seed=0)
    for s in spikes:
        s[:, 1] = 0
    fitted = fit_spike_history(spikes, r, n_history=N_HISTORY, count_cap=5)
    for values in (fitted.history_NJ, fitted.gain_N, fitted.offset_N):
        assert np.isfinite(values).all()
    sampled = np.concatenate(fitted.sample(r, seed=1))
    assert sampled[:, 1].mean() < 0.01
    assert sampled[:, 0].mean() > 0.1


def test_unit_that_bursts_stays_finite():
    """A unit whose every count is above the cap: counts are capped in the fit as well."""
    r = rates(n_bins=(40,) * 5)
    spikes = [np.full(x.shape, 200, np.uint8) for x in r]
    fitted = fit_spike_history(spikes, r, n_history=N_HISTORY, count_cap=5)
    assert np.isfinite(fitted.history_NJ).all()
    assert np.concatenate(fitted.sample(r, seed=0)).mean() < 5.01


def test_longer_history_than_the_shortest_trial():
    r = rates()
    with pytest.raises(
        ValueError, match=r"history of 7 bins needs longer trials, the shortest has 7"
    ):
        fit_spike_history(sample_poisson(r, seed=0), r, n_history=7, count_cap=5)
    fit_spike_history(sample_poisson(r, seed=0), r, n_history=6, count_cap=5)
