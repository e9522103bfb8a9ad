"""Which dataset a result is made of."""

import pytest

from ldns_ray.config import experiment
from ldns_ray.data.shards import read_card
from ldns_ray.reproduction.recordings import RECORDINGS, dataset_of, settings_of


def of(result, root, data=None, recording=None):
    return dataset_of(result, experiment(f"{result}_small"), str(root), data=data, recording=recording)  # fmt: skip


def test_a_dataset_is_taken_as_it_is(tmp_path):
    assert of("reach", tmp_path, data="s3://bucket/maze") == "s3://bucket/maze"


def test_without_a_recording_the_way_to_one_is_told(tmp_path):
    for result, recording in RECORDINGS.items():
        with pytest.raises(ValueError, match=rf"{result} needs a recording, got none.*{recording.file}.*--data DATASET"):  # fmt: skip
            of(result, tmp_path)


def test_both_are_one_too_many(tmp_path):
    with pytest.raises(ValueError, match="not both; got a and b.npz"):
        of("reach", tmp_path, data="a", recording="b.npz")


def test_what_is_simulated_takes_no_recording(tmp_path):
    with pytest.raises(ValueError, match="lorenz is simulated, got --recording a.npz"):
        of("lorenz", tmp_path, recording="a.npz")


def test_a_recording_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="No recording .*nowhere.npz. Give the path or URI of pmd"
    ):
        of("reach", tmp_path, recording=str(tmp_path / "nowhere.npz"))


def test_settings_are_those_of_the_recording_alone():
    assert settings_of("reach_velocity", "m1.npz") == {
        "observation.kind": "poisson", "autoencoder.smoothness_penalty": 0.002
    }  # fmt: skip
    assert settings_of("reach_velocity", None) == {}
    assert settings_of("lorenz", None) == {}
    for result, recording in RECORDINGS.items():
        experiment(f"{result}_small", **recording.settings)


def test_premotor_cortex(shared_data, tmp_path):
    """Even over targets, and the same again."""
    file = str(shared_data / RECORDINGS["reach"].file)
    uri = of("reach", tmp_path, recording=file)
    card = read_card(uri)
    assert {name: x["n_trials"] for name, x in card.splits.items()} == {
        "train": 437,
        "val": 146,
        "test": 145,
    }
    assert (card.n_units, card.min_bins, card.bin_width_s) == (97, 140, 0.005)
    assert set(card.conditions) == {"angle", "target"}
    assert of("reach_angle", tmp_path, recording=file) == uri
    assert read_card(uri).fingerprint == card.fingerprint


def test_motor_cortex(shared_data, tmp_path):
    card = read_card(
        of(
            "reach_velocity",
            tmp_path,
            recording=str(shared_data / RECORDINGS["reach_velocity"].file),
        )
    )
    assert (card.n_trials, card.n_units, card.min_bins, card.max_bins) == (1456, 95, 19, 29)
    assert card.covariates["velocity"]["size"] == 2
