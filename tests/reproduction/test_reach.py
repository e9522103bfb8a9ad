"""Samples with the spikes of another observation model."""

from dataclasses import replace

import numpy as np
import pytest

from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.models.ldns import LDNS
from ldns_ray.reproduction.reach import observed_again
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.stages import model_fingerprint

pytestmark = pytest.mark.usefixtures("one_thread")


def test_they_are_those_that_the_other_model_samples(sampler_uri, tmp_path):
    """One model with a spike history, and the same without."""
    poisson = str(tmp_path / "poisson")
    replace(LDNS.load(sampler_uri), observation=None).save(poisson)
    places = {name: str(tmp_path / name) for name in ("history", "expected", "again")}
    for model, place in ((sampler_uri, "history"), (poisson, "expected")):
        sample_dataset(model, places[place], 70, sampler="ddim", n_steps=2, seed=3)
    observed_again(poisson, places["history"], places["again"], seed=3)
    history, expected, found = (load_trialset(uri) for uri in places.values())
    np.testing.assert_array_equal(found.spikes, expected.spikes)
    assert (found.spikes != history.spikes).any()
    np.testing.assert_array_equal(found.latents, expected.latents)
    np.testing.assert_array_equal(found.rates, expected.rates)
    np.testing.assert_array_equal(found.conditions["angle"], expected.conditions["angle"])
    provenance = read_card(places["again"]).provenance
    assert provenance["model_fingerprint"] == model_fingerprint(poisson)
    assert provenance["sampler"] == "ddim"
