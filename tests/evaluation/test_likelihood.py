"""Held-out likelihood: by hand, fair to copiers, independent of batches and padding."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import poisson

from ldns_ray.evaluation.bootstrap import interval, trial_weights
from ldns_ray.evaluation.likelihood import (
    HeldOut,
    bits_per_spike,
    bits_per_spike_resampled,
    heldout_masks,
    masked_nll,
    masked_nll_of_rates,
    mean_rate_nll,
    psth_nll,
)

SETTINGS = {"dropout": 0.3, "seed": 4, "n_masks": 2}


def ragged(seed=0, n_units=5):
    rng = np.random.default_rng(seed)
    return [rng.poisson(1.0, (n, n_units)) for n in (12, 30, 7, 19)]


def test_value_by_hand():
    """Counts 0 and 3 at rate 2: 2, and 2 - 3 log 2 + Stirling's log 3!."""
    spikes = np.zeros((1, 40, 1), int)
    spikes[0, ::2] = 3
    (held,) = heldout_masks(np.array([40]), 1, dropout=0.5, seed=0, n_masks=1)
    threes = spikes[0][held].sum() / 3 / held.sum()
    stirling = 3 * math.log(3) - 3 + 0.5 * math.log(2 * math.pi * 3)
    expected = 2 + threes * (stirling - 3 * math.log(2))
    got = masked_nll(
        lambda x, mask: torch.full_like(x, 2.0), spikes, dropout=0.5, seed=0, n_masks=1
    )
    assert got.per_entry == pytest.approx(expected, rel=1e-6)
    assert got.mean_count == pytest.approx(3 * threes)


def test_encoder_sees_zeros_and_scaled_survivors():
    spikes = np.full((3, 20, 4), 7)
    seen = []

    def rates_fn(spikes_BTN, mask_BT):
        assert mask_BT is None
        seen.append(spikes_BTN)
        return torch.ones_like(spikes_BTN)

    masked_nll(rates_fn, spikes, dropout=0.3, seed=4, n_masks=1)
    (held,) = heldout_masks(np.array([20] * 3), 4, dropout=0.3, seed=4, n_masks=1)
    expected = np.where(held.reshape(3, 20, 4), 0.0, 7 / 0.7)
    np.testing.assert_allclose(seen[0].numpy(), expected, rtol=1e-6)


def test_a_copier_loses():
    """Scored on what it was fed, copying would win; on held-out entries it is far worse."""
    spikes = np.random.default_rng(0).poisson(0.5, (20, 50, 10))
    copier = masked_nll(lambda x, mask: x + 1e-3, spikes, **SETTINGS)
    assert copier.per_entry > 2 * mean_rate_nll(spikes, spikes, **SETTINGS).per_entry


def test_batches_and_padding_do_not_matter():
    trials = ragged()

    def smooth(spikes_BTN, mask_BT):
        counts_B = mask_BT.sum(1) if mask_BT is not None else spikes_BTN.shape[1]
        mean_BN = spikes_BTN.sum(1) / torch.as_tensor(counts_B).reshape(-1, 1)
        return (mean_BN[:, None] + 0.1).expand_as(spikes_BTN)

    one = masked_nll(smooth, trials, **SETTINGS, batch_size=1)
    three = masked_nll(smooth, trials, **SETTINGS, batch_size=3)
    np.testing.assert_allclose(three.nll_MS, one.nll_MS, rtol=1e-6)
    dense = np.stack([trials[1]] * 3)
    as_array, as_list = (masked_nll(smooth, x, **SETTINGS) for x in (dense, list(dense)))
    np.testing.assert_array_equal(as_array.nll_MS, as_list.nll_MS)


def test_given_rates_are_scored_on_the_same_entries():
    trials = ragged()
    rates = [np.full(trial.shape, 0.7) for trial in trials]
    from_encoder = masked_nll(lambda x, mask: torch.full_like(x, 0.7), trials, **SETTINGS)
    given = masked_nll_of_rates(rates, trials, **SETTINGS)
    np.testing.assert_allclose(given.nll_MS, from_encoder.nll_MS, rtol=1e-6)
    np.testing.assert_array_equal(given.entries_MS, from_encoder.entries_MS)


