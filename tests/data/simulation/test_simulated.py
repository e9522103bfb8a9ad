"""Simulated datasets, made once."""

import json
from pathlib import Path

import pytest

from ldns_ray.data.shards import read_card, verify_dataset
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.settings import override
from tests.pipelines import files


@pytest.mark.parametrize("simulator", ["lorenz", "speech", "reach"])
def test_simulated_datasets_follow_their_settings(tiny, tmp_path, simulator):
    e = override(tiny, {"dataset.simulator": simulator, "dataset.min_bins": 60})
    uri = simulated_dataset(e, str(tmp_path))
    card = read_card(uri)
    assert (card.n_trials, card.n_units, card.min_bins, card.max_bins) == (24, 16, 60, 60)
    before = files(tmp_path)
    assert simulated_dataset(e, str(tmp_path)) == uri
    assert files(tmp_path) == before
    assert simulated_dataset(override(e, {"dataset.seed": 1}), str(tmp_path)) != uri


def test_what_is_damaged_or_of_another_release_is_simulated_again(tiny, tmp_path):
    uri = Path(simulated_dataset(tiny, str(tmp_path)))
    card = read_card(uri)
    (uri / card.shards[0]["file"]).unlink()
    simulated_dataset(tiny, str(tmp_path))
    assert verify_dataset(uri) == card
    content = json.loads((uri / "dataset.json").read_text())
    (uri / "dataset.json").write_text(json.dumps(content | {"schema_version": 1}))
    simulated_dataset(tiny, str(tmp_path))
    assert verify_dataset(uri) == card
