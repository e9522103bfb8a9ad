"""Passes over a split: every trial once, in an order that (seed, epoch) decides, whoever reads."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from ldns_ray.data import shards, streaming
from ldns_ray.data.batches import Batch, epoch_batches
from ldns_ray.data.streaming import Stream, ahead, batches
from tests.data.datasets import ragged, write

COLUMNS = ["spikes", "condition:angle", "covariate:vel", "latents"]
N_TRAIN = 40


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Forty training trials among twenty others, in many shards, read a few at a time, mixed in a small buffer."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(streaming, "SHUFFLE_BYTES", 0)
    monkeypatch.setattr(streaming, "SHUFFLE_BATCHES", 2)
    card = write(ragged(60), tmp_path / "d", shard_bytes=4000)
    assert len(card.shards) > 5
    return str(tmp_path / "d")


def names(groups: object) -> list[list[str]]:
    return [[] if g is None else g.trial_ids for g in groups]  # type: ignore[attr-defined]


def epoch(stream: Stream, number: int | None, seed: int = 1, **worker: int) -> list[list[str]]:
    return names(stream.groups(8, seed=seed, epoch=number, **worker))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_every_trial_comes_once_whatever_the_workers(uri: str, world_size: int) -> None:
    """Groups have the sizes that resident trials are cut into: 40 trials in batches of 8 over 1, 2, 3, 7 workers."""
    stream = Stream(uri, "train", COLUMNS)
    wanted = sorted(t.trial_id for t in ragged(60) if t.split == "train")
    for number in (None, 0, 1):
        groups = [epoch(stream, number, rank=r, world_size=world_size) for r in range(world_size)]
        assert sorted(name for mine in groups for group in mine for name in group) == wanted
        for rank, mine in enumerate(groups):
            resident = epoch_batches(
                np.ones(N_TRAIN), 8, seed=1, epoch=0, rank=rank, world_size=world_size
            )
            assert [len(group) for group in mine] == [len(share) for share in resident]


def test_more_workers_than_trials(uri: str) -> None:
    stream = Stream(uri, "train", COLUMNS)
    mine = [list(stream.groups(8, rank=r, world_size=50)) for r in range(50)]
    assert {len(groups) for groups in mine} == {5}
    assert [sum(g is not None for g in groups) for groups in mine] == [5] * 8 + [0] * 42


def test_the_order_follows_from_seed_and_epoch(uri: str) -> None:
    stream = Stream(uri, "train", COLUMNS)
    again = Stream(uri, "train", COLUMNS)
    assert epoch(stream, 3) == epoch(again, 3)
    for worker in ({}, {"rank": 1, "world_size": 2}):
        orders = [epoch(stream, n, seed, **worker) for seed, n in ((1, 0), (1, 1), (2, 0))]
        assert orders[0] != orders[1] != orders[2] != orders[0]
    written = epoch(stream, None)
    assert sum(written, []) == sorted(sum(written, []))


def test_shards_come_in_another_order(uri: str) -> None:
    """Not only are trials mixed in a buffer: an epoch can begin with the last of them."""
    stream = Stream(uri, "train", COLUMNS)
    firsts = {sum(epoch(stream, n), [])[0] for n in range(20)}
    assert min(firsts) < "t015"
    assert max(firsts) > "t045"


def contents(got: list[Batch]) -> list[list[np.ndarray]]:
    return [
        [b.spikes_BTN.numpy(), b.n_bins_B.numpy(), b.index_B.numpy(), b.conditions["angle"].numpy(),
         b.covariates["vel"].numpy(), b.latents_BTD.numpy()]  # type: ignore[union-attr]
        for b in got
    ]  # fmt: skip


@pytest.mark.parametrize("world_size", [1, 3])
def test_ray_reads_what_this_process_reads(ray_session: None, uri: str, world_size: int) -> None:
    for rank in range(world_size):
        both = []
        for through_ray in (False, True):
            stream = Stream(uri, "train", COLUMNS, through_ray)
            groups = stream.groups(8, seed=1, epoch=0, rank=rank, world_size=world_size)
            both.append(contents(list(batches(groups, stream.blank()))))
        assert len(both[0]) == len(both[1]) == 5
        for here, there in zip(*both, strict=True):
            for a, b in zip(here, there, strict=True):
                np.testing.assert_array_equal(a, b)


def test_batches_hold_the_trials(uri: str) -> None:
    """Each trial's arrays, zeros outside, its place in the pass; nothing but what was asked for."""
    stream = Stream(uri, "train", ["spikes", "condition:angle"])
    trials = {t.trial_id: t for t in ragged(60)}
    ids = sum(epoch(stream, 0), [])
    got = list(batches(stream.groups(8, seed=1, epoch=0), stream.blank()))
    assert np.concatenate([b.index_B for b in got]).tolist() == list(range(N_TRAIN))
    assert got[0].latents_BTD is None
    assert got[0].covariates == {}
    rows = iter(ids)
    for batch in got:
        for i, n in enumerate(batch.n_bins_B.tolist()):
            trial = trials[next(rows)]
            np.testing.assert_array_equal(batch.spikes_BTN[i, :n], trial.spikes)
            assert not batch.spikes_BTN[i, n:].any()
            np.testing.assert_array_equal(batch.conditions["angle"][i], trial.conditions["angle"])


