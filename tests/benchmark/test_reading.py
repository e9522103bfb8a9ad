"""Every way of reading gives every trial of an epoch, in an order of the epoch."""

import pytest
import torch

from ldns_ray.benchmark import reading as module
from ldns_ray.benchmark.reading import Recording, loader, reading, resident, streamed, tensors
from ldns_ray.data.batches import trials_of
from ldns_ray.data.shards import write_dataset

SMALL = Recording(n_trials=30, n_bins=6, n_units=3, batch_size=8)
WAYS = ("tensors in memory", "resident trials", "DataLoader", "DataLoader, 2 processes",
        "streamed by a thread", "streamed by Ray Data")  # fmt: skip


def epochs_of(trials, folder):
    write_dataset(trials_of(trials, "train"), folder, name="x", bin_width_s=0.005)
    uri = str(folder)
    return (
        tensors(trials, 8), resident(trials, 8), loader(trials, 8, 0), loader(trials, 8, 2),
        streamed(uri, 8, through_ray=False), streamed(uri, 8, through_ray=True),
    )  # fmt: skip


def test_every_way_gives_every_trial(ray_session, tmp_path):
    trials = SMALL.trials()
    wanted = sorted(map(bytes, trials.spikes_list()))
    for way, epoch in zip(WAYS, epochs_of(trials, tmp_path), strict=True):
        orders = []
        for number in range(2):
            batches = list(epoch(number))
            assert [len(batch) for batch in batches] == [8, 8, 8, 6], way
            assert {batch.dtype for batch in batches} == {torch.float32}, way
            orders.append([bytes(x.to(torch.uint8).numpy()) for batch in batches for x in batch])
            assert sorted(orders[-1]) == wanted, way
        assert orders[0] != orders[1], way


def test_the_table(ray_session, monkeypatch):
    rows = reading(SMALL, repeats=1)
    assert tuple(row["way"] for row in rows) == WAYS
    assert rows[0]["extra_s"] == 0
    for row in rows:
        assert row["trials_per_s"] == round(30 / row["epoch_s"])
        assert row["extra_s"] == pytest.approx(row["epoch_s"] - rows[0]["epoch_s"])
    monkeypatch.setattr(module, "installed", lambda *packages: False)
    assert tuple(row["way"] for row in reading(SMALL, repeats=1)) == WAYS[:4]


def test_an_epoch_that_lacks_a_trial_is_no_measurement(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda *packages: False)
    monkeypatch.setattr(module, "resident", lambda trials, size: lambda number: iter(()))
    with pytest.raises(RuntimeError, match="must have 30 trials, got 0"):
        reading(SMALL, repeats=1)
