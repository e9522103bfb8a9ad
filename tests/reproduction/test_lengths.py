"""Statistics by length, by hand."""

import numpy as np
import pytest

from ldns_ray.evaluation.metrics import kl_psc, rmse_corr, rmse_mean_isi
from ldns_ray.reproduction.lengths import beside, mean_rate, of_lengths, terciles


def test_terciles_hold_a_third_each():
    lengths = np.arange(10, 40)
    bounds = terciles(lengths)
    assert bounds == [(10, 19), (20, 29), (30, 39)]


def test_a_length_that_most_trials_have_is_in_one_third():
    assert terciles(np.array([5, 5, 5, 5, 5, 9])) == [(5, 5), (6, 9)]
    assert terciles(np.array([7, 7])) == [(7, 7)]


def test_trials_of_a_length():
    trials = [np.zeros((n, 2), np.uint8) for n in (3, 5, 8, 5)]
    assert [len(x) for x in of_lengths(trials, 4, 5)] == [5, 5]
    assert of_lengths(trials, 9, 12) == []


def test_rates_by_hand():
    """Six spikes of two units in five bins of 20 ms: 6 / (2 x 0.1 s)."""
    trials = [np.array([[1, 0], [2, 1]]), np.array([[0, 0], [1, 1], [0, 0]])]
    assert mean_rate(trials, 0.02) == pytest.approx(6 / (2 * 0.1))


def test_distances_stand_beside_floors_of_the_same_size():
    rng = np.random.default_rng(0)
    real, other, sampled = (list(rng.poisson(r, (n, 30, 5)).astype(np.uint8)) for n, r in ((6, 0.5), (9, 0.5), (7, 1.0)))  # fmt: skip
    found = beside(real, other, sampled, bin_width_s=0.02, seed=3)
    assert (found["n_trials"], found["n_real"]) == (6, 6)
    assert found["rate_real"] == pytest.approx(mean_rate(real, 0.02))
    assert found["rate_sampled"] == pytest.approx(mean_rate(sampled, 0.02))
    order = np.random.default_rng(3)
    chosen = [sampled[i] for i in order.permutation(7)[:6]]
    known = [other[i] for i in order.permutation(9)[:6]]
    assert found["kl_psc"] == kl_psc(real, chosen)
    assert found["rmse_corr"] == rmse_corr(real, chosen)
    assert found["rmse_mean_isi_floor"] == rmse_mean_isi(real, known, 0.02)
    assert found["kl_psc"] > 3 * found["kl_psc_floor"]


def test_without_trials_there_is_nothing_to_say():
    trials = [np.ones((3, 2), np.uint8)]
    assert beside(trials, [], trials, bin_width_s=0.02, seed=0) is None
