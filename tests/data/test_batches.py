from __future__ import annotations

import numpy as np
import pytest
import torch

from ldns_ray.data.batches import TrialSet, epoch_batches, trials_of
from ldns_ray.data.schema import Trial


def ragged(lengths: list[int], n_units: int = 3, seed: int = 0) -> list[Trial]:
    rng = np.random.default_rng(seed)
    return [
        Trial(
            spikes=rng.poisson(2.0, (n, n_units)).astype(np.uint8) + 1,
            trial_id=f"t{i}",
            session=f"s{i % 2}",
            split="train",
            covariates={"vel": rng.normal(size=(n, 2)).astype(np.float32)},
            conditions={"angle": rng.normal(size=2).astype(np.float32)},
            latents=rng.normal(size=(n, 4)).astype(np.float32),
            rates=rng.uniform(size=(n, n_units)).astype(np.float32),
        )
        for i, n in enumerate(lengths)
    ]


def test_batch_equals_padding_by_hand() -> None:
    trials = ragged([5, 2, 7, 3])
    batch = TrialSet.from_trials(trials, 0.01).batch([3, 0, 0])
    assert batch.spikes_BTN.shape == (3, 5, 3)
    assert batch.spikes_BTN.dtype == torch.float32
    assert batch.mask_BT is not None
    assert batch.latents_BTD is not None
    for row, i in enumerate([3, 0, 0]):
        n = trials[i].n_bins
        columns = [
            (batch.spikes_BTN, trials[i].spikes),
            (batch.covariates["vel"], trials[i].covariates["vel"]),
            (batch.latents_BTD, trials[i].latents),
        ]
        for got, wanted in columns:
            assert wanted is not None
            np.testing.assert_array_equal(got[row, :n].numpy(), wanted)
            assert not got[row, n:].any()
        assert batch.mask_BT[row].tolist() == [t < n for t in range(5)]
        np.testing.assert_array_equal(batch.conditions["angle"][row], trials[i].conditions["angle"])
    assert batch.n_bins_B.tolist() == [3, 5, 5]
    assert batch.index_B.tolist() == [3, 0, 0]
    assert len(batch) == 3


def test_mask_is_none_without_padding() -> None:
    trials = TrialSet.from_trials(ragged([4, 4, 6]), 0.01)
    assert trials.batch([0, 1]).mask_BT is None
    padded = trials.batch([0, 1], pad_to=6)
    assert padded.mask_BT is not None
    assert padded.mask_BT.sum() == 8
    assert padded.spikes_BTN.shape == (2, 6, 3)
    with pytest.raises(ValueError, match="pad_to must be at least the longest trial, 6, got 5"):
        trials.batch([2], pad_to=5)


def test_batch_of_no_trials_is_empty() -> None:
    batch = TrialSet.from_trials(ragged([4, 5]), 0.01).batch(np.array([], np.int64), pad_to=5)
    assert batch.spikes_BTN.shape == (0, 5, 3)
    assert len(batch) == 0


def test_batch_does_not_share_memory_with_the_set() -> None:
    trials = TrialSet.from_trials(ragged([4, 4]), 0.01)
    before = trials.latents_list()[0].copy()
    batch = trials.batch([0])
    assert batch.latents_BTD is not None
    batch.latents_BTD.zero_()
    batch.conditions["angle"].zero_()
    np.testing.assert_array_equal(trials.latents_list()[0], before)
    assert trials.conditions["angle"][0].any()


def test_batch_moves_whole() -> None:
    batch = TrialSet.from_trials(ragged([4, 5]), 0.01).batch([0, 1]).to("meta")
    assert batch.mask_BT is not None
    tensors = [batch.spikes_BTN, batch.mask_BT, batch.n_bins_B, batch.latents_BTD, batch.index_B]
    tensors += [*batch.covariates.values(), *batch.conditions.values()]
    assert {str(x.device) for x in tensors if x is not None} == {"meta"}


def test_large_counts_reach_the_batch() -> None:
    trial = Trial(np.array([[60000, 1]], np.uint16), "a", "s", "train")
    assert TrialSet.from_trials([trial], 1.0).batch([0]).spikes_BTN.tolist() == [[[60000.0, 1.0]]]


