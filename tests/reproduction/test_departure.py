"""Distances of distributions over time, by hand."""

import numpy as np
import pytest

from ldns_ray.reproduction.departure import BINS, departure, nearest, window


def test_windows():
    trace = np.arange(11)[:, None]
    assert window([trace], 0, 4)[0].ravel().tolist() == [0, 1]
    assert window([trace, trace + 1], 3, 4)[1].ravel().tolist() == [7, 8]
    with pytest.raises(
        ValueError, match="one of 4 of at least one bin, got number 4 of traces of 11"
    ):
        window([trace], 4, 4)
    with pytest.raises(ValueError, match="got number 0 of traces of 3"):
        window([trace[:3]], 0, 4)


def test_the_same_values_depart_by_nothing():
    known = [np.array([[0.0, 1], [1, 3]]), np.array([[2.0, 2]])]
    assert departure(known, known[::-1]) == {
        "sd_ratio": 1, "sd_ratio_low": 1, "sd_ratio_high": 1, "mean_shift": 0, "ks": 0, "out_of_range": 0,
    }  # fmt: skip


def test_by_hand():
    """Channel 0 has twice the spread, channel 1 is 4 higher, which is two of its standard deviations."""
    known = [np.array([[-1.0, -2], [1, 2]])]
    found = departure(known, [np.array([[-2.0, 2], [2, 6]])])
    assert found["sd_ratio_low"] == pytest.approx(1)
    assert found["sd_ratio_high"] == pytest.approx(2)
    assert found["sd_ratio"] == pytest.approx(1.5)
    assert found["mean_shift"] == pytest.approx(np.sqrt((0 + 2**2) / 2))
    # Channel 0: -2 | -1 | 1 | 2, half apart. Channel 1: -2 | 2 2 | 6, half apart.
    assert found["ks"] == pytest.approx(0.5)
    # Of channel 0 both, of channel 1 one.
    assert found["out_of_range"] == pytest.approx(3 / 4)


def test_channels_that_never_vary_are_left_out():
    known, other = np.array([[0.0, 7], [1, 7]]), np.array([[0.0, 9], [1, 3]])
    assert departure([known], [other])["out_of_range"] == 0
    with pytest.raises(ValueError, match="must vary in some channel"):
        departure([known[:, 1:]], [other])


def test_what_was_seen_is_near_and_what_moves_otherwise_is_far():
    """A circle, passed through the other way round: the same values, in another order."""
    angle = np.linspace(0, 8 * np.pi, 400)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert nearest([circle], [circle[100:200]]) == pytest.approx(0, abs=1e-3)
    assert nearest([circle], [circle[::-1][100:200]]) > 0.1
    assert departure([circle], [circle[::-1]])["ks"] == 0


def test_the_nearest_by_hand():
    """Zigzags of one channel: five standard deviations above what was seen, or between its values."""
    zigzag = np.tile([[-1.0], [1.0]], (BINS, 1))
    assert nearest([zigzag], [zigzag[:BINS] + 5]) == pytest.approx(5, rel=1e-5)
    still = np.zeros((BINS, 1))
    assert nearest([zigzag], [still, still]) == pytest.approx(1, rel=1e-5)


def test_a_trace_may_be_shorter_than_a_window():
    short = np.array([[0.0], [1.0], [0.0]])
    assert nearest([np.array([[0.0], [1.0], [0.0], [1.0]])], [short]) == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="must vary in some channel"):
        nearest([np.ones((9, 2))], [short])
