"""Movements in another time, and in a mirror."""

import numpy as np
import pytest

from ldns_ray.reproduction.warping import NEW_MOVEMENTS, mirrored, warped


def smooth(n_bins=40):
    t = (np.arange(n_bins) + 0.5) / n_bins
    return np.stack([np.sin(np.pi * t) ** 2, -2 * np.sin(np.pi * t) ** 2], 1).astype(np.float32)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2])
def test_the_path_ends_where_it_did(factor):
    velocity = smooth()
    found = warped(velocity, factor)
    assert found.shape == (round(40 * factor), 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), velocity.sum(0), rtol=0.01)
    np.testing.assert_allclose(found.max(0)[0], velocity.max(0)[0] / factor, rtol=0.01)


def test_by_hand():
    """Twice the time: middles of new bins lie a quarter of an old bin before and after those of the old."""
    found = warped(np.array([[0.0], [4.0]]), 2)
    np.testing.assert_allclose(found, [[0.0], [0.5], [1.5], [2.0]])
    # Half the time: the middle of the one bin lies between the old ones.
    np.testing.assert_allclose(warped(np.array([[0.0], [4.0]]), 0.5), [[4.0]])


def test_the_factor_is_that_of_whole_bins():
    """3 bins in 1.25 times the time are 4: a constant velocity covers the same way."""
    found = warped(np.full((3, 1), 2.0), 1.25)
    np.testing.assert_allclose(found, np.full((4, 1), 1.5))


def test_in_the_same_time_nothing_changes():
    np.testing.assert_array_equal(warped(smooth(), 1), smooth())


def test_a_factor_must_be_positive():
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        warped(smooth(), 0)


def test_left_becomes_right():
    np.testing.assert_array_equal(mirrored(np.array([[1.0, 2], [-3, 4]])), [[-1, 2], [3, 4]])
    np.testing.assert_array_equal(mirrored(mirrored(smooth())), smooth())
    assert mirrored(smooth()).dtype == np.float32


def test_new_movements_are_none_of_the_old_ones():
    assert all(change(smooth()).shape[1] == 2 for change in NEW_MOVEMENTS.values())
    assert not any(np.array_equal(change(smooth()), smooth()) for change in NEW_MOVEMENTS.values())