def test_a_worker_without_a_trial_has_one_that_counts_nothing(uri: str) -> None:
    stream = Stream(uri, "train", COLUMNS)
    (batch, *_) = batches(stream.groups(8, seed=1, epoch=0, rank=9, world_size=10), stream.blank())
    assert batch.mask_BT is not None
    assert batch.mask_BT.shape == (1, 1)
    assert not batch.mask_BT.any()
    assert batch.spikes_BTN.shape == (1, 1, 5)
    assert batch.latents_BTD is not None
    assert batch.latents_BTD.shape == (1, 1, 3)
    assert batch.covariates["vel"].shape == (1, 1, 2)
    assert batch.conditions["angle"].shape == (1, 2)
    latents = Stream(uri, "train", ["latents"]).blank()
    assert latents.spikes.shape == (1, 0)
    assert latents.conditions == {}


@pytest.mark.parametrize("through_ray", [False, True])
def test_loaded_and_shared_trials_are_those_of_the_dataset(
    ray_session: None, uri: str, through_ray: bool
) -> None:
    stream = Stream(uri, "val", COLUMNS, through_ray)
    wanted = shards.load_trialset(uri, "val")
    tables = [stream.materialized().iter_batches(batch_size=None, batch_format="pyarrow")]
    got = streaming.trialset_from_tables(*tables, stream.card) if through_ray else stream.load()
    assert got.trial_ids == wanted.trial_ids
    np.testing.assert_array_equal(got.spikes, wanted.spikes)
    np.testing.assert_array_equal(got.conditions["angle"], wanted.conditions["angle"])
    np.testing.assert_array_equal(got.covariates["vel"], wanted.covariates["vel"])
    assert got.rates is None


def test_all_trials_in_order_so_many_at_a_time(uri: str) -> None:
    sets = list(Stream(uri, "train", ["latents"]).sets(16))
    assert [len(s) for s in sets] == [16, 16, 8]
    wanted = [t for t in ragged(60) if t.split == "train"]
    assert sum((s.trial_ids for s in sets), []) == [t.trial_id for t in wanted]
    for trials in sets:
        assert trials.spikes.shape[1] == 0
    z = [z for s in sets for z in s.latents_list()]
    for got, trial in zip(z, wanted, strict=True):
        np.testing.assert_array_equal(got, trial.latents)


def test_a_missing_split_is_told_before_anything_is_read(uri: str) -> None:
    with pytest.raises(ValueError, match="has no split 'test'; there are: train, val"):
        Stream(uri, "test", COLUMNS)


def test_a_shard_that_vanished_ends_the_pass(ray_session: None, uri: str) -> None:
    stream = Stream(uri, "train", COLUMNS)
    file = stream.shards[-1].file
    os.remove(f"{uri}/{file}")
    with pytest.raises(FileNotFoundError, match=file):
        list(stream.groups(8, epoch=0))


def test_a_thread_reads_ahead_and_hands_on_errors() -> None:
    made: list[int] = []

    def items() -> object:
        for i in range(6):
            made.append(i)
            yield i
        raise OSError("gone")

    stream = ahead(items(), 2)  # type: ignore[arg-type]
    assert next(stream) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert made == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        list(stream)
    assert made == list(range(6))
