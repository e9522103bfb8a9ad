from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ldns_ray.data.formats.intervals import common, covered, merged


def rows(*intervals: tuple[float, float]) -> np.ndarray:
    return np.array(intervals, dtype=np.float64).reshape(-1, 2)


def test_intervals_that_overlap_touch_or_almost_touch_are_merged() -> None:
    got = merged(rows((5, 6), (0, 2), (1, 1.5), (2.0005, 3), (3.01, 4)), 0.001)
    assert got.tolist() == [[0, 3], [3.01, 4], [5, 6]]


def test_common_stretches_are_where_every_member_is_open() -> None:
    one, two = rows((0, 4), (6, 10)), rows((1, 2), (3, 7), (9, 12))
    assert common([one, two], 0.0).tolist() == [[1, 2], [3, 4], [6, 7], [9, 10]]
    assert common([one], 0.0).tolist() == one.tolist()
    # One ends where the other begins: nothing in common.
    assert common([rows((0, 1)), rows((1, 2))], 0.0).shape == (0, 2)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_common_stretches_equal_a_loop_over_instants(members: list[list[tuple[int, int]]]) -> None:
    intervals = [rows(*((a, a + n) for a, n in member)) for member in members]
    stretches = common(intervals, 0.0)
    for instant in np.arange(0.25, 27, 0.5):
        everywhere = all(any(a < instant < b for a, b in member) for member in intervals)
        assert everywhere == any(a < instant < b for a, b in stretches)


def test_covered_allows_the_slack_and_no_more() -> None:
    stretches = rows((0, 2), (3, 5))
    start = np.array([0.0, -0.0005, -0.002, 1.5, 3.0, 4.0, 4.0, 2.2, 6.0])
    stop = np.array([2.0, 2.0005, 1.0, 3.5, 5.0, 5.0005, 5.002, 2.5, 7.0])
    expected = [True, True, False, False, True, True, False, False, False]
    assert covered(start, stop, stretches, 0.001).tolist() == expected
    assert covered(start, stop, rows(), 0.001).tolist() == [False] * 9
