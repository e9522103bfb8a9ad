"""Real trials of lengths that a simulated dataset has not."""

from dataclasses import replace

import numpy as np

from ldns_ray.data.shards import load_trialset
from ldns_ray.reproduction.simulations import real_of_length


def test_they_are_of_the_same_system(trained):
    """Their units fire at the dataset's rates, which differ from unit to unit."""
    dataset, card = trained.experiment.dataset, trained.card
    found = real_of_length(dataset, card, 150, 40)
    assert {x.shape for x in found} == {(150, 16)}
    assert len(found) == 40
    known = load_trialset(trained.data_uri, None, []).spikes.mean(0)
    assert np.corrcoef(np.log(np.concatenate(found).mean(0)), np.log(known))[0, 1] > 0.9


def test_there_are_none_of_other_datasets(trained):
    dataset = trained.experiment.dataset
    assert real_of_length(replace(dataset, seed=7), trained.card, 20, 4) == []
    assert real_of_length(replace(dataset, simulator="lorenz"), trained.card, 20, 4) == []
