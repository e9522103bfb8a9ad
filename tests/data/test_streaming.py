from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ldns_ray.data import shards, streaming
from tests.data.datasets import ragged, write


def test_ray_reads_the_same_trials(ray_session: None, tmp_path: Path) -> None:
    trials = ragged(40)
    card = write(trials[::-1], tmp_path / "d", shard_bytes=4000)
    assert len(card.shards) > 2
    here = shards.load_trialset(tmp_path / "d", "train")
    there = streaming.resident_trialset(tmp_path / "d", "train")
    assert there.trial_ids == here.trial_ids
    assert there.sessions == here.sessions
    np.testing.assert_array_equal(there.spikes, here.spikes)
    np.testing.assert_array_equal(there.covariates["vel"], here.covariates["vel"])
    np.testing.assert_array_equal(there.conditions["angle"], here.conditions["angle"])
    assert streaming.fits_in_object_store(card, "train")
    huge = replace(card, splits={"train": {"n_trials": 1, "n_bins": 10**7}})
    assert not streaming.fits_in_object_store(huge)


def test_streamed_epochs_hold_every_trial_once(ray_session: None, tmp_path: Path) -> None:
    card = write(ragged(60), tmp_path / "d", shard_bytes=4000)
    train = shards.load_trialset(tmp_path / "d", "train")
    stream = shards.read_dataset(tmp_path / "d", "train").materialize()
    orders = []
    for epoch in (0, 0, 1):
        batches = list(streaming.streamed_batches(stream, card, 8, seed=1, epoch=epoch))
        assert [len(batch) for batch in batches] == [8] * 5
        assert np.concatenate([b.index_B for b in batches]).tolist() == list(range(40))
        angles = np.concatenate([b.conditions["angle"].numpy() for b in batches])
        orders.append(angles[:, 0].tolist())
        spikes = sum(float(b.spikes_BTN.sum()) for b in batches)
        assert spikes == train.spikes.sum()
    assert orders[0] == orders[1] != orders[2]
    assert (
        sorted(orders[0]) == sorted(orders[2]) == sorted(train.conditions["angle"][:, 0].tolist())
    )
