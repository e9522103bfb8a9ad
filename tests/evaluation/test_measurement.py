"""Distances are measured the same way for all, and intervals hold what they should."""

import numpy as np
import pytest

from ldns_ray.evaluation.measurement import Estimate, centred_interval, measured
from ldns_ray.evaluation.resampling import halvings, subsets
from ldns_ray.evaluation.score import realism
from ldns_ray.evaluation.statistics import summarise


def counts(n_trials, seed):
    return summarise(np.random.default_rng(seed).poisson(0.3, (n_trials, 20, 4)))


def distances(x, y):
    return {
        "spikes": 1 + float(np.abs(x.spikes_N - y.spikes_N).sum()),
        "products": 1 + float(np.abs(x.gram_NN - y.gram_NN).max()),
    }


def test_a_measurement_is_its_halvings_one_by_one():
    reference, sampled = counts(12, 0), counts(9, 1)
    (found,) = measured(reference, [sampled], distances, seed=4, n_splits=3)
    drawn = zip(halvings(12, 6, 4, 3), subsets(9, 6, 4, 3), strict=True)
    for i, (h, subset_S) in enumerate(drawn):
        a, b = reference.pool([h.a_S, h.b_S])
        (c,) = sampled.pool([subset_S])
        assert {k: x[i] for k, x in found.distances.items()} == distances(a, c)
        assert {k: x[i] for k, x in found.floors.items()} == distances(a, b)
        assert found.ratios("spikes")[i] == distances(a, c)["spikes"] / distances(a, b)["spikes"]
    assert found.resampled is None


def test_a_candidate_is_measured_the_same_beside_others():
    reference = counts(12, 0)
    candidates = [counts(n, seed) for seed, n in enumerate((12, 3, 30, 3), 1)]
    options = {"seed": 0, "n_splits": 4, "n_resamples": 3}
    together = measured(reference, candidates, distances, **options)
    for candidate, found in zip(candidates, together, strict=True):
        (alone,) = measured(reference, [candidate], distances, **options)
        for a, b in ((alone, found), (alone.resampled, found.resampled)):
            for name in ("spikes", "products"):
                np.testing.assert_array_equal(a.distances[name], b.distances[name])
                np.testing.assert_array_equal(a.floors[name], b.floors[name])
        assert found.distances["spikes"].shape == (4,)
        assert found.resampled.distances["spikes"].shape == (3, 5)


def test_candidates_of_any_number_have_the_same_reference_in_a_resample():
    """With a distance that is of the reference alone, scores of 40 and of 70 samples rise and fall together."""
    reference = counts(40, 0)

    def of_reference(a, _):
        return {"spikes": float(a.spikes_N.sum())}

    first, second = measured(
        reference, [counts(40, 1), counts(70, 2)], of_reference, seed=0, n_splits=3, n_resamples=8
    )
    first_QH, second_QH = (x.resampled.distances["spikes"] for x in (first, second))
    assert len(np.unique(first_QH)) > 8
    np.testing.assert_array_equal(first_QH, second_QH)


def test_what_is_measured_does_not_depend_on_how_many_are_pooled_at_once(monkeypatch):
    a, b = counts(12, 0), counts(12, 1)
    (whole,) = measured(a, [b], distances, seed=0, n_splits=9)
    monkeypatch.setattr("ldns_ray.evaluation.measurement._POOLED_AT_ONCE", 2)
    (parts,) = measured(a, [b], distances, seed=0, n_splits=9)
    for name, x_I in whole.distances.items():
        np.testing.assert_array_equal(x_I, parts.distances[name])
        np.testing.assert_array_equal(whole.floors[name], parts.floors[name])


def test_an_interval_is_centred_on_the_value_and_as_wide_as_the_resamples():
    resampled = np.exp(np.linspace(-1, 1, 1001) + 5)
    low, high = centred_interval(2.0, resampled)
    assert (low, high) == pytest.approx((2 * np.exp(-0.95), 2 * np.exp(0.95)))


def test_a_ratio_of_paired_figures_is_only_as_wide_as_what_they_do_not_share():
    shared_Q = np.exp(np.linspace(-1, 1, 101))
    own_Q = np.exp(0.1 * np.random.default_rng(0).normal(size=101))
    first, second = Estimate(2.0, shared_Q), Estimate(3.0, 7 * shared_Q * own_Q)
    ratio = second.over(first)
    assert ratio.value == 1.5
    assert ratio.interval == pytest.approx(centred_interval(1.5, own_Q))
    assert Estimate(2.0, None).interval is None
    assert second.over(Estimate(2.0, None)).interval is None


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
