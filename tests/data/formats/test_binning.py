from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldns_ray.data.formats.binning import (
    EDGE_S,
    bin_samples,
    count_spikes,
    next_multiple,
    whole_bins,
)


def counted(times: list[float], start_s: float, bin_width_s: float, n_bins: int) -> list[int]:
    """Counts of one unit."""
    counts = count_spikes(
        np.array(times),
        np.zeros(len(times), dtype=np.int64),
        start_s=start_s,
        bin_width_s=bin_width_s,
        n_bins=n_bins,
        n_units=1,
    )
    return [int(n) for n in counts[:, 0]]


def test_a_bin_holds_its_left_edge_and_not_its_right_one() -> None:
    assert counted([0.99, 1.0, 1.049, 1.05, 1.1, 1.149, 1.15], 1.0, 0.05, 3) == [2, 1, 2]
    assert counted([], 1.0, 0.05, 3) == [0, 0, 0]


def test_spikes_on_an_edge_belong_to_the_bin_that_starts_there_whatever_rounding_says() -> None:
    # A spike 0.3 s into each trial, with bins of 0.1 s: the fourth bin, as in exact arithmetic.
    assert 1.3 - 1.0 > 0.3 > 0.7 - 0.4
    assert counted([1.3], 1.0, 0.1, 5) == [0, 0, 0, 1, 0]
    assert counted([0.7], 0.4, 0.1, 5) == [0, 0, 0, 1, 0]
    # 0.3 is below 3 * 0.1 = 0.30000000000000004.
    assert counted([0.3], 0.0, 0.1, 5) == [0, 0, 0, 1, 0]
    # The first edge and the last one too: 1.0 - 0.9 is 0.09999999999999998.
    assert counted([0.1], 1.0 - 0.9, 0.1, 2) == [1, 0]
    assert counted([0.3], 0.1, 0.1, 2) == [0, 0]
    # A spike just where the first edge was moved to.
    assert counted([0.0], EDGE_S, 0.1, 2) == [1, 0]


@pytest.mark.parametrize("epoch_s", [0.0, 3600.0, 1.7e9])
def test_ticks_of_a_30_khz_clock_fall_into_the_bins_of_exact_arithmetic(epoch_s: float) -> None:
    # 5 ms are 150 ticks; a spike on every tick of 40 bins gives 150 in each, at any time of day or year.
    times = epoch_s + np.arange(6000 + 300) / 30_000
    assert counted(list(times), epoch_s + 0.005, 0.005, 40) == [150] * 40
    # And so does a clock written with six decimals.
    assert counted(list(np.round(times, 6)), epoch_s + 0.005, 0.005, 40) == [150] * 40


def test_units_are_counted_apart() -> None:
    times = np.array([0.1, 0.1, 0.4, 1.2, 1.2, 1.2])
    units = np.array([0, 2, 2, 1, 1, 2])
    counts = count_spikes(times, units, start_s=0.0, bin_width_s=1.0, n_bins=2, n_units=4)
    assert counts.tolist() == [[1, 0, 2, 0], [0, 2, 1, 0]]


ticks = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2)), max_size=60)


@settings(max_examples=200, deadline=None)
@given(ticks, st.integers(-50, 3000), st.integers(1, 40), st.integers(1, 30), st.integers(0, 10**6))
def test_counts_equal_a_loop_over_integer_milliseconds(
    spikes: list[tuple[int, int]], start: int, width: int, n_bins: int, offset: int
) -> None:
    expected = np.zeros((n_bins, 3), dtype=int)
    for tick, unit in spikes:
        for t in range(n_bins):
            if start + t * width <= tick < start + (t + 1) * width:
                expected[t, unit] += 1
    spikes = sorted(spikes)
    got = count_spikes(
        np.array([(tick + offset) / 1000 for tick, _ in spikes]),
        np.array([unit for _, unit in spikes], dtype=np.int64),
        start_s=(start + offset) / 1000,
        bin_width_s=width / 1000,
        n_bins=n_bins,
        n_units=3,
    )
    np.testing.assert_array_equal(got, expected)


def test_whole_bins_and_multiples_forgive_rounding() -> None:
    durations = np.array([0.7 - 0.4, 0.3, 0.2999, 0.0, -1.0, np.nan])
    assert whole_bins(durations, 0.1).tolist() == [3, 3, 2, 0, 0, 0]
    times = np.array([1.052, 1.055, 1.0550000001, 0.0])
    np.testing.assert_allclose(next_multiple(times, 0.005), [1.055, 1.055, 1.055, 0.0], atol=1e-12)


def test_samples_are_averaged_within_each_bin() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.3, 0.35, 0.4])
    values = np.array([[1.0, 10], [3, 20], [5, 30], [7, 40], [9, 50], [99, 99]])
    got = bin_samples(times, values, start_s=0.0, bin_width_s=0.2, n_bins=2, max_gap_s=0.25)
    assert got.tolist() == [[2, 15], [7, 40]]


def test_bins_without_samples_lie_on_the_line_between_their_neighbours() -> None:
    times, values = np.array([0.0, 1.0, 2.0]), np.array([[0.0], [10.0], [0.0]])
    got = bin_samples(times, values, start_s=0.25, bin_width_s=0.5, n_bins=4, max_gap_s=1.0)
    # Bins 0.25-0.75 (centre 0.5), 0.75-1.25 (the sample at 1), 1.25-1.75 (centre 1.5), 1.75-2.25.
    assert got[:, 0].tolist() == [5.0, 10.0, 5.0, 0.0]


def test_gaps_and_ends_are_nan() -> None:
    times, values = np.array([1.0, 2.0, 4.5, 5.0]), np.ones((4, 2))
    got = bin_samples(times, values, start_s=0.0, bin_width_s=0.5, n_bins=12, max_gap_s=2.4)
    missing = [t for t in range(12) if np.isnan(got[t]).all()]
    assert missing == [0, 1, 5, 6, 7, 8, 11]
    assert np.isfinite(got[[2, 3, 4, 9, 10]]).all()
    wide = bin_samples(times, values, start_s=0.0, bin_width_s=0.5, n_bins=12, max_gap_s=2.5)
    assert np.isfinite(wide[2:11]).all()
    none = bin_samples(times[:0], values[:0], start_s=0.0, bin_width_s=0.5, n_bins=2, max_gap_s=1.0)
    assert np.isnan(none).all()
    assert none.shape == (2, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True).map(sorted),
    st.integers(-20, 300),
    st.integers(1, 30),
    st.integers(1, 20),
    st.integers(1, 40),
)
def test_binned_samples_equal_a_loop(
    ticks: list[int], start: int, width: int, n_bins: int, gap: int
) -> None:
    sample = {tick: float((tick * 37) % 101) for tick in ticks}
    expected = []
    for t in range(n_bins):
        low = start + t * width
        inside = [sample[tick] for tick in ticks if low <= tick < low + width]
        value, centre = np.nan, low + width / 2
        if inside:
            value = sum(inside) / len(inside)
        else:
            for a, b in pairwise(ticks):
                if a < centre < b and b - a <= gap:
                    value = sample[a] + (sample[b] - sample[a]) * (centre - a) / (b - a)
        expected.append(value)
    got = bin_samples(
        np.array(ticks) / 1000,
        np.array([[sample[tick]] for tick in ticks]),
        start_s=start / 1000,
        bin_width_s=width / 1000,
        n_bins=n_bins,
        max_gap_s=gap / 1000,
    )
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-9, atol=1e-9)
