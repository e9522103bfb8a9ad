"""Sequences of trial sets: the same trials in the same order in other sets; mixed within a buffer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.regrouping import joined, mixed, regrouped, stretch
from tests.data.datasets import ragged

WHOLE = TrialSet.from_trials(ragged(50), bin_width_s=0.01)


def pieces(sizes: list[int]) -> Iterator[TrialSet]:
    start = 0
    for n in sizes:
        yield stretch(WHOLE, start, start + n)
        start += n


def assert_same(got: TrialSet, wanted: TrialSet) -> None:
    assert got.trial_ids == wanted.trial_ids
    assert got.sessions == wanted.sessions
    np.testing.assert_array_equal(got.n_bins_S, wanted.n_bins_S)
    np.testing.assert_array_equal(got.spikes, wanted.spikes)
    np.testing.assert_array_equal(got.covariates["vel"], wanted.covariates["vel"])
    np.testing.assert_array_equal(got.conditions["angle"], wanted.conditions["angle"])
    assert got.latents is not None
    assert got.rates is not None
    np.testing.assert_array_equal(got.latents, wanted.latents)
    np.testing.assert_array_equal(got.rates, wanted.rates)


def test_a_stretch_is_a_subset_without_a_copy() -> None:
    assert_same(stretch(WHOLE, 7, 19), WHOLE.subset(range(7, 19)))
    assert np.shares_memory(stretch(WHOLE, 7, 19).spikes, WHOLE.spikes)
    assert len(stretch(WHOLE, 50, 50)) == 0


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [20, 0, 7, 23], [3, 40, 7]])
@pytest.mark.parametrize("wanted", [[50], [1] * 50, [8] * 7, [30, 1, 19, 5]])
def test_regrouped_trials_stay_in_order(sizes: list[int], wanted: list[int]) -> None:
    sets = list(regrouped(pieces(sizes), wanted))
    assert_same(joined(sets), WHOLE)
    full = [len(s) for s in sets[:-1]]
    assert full == wanted[: len(full)]
    assert len(sets[-1]) <= wanted[len(full)]


def test_no_more_is_taken_than_needed() -> None:
    source = pieces([10] * 5)
    sets = regrouped(source, [10, 5, 20])
    assert len(next(sets)) == 10
    assert len(next(sets)) == 5
    assert [len(rest) for rest in source] == [10, 10, 10]


def order(n_buffer: int, seed: int, sizes: list[int]) -> list[int]:
    sets = mixed(pieces(sizes), n_buffer, np.random.default_rng(seed))
    return [WHOLE.trial_ids.index(name) for s in sets for name in s.trial_ids]


@pytest.mark.parametrize("n_buffer", [1, 7, 20, 50, 200])
def test_mixed_trials_are_all_there(n_buffer: int) -> None:
    sets = list(mixed(pieces([20, 30]), n_buffer, np.random.default_rng(0)))
    got = joined(sets)
    assert_same(got.subset(np.argsort(got.trial_ids)), WHOLE)


def test_the_order_is_decided_by_the_generator_alone() -> None:
    first = order(20, 3, [50])
    assert first == order(20, 3, [1] * 50) == order(20, 3, [9, 41])
    assert first != order(20, 4, [50])


def test_mixing_reaches_as_far_as_the_buffer() -> None:
    """A trial leaves with the set that comes after it at the earliest: nobody is early by more than a buffer."""
    got = order(10, 0, [50])
    assert max(i - place for place, i in enumerate(got)) <= 10
    assert len({abs(i - place) for place, i in enumerate(got)}) > 5
    everywhere = np.array([order(100, seed, [50])[0] for seed in range(40)])
    assert everywhere.min() < 10
    assert everywhere.max() > 40