def test_sums_are_those_of_each_trial():
    """Against a loop over trials and masks, with SciPy's log-factorial beside Stirling's."""
    trials = ragged()
    rng = np.random.default_rng(3)
    rates = [rng.uniform(0.5, 2.0, trial.shape) for trial in trials]
    got = masked_nll_of_rates(rates, trials, **SETTINGS)
    n_bins = np.array([len(trial) for trial in trials])
    per_mask = []
    for m, held in enumerate(heldout_masks(n_bins, 5, **SETTINGS)):
        total = 0.0
        parts = np.split(held, np.cumsum(n_bins)[:-1])
        for s, (part, counts, rate) in enumerate(zip(parts, trials, rates, strict=True)):
            x, r = counts[part], rate[part]
            assert (got.entries_MS[m, s], got.spikes_MS[m, s]) == (part.sum(), x.sum())
            stirling = x * np.log(np.maximum(x, 1)) - x + 0.5 * np.log(2 * np.pi * np.maximum(x, 1))
            expected = (r - x * np.log(r) + np.where(x > 1, stirling, 0)).sum()
            assert got.nll_MS[m, s] == pytest.approx(expected, rel=1e-5)
            exact = -poisson.logpmf(x, r).sum()
            assert got.nll_MS[m, s] == pytest.approx(exact, abs=0.05 * (x > 1).sum() + 1e-4)
            total += expected
        per_mask.append(total / held.sum())
    assert got.per_entry == pytest.approx(np.mean(per_mask), rel=1e-5)


def test_masks_are_keyed_and_hold_out_the_stated_share():
    masks = list(heldout_masks(np.array([500]), 40, dropout=0.3, seed=1, n_masks=3))
    again = list(heldout_masks(np.array([500]), 40, dropout=0.3, seed=1, n_masks=2))
    np.testing.assert_array_equal(masks[:2], again)
    assert not np.array_equal(masks[0], masks[1])
    assert np.mean(masks) == pytest.approx(0.3, abs=0.01)


