"""Directions that are left out of a dataset."""

import numpy as np
import pytest

from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.decoding.decoders import degrees
from ldns_ray.reproduction.directions import near, parse_degrees, without_direction
from tests.pipelines import reaches


def unit(angles):
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], 1)


def test_a_sector_of_45_degrees():
    angles = np.array([0.0, 22, 23, 337, 338, 359, 180])
    assert near(unit(angles), 0).tolist() == [True, True, False, False, True, True, False]
    assert near(unit(np.arange(8) * 45.0), 90).tolist() == [i == 2 for i in range(8)]
    assert near(unit(np.array([350.0])), 710).tolist() == [True]


def test_training_and_validation_trials_are_left_out_and_test_trials_stay(tmp_path):
    """Targets are those of trials 0, 1, 2, … in turn: 18 to train, 6 to validate, 6 to test."""
    data, out = reaches(tmp_path), str(tmp_path / "out")
    assert without_direction(data, out, "angle", 90) == {"train": 2, "val": 1}
    sizes = {name: x["n_trials"] for name, x in read_card(out).splits.items()}
    assert sizes == {"train": 16, "val": 5, "test": 6}
    for split in ("train", "val"):
        there = degrees(load_trialset(out, split).conditions["angle"]).round()
        assert 90 not in there
        assert {135, 180, 225} <= set(there)
    kept, given = load_trialset(out), load_trialset(data)
    assert kept.trial_ids == [x for x in given.trial_ids if int(x) % 8 != 2 or int(x) >= 24]
    one, other = kept.trial_ids.index("000003"), given.trial_ids.index("000003")
    np.testing.assert_array_equal(kept.spikes_list()[one], given.spikes_list()[other])
    np.testing.assert_array_equal(
        kept.covariates_list("velocity")[one], given.covariates_list("velocity")[other]
    )
    card, first = read_card(out), read_card(data)
    assert (card.covariates, card.conditions) == (first.covariates, first.conditions)
    assert card.provenance["dataset"] == first.fingerprint


def test_a_direction_that_no_training_trial_has_is_told(tmp_path):
    data = reaches(tmp_path)
    with pytest.raises(ValueError, match="--held-out 67.5 must be the direction of some of the 18 training trials"):  # fmt: skip
        without_direction(data, str(tmp_path / "out"), "angle", 67.5)


def test_degrees_are_read_from_words():
    assert parse_degrees("90,225") == (90, 225)
    assert parse_degrees(" 45.5, ") == (45.5,)


@pytest.mark.parametrize("text", ["", "north", "nan"])
def test_what_is_no_angle_is_refused(text):
    with pytest.raises(ValueError, match=r"angles in degrees.*Example: 90,225"):
        parse_degrees(text)
