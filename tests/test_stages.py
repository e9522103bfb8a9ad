"""Recordings that the model never saw, encoded."""

import numpy as np
import pytest

from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.models.ldns import LDNS
from ldns_ray.settings import override
from ldns_ray.stages import encode_dataset

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_recording_never_seen_is_encoded(trained, tiny, tmp_path):
    other = simulated_dataset(override(tiny, {"dataset.seed": 5}), str(tmp_path))
    out = str(tmp_path / "out")
    encode_dataset(trained.autoencoder(), other, out, rates=True)
    card = read_card(out)
    assert card.n_latents == 4
    assert card.has_rates
    assert card.splits == read_card(other).splits
    model = LDNS.load(trained.model_uri)
    given, got = load_trialset(other), load_trialset(out)
    assert got.trial_ids == given.trial_ids
    np.testing.assert_array_equal(got.spikes, given.spikes)
    for z, expected in zip(got.latents_list(), model.encode(given.spikes_list()), strict=True):
        np.testing.assert_allclose(z, expected, atol=1e-5)
    for rates, expected in zip(got.rates_list(), model.decode(got.latents_list()), strict=True):
        np.testing.assert_allclose(rates, expected, rtol=1e-4, atol=1e-6)


def test_a_recording_of_other_units_is_refused(trained, tiny, tmp_path):
    other = simulated_dataset(override(tiny, {"dataset.n_units": 9}), str(tmp_path))
    with pytest.raises(ValueError, match=r"has 9 units, the model was trained on 16"):
        encode_dataset(trained.autoencoder(), other, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
