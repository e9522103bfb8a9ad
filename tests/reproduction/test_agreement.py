"""Correlations of statistics, of spikes whose statistics are known."""

import numpy as np
import pytest

from ldns_ray.evaluation.statistics import summarise
from ldns_ray.reproduction.agreement import agreement, beside_ceiling, pearson


def test_pearson_by_hand():
    # Deviations (-1, 0, 1) and (-1, -1, 2): 3 / sqrt(2 * 6).
    assert pearson(np.array([1.0, 2, 3]), np.array([0.0, 0, 3])) == pytest.approx(3 / np.sqrt(12))
    assert pearson(np.array([1.0, np.nan, 2, 3]), np.array([3.0, 9, 2, 1])) == pytest.approx(-1)


@pytest.mark.parametrize("y", [[2.0, 2.0, 2.0], [1.0, np.nan, np.nan]])
def test_without_spread_there_is_no_r(y):
    assert pearson(np.array([1.0, 2, 3]), np.array(y)) is None


def every(*bins, n_bins=40):
    """A trial of units that spike once in every `bins[i]` bins."""
    return np.stack([(np.arange(n_bins) % b == 0) for b in bins], 1).astype(np.uint8)


def test_intervals_that_are_affine_agree():
    """Intervals of 2, 4, 8 bins beside 4, 8, 16: r is 1; all are regular, so their sd tell nothing."""
    a, b = summarise([every(2, 4, 8)]), summarise([every(4, 8, 16, n_bins=80)])
    found = agreement(a, b, 0.01)
    assert found["mean_isi"] == pytest.approx(1)
    assert found["sd_isi"] is None
    reversed_ = agreement(a, summarise([every(16, 8, 4, n_bins=80)]), 0.01)
    assert reversed_["mean_isi"] == pytest.approx(np.corrcoef([2.0, 4, 8], [16.0, 8, 4])[0, 1])


def test_the_zeros_of_the_full_matrix_raise_r():
    """Pairs of correlations 0.68, 0.53, 0.43 beside 0.43, 0.53, 0.68 are opposite; most of the matrix is 0 on both sides."""
    rng = np.random.default_rng(0)

    def trial(order):
        shared = rng.poisson(1.0, (4000, 1))
        own = [rng.poisson(x, (4000, 1)) for x in order]
        return summarise([np.concatenate([shared + x for x in own], 1)])

    found = agreement(trial([0.2, 0.8, 2.0]), trial([2.0, 0.8, 0.2]), 1.0)
    assert found["correlations"] < -0.8
    assert found["correlations_paper"] > 0.5


def test_the_ceiling_is_that_of_equal_sizes():
    """Samples that are real trials reach the ceiling; those of other rates do not."""
    rng = np.random.default_rng(1)
    rates = np.geomspace(0.02, 0.5, 12)
    real, other, good = (list(rng.poisson(rates, (n, 100, 12))) for n in (20, 60, 50))
    bad = list(rng.poisson(rates[::-1], (50, 100, 12)))
    found = beside_ceiling(real, other, good, 0.01, seed=0, n_draws=5)
    assert found["n_trials"] == 20
    for name in ("mean_isi", "sd_isi", "count_density"):
        assert found["sampled"][name] == pytest.approx(found["ceiling"][name], abs=0.1)
        assert found["ceiling"][name] > 0.85
    assert beside_ceiling(real, other, bad, 0.01, seed=0, n_draws=5)["sampled"]["mean_isi"] < 0
    assert beside_ceiling(real, other, good, 0.01, seed=0, n_draws=5) == found


def test_what_has_no_value_in_any_draw_is_none():
    trials = [every(2, 4, 8)] * 4
    found = beside_ceiling(trials, trials, trials, 0.01, seed=0, n_draws=3)
    assert found["ceiling"]["sd_isi"] is None
    assert found["ceiling"]["mean_isi"] == pytest.approx(1)
