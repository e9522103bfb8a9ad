"""Held-out likelihood: by hand, fair to copiers, independent of batches and padding."""

import math

import numpy as np
import pytest
import torch

from ldns_ray.evaluation.likelihood import (
    bits_per_spike,
    heldout_masks,
    heldout_mean_count,
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
    assert got == pytest.approx(expected, rel=1e-6)


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
    assert copier > 2 * mean_rate_nll(spikes, spikes, **SETTINGS)


def test_batches_and_padding_do_not_matter():
    trials = ragged()

    def smooth(spikes_BTN, mask_BT):
        counts_B = mask_BT.sum(1) if mask_BT is not None else spikes_BTN.shape[1]
        mean_BN = spikes_BTN.sum(1) / torch.as_tensor(counts_B).reshape(-1, 1)
        return (mean_BN[:, None] + 0.1).expand_as(spikes_BTN)

    one = masked_nll(smooth, trials, **SETTINGS, batch_size=1)
    assert masked_nll(smooth, trials, **SETTINGS, batch_size=3) == pytest.approx(one, rel=1e-6)
    dense = np.stack([trials[1]] * 3)
    assert masked_nll(smooth, dense, **SETTINGS) == masked_nll(smooth, list(dense), **SETTINGS)


def test_given_rates_are_scored_on_the_same_entries():
    trials = ragged()
    rates = [np.full(trial.shape, 0.7) for trial in trials]
    from_encoder = masked_nll(lambda x, mask: torch.full_like(x, 0.7), trials, **SETTINGS)
    assert masked_nll_of_rates(rates, trials, **SETTINGS) == pytest.approx(from_encoder, rel=1e-6)


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
    assert truth < average < constant
    count = heldout_mean_count(spikes[test], **SETTINGS)
    gain = bits_per_spike(truth, constant, count)
    assert 0 < bits_per_spike(average, constant, count) < gain
    expected = (rates * np.log(rates / rates.mean())).mean() / rates.mean() / np.log(2)
    assert gain == pytest.approx(expected, rel=0.15)


def test_bits_per_spike_by_hand():
    assert bits_per_spike(0.5, 0.5 + 0.1 * math.log(2), 0.05) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="mean_count must be positive"):
        bits_per_spike(0.5, 0.6, 0.0)


def test_bad_rates_are_refused():
    trials = ragged()
    with pytest.raises(ValueError, match="rates_fn must return rates of shape"):
        masked_nll(lambda x, mask: x[:, :-1], trials, **SETTINGS)
    with pytest.raises(ValueError, match="not log rates"):
        masked_nll(lambda x, mask: x - 5, trials, **SETTINGS)
    with pytest.raises(ValueError, match="dropout must be between 0 and 1"):
        masked_nll(lambda x, mask: x, trials, dropout=0.0, seed=0)
