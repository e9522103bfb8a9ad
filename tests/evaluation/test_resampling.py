"""Halves are disjoint and of equal size, resamples keep them apart, intervals hold what they should."""

import numpy as np
import pytest

from ldns_ray.evaluation.resampling import (
    HALVINGS_PER_RESAMPLE,
    halvings,
    interval,
    measured,
    resampled_halvings,
)
from ldns_ray.evaluation.score import realism
from ldns_ray.evaluation.statistics import summarise


@pytest.mark.parametrize(("n_reference", "n_sampled", "size"), [(20, 50, 10), (21, 50, 10), (20, 4, 4), (2, 1, 1)])  # fmt: skip
def test_halves_are_disjoint_and_subsets_are_as_large(n_reference, n_sampled, size):
    for h in halvings(n_reference, n_sampled, seed=3, n_splits=7):
        assert h.a_S.sum() == n_reference // 2
        assert h.b_S.sum() == h.subset_S.sum() == size
        assert not (h.a_S * h.b_S).any()
        assert set(np.unique([*h.a_S, *h.b_S, *h.subset_S])) <= {0, 1}


def test_halvings_are_keyed_by_seed_and_number():
    few, many = (halvings(30, 30, seed=1, n_splits=n) for n in (2, 5))
    others = halvings(30, 30, seed=2, n_splits=2)
    for a, b, c in zip(few, many, others, strict=False):
        np.testing.assert_array_equal(a.a_S, b.a_S)
        np.testing.assert_array_equal(a.subset_S, b.subset_S)
        assert (a.a_S != c.a_S).any()
    assert (many[0].a_S != many[1].a_S).any()


def test_a_resample_puts_a_trial_in_one_half_however_often_it_holds_it():
    resamples = list(resampled_halvings(24, 40, seed=0, n_resamples=6))
    assert [len(halves) for halves in resamples] == [HALVINGS_PER_RESAMPLE] * 6
    for halves in resamples:
        times_S = halves[0].a_S + halves[0].b_S
        assert times_S.sum() == 24
        assert times_S.max() > 1
        for h in halves:
            assert not (h.a_S * h.b_S).any()
            np.testing.assert_array_equal(h.a_S + h.b_S, times_S)


@pytest.mark.parametrize("n", [2, 3])
def test_resamples_of_few_trials_are_never_empty(n):
    for halves in resampled_halvings(n, 1, seed=0, n_resamples=30):
        for h in halves:
            assert min(h.a_S.sum(), h.b_S.sum(), h.subset_S.sum()) > 0


def test_what_is_measured_does_not_depend_on_how_many_are_pooled_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = (summarise(rng.poisson(0.3, (12, 20, 4))) for _ in range(2))
    drawn = halvings(12, 12, seed=0, n_splits=9)

    def distances(x, y):
        return [float(np.abs(x.spikes_N - y.spikes_N).sum()), float(np.abs(x.gram_NN - y.gram_NN).max())]  # fmt: skip

    whole = measured(a, b, distances, drawn)
    monkeypatch.setattr("ldns_ray.evaluation.resampling._POOLED_AT_ONCE", 2)
    np.testing.assert_array_equal(whole, measured(a, b, distances, drawn))
    assert whole[0].shape == (9, 2)


def test_an_interval_is_centred_on_the_value_and_as_wide_as_the_resamples():
    resampled = np.exp(np.linspace(-1, 1, 1001) + 5)
    low, high = interval(2.0, resampled)
    assert (low, high) == pytest.approx((2 * np.exp(-0.95), 2 * np.exp(0.95)))


def population(seed, n_trials, gain=1.0):
    rng = np.random.default_rng(seed)
    drive = rng.gamma(2.0, 0.5, (n_trials, 4, 1)).repeat(10, axis=1)
    return rng.poisson(gain * drive * np.linspace(0.1, 0.5, 6))


def test_the_interval_of_the_score_covers_one_where_samples_are_as_the_data():
    """Of 30 pairs of sets from one process, 95 % should; 25 or fewer would happen once in a hundred."""
    results = [
        realism(population(2 * k, 60), population(2 * k + 1, 60), 0.005, seed=k, n_resamples=30)
        for k in range(30)
    ]
    holds = [r.interval[0] <= 1 <= r.interval[1] for r in results]
    assert sum(holds) > 25
    assert np.median([r.interval[1] / r.interval[0] for r in results]) < 4


def test_a_defect_leaves_the_interval():
    found = realism(population(1, 300), population(2, 300, gain=1.3), 0.005, n_resamples=30)
    assert found.interval[0] > 1
    assert found.interval[0] < found.score < found.interval[1]
    assert realism(population(1, 40), population(2, 40), 0.005).interval is None