def test_baselines_rank_as_they_should():
    """Spikes with a time course per condition: true rates < PSTH < mean rate."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, 60)
    courses = 0.3 + 0.25 * np.stack([np.sin(2 * np.pi * time), np.cos(2 * np.pi * time)])
    labels = rng.integers(0, 2, 400)
    rates = courses[labels][:, :, None].repeat(6, axis=2)
    spikes = rng.poisson(rates)
    train, test = slice(0, 300), slice(300, 400)
    truth = masked_nll_of_rates(rates[test], spikes[test], **SETTINGS)
    average = psth_nll(
        spikes[train], labels[train], spikes[test], labels[test], bin_width_s=0.01, **SETTINGS
    )
    constant = mean_rate_nll(spikes[train], spikes[test], **SETTINGS)
    assert truth.per_entry < average.per_entry < constant.per_entry
    gain = bits_per_spike(truth, constant)
    assert 0 < bits_per_spike(average, constant) < gain
    expected = (rates * np.log(rates / rates.mean())).mean() / rates.mean() / np.log(2)
    assert gain == pytest.approx(expected, rel=0.15)


# -- Bits per spike


def held_out(nll, entries, spikes):
    return HeldOut(np.array(nll, float), np.array(entries), np.array(spikes))


BY_HAND = (
    held_out([[3.0, 5.0, 2.0], [2.0, 2.0, 2.0]], [[10, 10, 20], [20, 5, 5]], [[1, 0, 3], [0, 0, 3]]),
    held_out([[4.0, 5.0, 5.0], [3.0, 2.0, 4.0]], [[10, 10, 20], [20, 5, 5]], [[1, 0, 3], [0, 0, 3]]),
)  # fmt: skip
"""Model and mean rate, two masks of three trials; the second trial has no spike."""


def test_bits_per_spike_by_hand():
    """Per entry and mask: gains 4/40 and 3/30 nats, counts 4/40 and 3/30."""
    model, mean_rate = BY_HAND
    assert model.per_entry == pytest.approx((10 / 40 + 6 / 30) / 2)
    assert model.mean_count == pytest.approx(0.1)
    assert bits_per_spike(*BY_HAND) == pytest.approx(1 / math.log(2))
    assert bits_per_spike(mean_rate, mean_rate) == 0.0


def test_bits_per_spike_of_resamples_by_hand():
    """The trials as they are; the first once and the third twice; and never one that spikes."""
    weights = np.array([[1, 1, 1], [1, 0, 2], [0, 3, 0]])
    whole, some, silent = bits_per_spike_resampled(*BY_HAND, weights)
    assert whole == pytest.approx(bits_per_spike(*BY_HAND))
    gain, count = (7 / 50 + 5 / 30) / 2, (7 / 50 + 6 / 30) / 2
    assert some == pytest.approx(gain / count / math.log(2))
    assert np.isnan(silent)


def test_resamples_without_a_held_out_entry_have_no_value():
    x = held_out([[1.0, 1.0]], [[4, 0]], [[2, 0]])
    value, none = bits_per_spike_resampled(x, x, np.array([[1, 1], [0, 2]]))
    assert value == 0.0
    assert np.isnan(none)


def test_silent_trials_have_no_bits_per_spike():
    silent = held_out([[1.0, 1.0]], [[4, 4]], [[0, 0]])
    with pytest.raises(ValueError, match="got none in 2 trials. Score trials that hold spikes"):
        bits_per_spike(silent, silent)


def test_other_entries_are_not_compared():
    rates = [np.ones(trial.shape) for trial in ragged()]
    one, other = (masked_nll_of_rates(rates, ragged(), **{**SETTINGS, "seed": s}) for s in (0, 1))
    with pytest.raises(ValueError, match="Give the same trials, dropout, seed and n_masks"):
        bits_per_spike(one, other)
    with pytest.raises(ValueError, match="the same held-out entries"):
        bits_per_spike_resampled(one, other, np.ones((1, 4)))


def test_bits_per_spike_lie_in_their_intervals():
    """Gamma-distributed gains of 60 trials on a rate m: the true gain of the true rates is known in theory.

    Rates r = m g with g of mean 1 gain E[g log g] / log 2 bits per spike over m, with g ~ Gamma(k, 1/k)
    digamma(k + 1) - log k nats. Of 120 intervals of 95 %, 114 +- 2.4 are to hold it; percentiles of 60 trials
    whose values are skewed hold up to 3 % less. Four deviations below
    that, two and a half above: not all of them.
    """
    k, mean, n_trials, n_sets = 4.0, 0.4, 60, 120
    truth = (digamma(k + 1) - np.log(k)) / np.log(2)
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(n_sets):
        gains = rng.gamma(k, 1 / k, (n_trials, 1, 1))
        rates = np.broadcast_to(mean * gains, (n_trials, 10, 4))
        spikes = rng.poisson(rates)
        settings = {"dropout": 0.5, "seed": seed, "n_masks": 1}
        scored = [masked_nll_of_rates(r, spikes, **settings) for r in (rates, np.full(rates.shape, mean))]  # fmt: skip
        weights = trial_weights(n_trials, 200, seed=seed)
        low, high = interval(bits_per_spike_resampled(*scored, weights))
        held += low <= truth <= high
    assert 0.92 * n_sets - 4 * 3.0 < held < 0.95 * n_sets + 2.5 * 2.4


# -- What is refused


def test_bad_rates_are_refused():
    trials = ragged()
    with pytest.raises(ValueError, match="rates_fn must return rates of shape"):
        masked_nll(lambda x, mask: x[:, :-1], trials, **SETTINGS)
    with pytest.raises(ValueError, match="not log rates"):
        masked_nll(lambda x, mask: x - 5, trials, **SETTINGS)
    with pytest.raises(ValueError, match="dropout must be between 0 and 1"):
        masked_nll(lambda x, mask: x, trials, dropout=0.0, seed=0)