def test_set_gives_back_its_trials() -> None:
    trials = ragged([5, 2, 7])
    together = TrialSet.from_trials(trials, 0.01)
    assert (len(together), together.n_units, together.dense) == (3, 3, False)
    assert TrialSet.from_trials(trials[:1] * 1, 0.01).dense
    for view, trial in zip(together.spikes_list(), trials, strict=True):
        np.testing.assert_array_equal(view, trial.spikes)
        assert np.shares_memory(view, together.spikes)
    back = trials_of(together, ["train", "val", "test"])
    assert [trial.split for trial in back] == ["train", "val", "test"]
    np.testing.assert_array_equal(back[2].rates, trials[2].rates)
    with pytest.raises(ValueError, match="split must be one of"):
        trials_of(together, "all")


def test_subset_keeps_order_and_content() -> None:
    trials = ragged([5, 2, 7, 3])
    some = TrialSet.from_trials(trials, 0.01).subset([2, 0])
    assert some.trial_ids == ["t2", "t0"]
    assert some.sessions == ["s0", "s0"]
    np.testing.assert_array_equal(some.covariates_list("vel")[0], trials[2].covariates["vel"])
    np.testing.assert_array_equal(some.rates_list()[1], trials[0].rates)
    np.testing.assert_array_equal(some.conditions["angle"][1], trials[0].conditions["angle"])


def test_set_says_what_it_lacks() -> None:
    trials = TrialSet.from_trials([Trial(np.ones((2, 1), np.uint8), "a", "s", "train")], 1.0)
    with pytest.raises(ValueError, match="no latents"):
        trials.latents_list()
    with pytest.raises(ValueError, match=r"no covariate 'vel'; there are: \[\]"):
        trials.covariates_list("vel")
    with pytest.raises(ValueError, match="at least 1 trial"):
        TrialSet.from_trials([], 1.0)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_trial_once_and_the_same_global_batches(dense: bool, world_size: int) -> None:
    n_bins = np.full(101, 7) if dense else np.random.default_rng(0).integers(5, 50, 101)
    alone = epoch_batches(n_bins, 10, seed=1, epoch=2)
    assert [len(batch) for batch in alone] == [10] * 10 + [1]
    ranks = [
        epoch_batches(n_bins, 10, seed=1, epoch=2, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    for step, batch in enumerate(alone):
        together = np.concatenate([rank[step] for rank in ranks])
        assert sorted(together.tolist()) == sorted(batch.tolist())
    assert sorted(np.concatenate(alone).tolist()) == list(range(101))
    assert {len(rank) for rank in ranks} == {11}


def test_batches_follow_seed_and_epoch() -> None:
    n_bins = np.full(40, 7)

    def first(seed: int, epoch: int) -> list[int]:
        return [int(i) for i in epoch_batches(n_bins, 40, seed=seed, epoch=epoch)[0]]

    assert first(1, 2) == first(1, 2)
    assert len({tuple(first(s, e)) for s, e in [(1, 2), (1, 3), (2, 2), (2, 1)]}) == 4
    plain = epoch_batches(n_bins, 16, seed=1, epoch=2, shuffle=False)
    assert np.concatenate(plain).tolist() == list(range(40))


def test_bucketing_cuts_padding() -> None:
    n_bins = np.random.default_rng(0).integers(100, 513, 1000)

    def padded(batches: list[np.ndarray]) -> float:
        return sum(len(b) * n_bins[b].max() for b in batches) / n_bins.sum()

    random = padded(np.array_split(np.random.default_rng(1).permutation(1000), 40))
    bucketed = padded(epoch_batches(n_bins, 25, seed=0, epoch=0))
    assert random > 1.5
    assert bucketed < 1.2
    # Batches do not come in order of length.
    means = [n_bins[b].mean() for b in epoch_batches(n_bins, 25, seed=0, epoch=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_bad_batch_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        epoch_batches(np.ones(3), 0, seed=0, epoch=0)
    with pytest.raises(ValueError, match="rank must be in 0 … 1, got 2"):
        epoch_batches(np.ones(3), 1, seed=0, epoch=0, rank=2, world_size=2)
