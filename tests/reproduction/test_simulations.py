"""Real trials of lengths that a simulated dataset has not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ldns_ray.data.shards import load_trialset
from ldns_ray.data.simulation.simulators import SIMULATORS
from ldns_ray.reproduction.simulations import LENGTHS, real_of_length
from ldns_ray.settings import to_dict


def test_they_are_of_the_same_system(trained):
    """Their units fire at the dataset's rates, which differ from unit to unit."""
    dataset, card = trained.experiment.dataset, trained.card
    found = real_of_length(dataset, card, 150, 40)
    assert {x.shape for x in found} == {(150, 16)}
    assert len(found) == 40
    known = load_trialset(trained.data_uri, None, []).spikes.mean(0)
    assert np.corrcoef(np.log(np.concatenate(found).mean(0)), np.log(known))[0, 1] > 0.9


@pytest.mark.parametrize("name", ["lorenz", "speech"])
def test_they_are_none_that_the_dataset_has(trained, name):
    dataset = replace(trained.experiment.dataset, simulator=name, min_bins=30, max_bins=30, n_trials=10)  # fmt: skip
    card = replace(trained.card, provenance={"simulator": to_dict(dataset)})
    lengths = dict.fromkeys(LENGTHS[name], 30)
    draw = partial(SIMULATORS[name].draw, n_units=dataset.n_units, seed=dataset.seed, **lengths)
    whole = [trial.spikes for trial in draw(10)]
    found = real_of_length(dataset, card, 30, 10)
    assert {x.shape for x in found} == {x.shape for x in whole} == {(30, 16)}
    assert not any(np.array_equal(a, b) for a in found for b in whole)


def test_there_are_none_of_other_datasets(trained):
    dataset = trained.experiment.dataset
    assert real_of_length(replace(dataset, seed=7), trained.card, 20, 4) == []
    assert real_of_length(replace(dataset, simulator="lorenz"), trained.card, 20, 4) == []
