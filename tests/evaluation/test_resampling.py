"""Halves are disjoint and of equal size, and resamples keep them apart."""

import numpy as np
import pytest

from ldns_ray.evaluation.resampling import (
    HALVINGS_PER_RESAMPLE,
    common_size,
    halvings,
    resampled_halvings,
    resampled_subsets,
    subsets,
)


@pytest.mark.parametrize(("n_reference", "n_sampled", "size"), [(20, 50, 10), (21, 50, 10), (20, 4, 4), (2, 1, 1)])  # fmt: skip
def test_halves_are_disjoint_and_subsets_are_as_large(n_reference, n_sampled, size):
    assert common_size(n_reference, n_sampled) == size
    of_reference = halvings(n_reference, size, seed=3, n_splits=7)
    of_samples = subsets(n_sampled, size, seed=3, n_splits=7)
    assert len(of_reference) == len(of_samples) == 7
    for h, subset_S in zip(of_reference, of_samples, strict=True):
        assert h.a_S.sum() == n_reference // 2
        assert h.b_S.sum() == subset_S.sum() == size
        assert not (h.a_S * h.b_S).any()
        assert set(np.unique([*h.a_S, *h.b_S, *subset_S])) <= {0, 1}


def test_halvings_are_keyed_by_seed_and_number():
    few, many = (halvings(30, 15, seed=1, n_splits=n) for n in (2, 5))
    others = halvings(30, 15, seed=2, n_splits=2)
    for a, b, c in zip(few, many, others, strict=False):
        np.testing.assert_array_equal(a.a_S, b.a_S)
        assert (a.a_S != c.a_S).any()
    assert (many[0].a_S != many[1].a_S).any()
    few, many = (subsets(30, 15, seed=1, n_splits=n) for n in (2, 5))
    np.testing.assert_array_equal(few, many[:2])
    assert (few[0] != few[1]).any()


def test_a_resample_puts_a_trial_in_one_half_however_often_it_holds_it():
    drawn = resampled_halvings(24, 12, seed=0, n_resamples=6)
    assert len(drawn) == len(resampled_subsets(40, 12, seed=0, n_resamples=6)) == 6 * HALVINGS_PER_RESAMPLE  # fmt: skip
    for q in range(6):
        of_resample = drawn[q * HALVINGS_PER_RESAMPLE : (q + 1) * HALVINGS_PER_RESAMPLE]
        times_S = of_resample[0].a_S + of_resample[0].b_S
        assert times_S.sum() == 24
        assert times_S.max() > 1
        for h in of_resample:
            assert not (h.a_S * h.b_S).any()
            np.testing.assert_array_equal(h.a_S + h.b_S, times_S)
        assert any((h.a_S != of_resample[0].a_S).any() for h in of_resample)


def test_resamples_are_keyed_by_seed_and_number():
    few, many = (resampled_halvings(24, 12, seed=5, n_resamples=n) for n in (2, 4))
    np.testing.assert_array_equal([h.b_S for h in few], [h.b_S for h in many[: len(few)]])
    other = resampled_halvings(24, 12, seed=6, n_resamples=2)
    assert any((h.b_S != o.b_S).any() for h, o in zip(few, other, strict=True))
    # Neither the samples' own draws nor their number have a part in the reference's.
    assert (resampled_subsets(24, 12, seed=5, n_resamples=1)[0] != few[0].a_S).any()


def test_a_smaller_size_cuts_b_alone():
    drawn = halvings(30, 15, 0, 3) + resampled_halvings(30, 15, 0, 3)
    cut = halvings(30, 6, 0, 3) + resampled_halvings(30, 6, 0, 3)
    for whole, part in zip(drawn, cut, strict=True):
        np.testing.assert_array_equal(whole.a_S, part.a_S)
        assert part.b_S.sum() < whole.b_S.sum()
        assert (part.b_S <= whole.b_S).all()


@pytest.mark.parametrize("n", [2, 3])
def test_resamples_of_few_trials_are_never_empty(n):
    drawn = zip(
        resampled_halvings(n, 1, seed=0, n_resamples=30),
        resampled_subsets(1, 1, seed=0, n_resamples=30),
        strict=True,
    )
    for h, subset_S in drawn:
        assert min(h.a_S.sum(), h.b_S.sum(), subset_S.sum()) > 0
