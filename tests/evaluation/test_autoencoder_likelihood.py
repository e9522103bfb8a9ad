"""Gains over the mean rates and the PSTH: who beats whom, and how sure that is."""

import json

import numpy as np
import pytest
import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.evaluation.autoencoder_likelihood import autoencoder_likelihood, gains
from ldns_ray.evaluation.baselines.psth import psth
from ldns_ray.evaluation.likelihood import (
    masked_nll,
    masked_nll_of_rates,
    mean_rate_nll,
    psth_nll,
)
from ldns_ray.models.autoencoder import Autoencoder

BIN, N_UNITS = 0.01, 12
SETTINGS = {"dropout": 0.3, "seed": 2}
RANGES = ("bits_per_spike", "bits_per_spike_psth", "beats_psth")


def recording(n_trials, seed):
    """Units with a time course, up or down, times a gain of the trial that no PSTH can know; lengths differ."""
    rng = np.random.default_rng(seed)
    rates = []
    for n_bins in rng.integers(40, 60, n_trials):
        course = np.sin(np.arange(n_bins) / 8)[:, None] * np.linspace(-1, 1, N_UNITS)
        rates.append(0.4 * np.exp(0.8 * course + 0.4 * rng.normal()))
    return [rng.poisson(r) for r in rates], rates


@pytest.fixture(scope="module")
def scored():
    """Model → its gains on 60 held-out trials, all on the same entries."""
    train, _ = recording(150, 0)
    spikes, rates = recording(60, 1)
    mean_rate = mean_rate_nll(train, spikes, **SETTINGS)
    smooth = psth_nll(train, None, spikes, None, bin_width_s=BIN, **SETTINGS)
    average = psth(train, None, bin_width_s=BIN).rates(None, [len(x) for x in spikes])
    models = {
        "copier": masked_nll(lambda x, mask: (0.7 * x).clamp(min=1e-2), spikes, **SETTINGS),
        "truth": masked_nll_of_rates(rates, spikes, **SETTINGS),
        "psth": smooth,
        "nearly the psth": masked_nll_of_rates([r**1.02 for r in average], spikes, **SETTINGS),
        "mean rate": mean_rate,
    }
    return {name: gains(model, mean_rate, smooth, seed=2) for name, model in models.items()}


def test_a_copier_is_beaten_by_the_psth(scored):
    """What it was fed, scaled back to counts: without a spike there, it knows of none anywhere."""
    x = scored["copier"]
    assert x["bits_per_spike"] < 0 < x["bits_per_spike_psth"]
    assert x["beats_psth"] == x["bits_per_spike"] - x["bits_per_spike_psth"]
    assert x["beats_psth_interval"][0] < x["beats_psth"] < x["beats_psth_interval"][1] < 0


def test_the_true_rates_beat_the_psth(scored):
    x = scored["truth"]
    assert 0 < x["beats_psth_interval"][0] < x["beats_psth"] < x["beats_psth_interval"][1]
    for name in RANGES:
        low, high = x[f"{name}_interval"]
        assert 0 < low < x[name] < high


def test_resamples_are_paired(scored):
    """Beside what is much like itself, the PSTH is surely that much off: trials that are hard are so for both."""
    assert scored["psth"]["beats_psth_interval"] == [0.0, 0.0]
    assert scored["mean rate"]["bits_per_spike_interval"] == [0.0, 0.0]
    x = scored["nearly the psth"]
    own, psth, difference = (np.ptp(x[f"{name}_interval"]) for name in RANGES)
    assert min(own, psth) > 0
    assert difference < 0.3 * min(own, psth)


def test_seeds_tell_resamples_apart():
    spikes, rates = recording(20, 1)
    mean_rate = mean_rate_nll(spikes, spikes, **SETTINGS)
    truth = masked_nll_of_rates(rates, spikes, **SETTINGS)
    one, same, other = (gains(truth, mean_rate, mean_rate, seed=s) for s in (0, 0, 1))
    assert one == same
    assert one["bits_per_spike"] == other["bits_per_spike"]
    assert one["bits_per_spike_interval"] != other["bits_per_spike_interval"]


def test_a_single_trial_has_no_interval():
    spikes, rates = recording(1, 1)
    mean_rate = mean_rate_nll(spikes, spikes, **SETTINGS)
    x = gains(masked_nll_of_rates(rates, spikes, **SETTINGS), mean_rate, mean_rate, seed=0)
    assert np.isfinite(x["bits_per_spike"])
    assert [x[f"{name}_interval"] for name in RANGES] == [None] * 3


def test_one_trial_with_spikes_among_silent_ones():
    """A third of the resamples has no spike: the others have finite values."""
    spikes = np.zeros((12, 30, 3), int)
    spikes[4] = 1
    mean_rate = masked_nll_of_rates(np.full(spikes.shape, 0.1), spikes, **SETTINGS)
    truth = masked_nll_of_rates(np.maximum(spikes, 1e-3), spikes, **SETTINGS)
    x = gains(truth, mean_rate, mean_rate, seed=0)
    low, high = x["bits_per_spike_interval"]
    assert np.isfinite([low, high]).all()
    assert low <= x["bits_per_spike"] <= high


def trial_set(n_trials, seed):
    return TrialSet.from_trials(
        [
            Trial(x.astype(np.uint8), trial_id=str(i), session="simulated", split="train")
            for i, x in enumerate(recording(n_trials, seed)[0])
        ],
        BIN,
    )


def test_an_autoencoder_beside_mean_rates_and_psth():
    """The same figures as by hand, as JSON values; untrained, it knows less than the PSTH."""
    torch.manual_seed(0)
    model = Autoencoder(n_units=N_UNITS, n_latents=3, width=8, n_blocks=1).eval()
    train, held_out = trial_set(100, 0), trial_set(30, 1)
    labels = np.arange(100) % 2, np.arange(30) % 2
    x = autoencoder_likelihood(model, train, held_out, labels, **SETTINGS)
    assert x == json.loads(json.dumps(x))
    seen, spikes = train.spikes_list(), held_out.spikes_list()
    psth = psth_nll(seen, labels[0], spikes, labels[1], bin_width_s=BIN, **SETTINGS)
    own = masked_nll(lambda s, mask: model(s, mask)[0], spikes, **SETTINGS, batch_size=7)
    assert x["nll_mean_rate"] == mean_rate_nll(seen, spikes, **SETTINGS).per_entry
    assert x["nll_psth"] == psth.per_entry
    assert x["nll"] == pytest.approx(own.per_entry, rel=1e-5)
    assert x["beats_psth_interval"][1] < 0
