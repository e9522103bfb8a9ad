"""Correlograms against the authors' values, a slow definition, and a hand computation."""

import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ldns_ray.evaluation.correlograms import (
    rmse_autocorr,
    rmse_crosscorr,
    trial_correlograms,
    unit_groups,
)
from ldns_ray.evaluation.statistics import summarise

REFERENCE = np.load(Path(__file__).resolve().parents[1] / "data" / "reference" / "metrics.npz")


def lag(x, y, k):
    """Σ x(t+k) y(t), over the bins that both have."""
    n = len(x)
    return sum(x[t + k] * y[t] for t in range(n) if 0 <= t + k < n)


def slow(trials, groups, n_lags):
    """By the definition, one trial, one pair and one lag at a time."""
    lags = range(-n_lags, n_lags + 1)
    auto = np.zeros((len(trials), len(groups), len(lags)))
    cross = np.zeros_like(auto)
    for s, trial in enumerate(trials):
        x = (trial - trial.mean(0)).T
        for g, units in enumerate(groups):
            for i, k in enumerate(lags):
                if k != 0:
                    auto[s, g, i] = np.mean([lag(x[n], x[n], k) for n in units]) / len(trial)
                pairs = [lag(x[n], x[m], k) for n, m in combinations(units, 2)]
                cross[s, g, i] = np.mean(pairs or [0]) / len(trial)
    return auto, cross


def test_groups_are_the_authors():
    expected = REFERENCE["groups"].tolist()
    assert [g.tolist() for g in unit_groups(REFERENCE["corr_real"])] == expected
    ours = summarise(REFERENCE["real"]).pool()[0].correlation()
    assert [g.tolist() for g in unit_groups(ours)] == expected


@pytest.mark.parametrize("side", ["real", "sampled"])
def test_correlograms_are_the_authors(side):
    groups = unit_groups(REFERENCE["corr_real"])
    (got,) = trial_correlograms(REFERENCE[side], groups).pool()
    assert_allclose(got.auto_GL, REFERENCE[f"autocorr_{side}"], atol=1e-12)
    assert_allclose(got.cross_GL, REFERENCE[f"crosscorr_{side}"], atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    n_units=st.integers(1, 7),
    n_groups=st.integers(1, 4),
    n_lags=st.integers(1, 15),
)
def test_correlograms_are_their_definition(seed, lengths, n_units, n_groups, n_lags):
    rng = np.random.default_rng(seed)
    trials = [rng.poisson(0.5, (n, n_units)) for n in lengths]
    groups = np.array_split(rng.permutation(n_units), min(n_groups, n_units))
    auto, cross = slow(trials, groups, n_lags)
    got = trial_correlograms(trials, groups, n_lags)
    assert_allclose(got.auto_SGL, auto, atol=1e-12)
    assert_allclose(got.cross_SGL, cross, atol=1e-12)


def test_by_hand():
    """Less their means: ½ (1 -1 -1 1) and ¼ (-1 3 -1 -1)."""
    spikes = np.array([[1, 0], [0, 1], [0, 0], [1, 0]])
    (got,) = trial_correlograms([spikes], [np.array([0, 1])], n_lags=1).pool()
    assert_allclose(got.auto_GL, [[-0.0703125, 0, -0.0703125]], atol=1e-15)
    assert_allclose(got.cross_GL, [[0.15625, -0.125, -0.09375]], atol=1e-15)


def test_positive_lags_are_those_of_the_first_unit_after_the_second():
    spikes = np.zeros((1, 60, 2), int)
    spikes[0, [10, 27, 41], 0] = 1
    spikes[0, [8, 25, 39], 1] = 1
    (got,) = trial_correlograms(spikes, [np.array([0, 1])], n_lags=5).pool()
    assert np.argmax(got.cross_GL[0]) == 5 + 2
    (turned,) = trial_correlograms(spikes, [np.array([1, 0])], n_lags=5).pool()
    assert_allclose(turned.cross_GL, got.cross_GL[:, ::-1], atol=1e-15)


def test_weights_are_repeats():
    rng = np.random.default_rng(0)
    trials = [rng.poisson(0.4, (n, 5)) for n in (9, 30, 4, 17)]
    groups = [np.array([3, 1]), np.array([0, 4, 2])]
    statistics = trial_correlograms(trials, groups, 6)
    pooled = statistics.pool([[2, 0, 1, 0], [1, 1, 1, 1]])
    repeated = trial_correlograms([trials[0], trials[0], trials[2]], groups, 6).pool()[0]
    assert_allclose(pooled[0].auto_GL, repeated.auto_GL, atol=1e-14)
    assert_allclose(pooled[0].cross_GL, repeated.cross_GL, atol=1e-14)
    assert_allclose(pooled[1].cross_GL, statistics.pool()[0].cross_GL, atol=1e-14)
    assert statistics.n_trials == 4
    with pytest.raises(ValueError, match=r"weights_RS must be \(R, 4\)"):
        statistics.pool([[1, 1, 1]])


def test_distances_by_hand():
    rng = np.random.default_rng(1)
    groups = [np.array([0, 1]), np.array([2])]
    a, b = (trial_correlograms(rng.poisson(1, (3, 20, 3)), groups, 2).pool()[0] for _ in "ab")
    off_centre = [0, 1, 3, 4]
    auto = (a.auto_GL - b.auto_GL)[:, off_centre]
    assert rmse_autocorr(a, b) == pytest.approx(np.sqrt(np.sum(auto**2) / 8))
    cross = a.cross_GL - b.cross_GL
    assert rmse_crosscorr(a, b) == pytest.approx(np.sqrt(np.sum(cross**2) / 10))
    assert rmse_autocorr(a, a) == rmse_crosscorr(a, a) == 0
    assert rmse_autocorr(a, b) > 0


def test_shared_and_own_bursts_are_told_apart():
    """Independent units that repeat move the autocorrelogram, shared events the other one."""
    rng = np.random.default_rng(2)
    groups = [np.arange(6)]
    plain, other = (
        trial_correlograms(rng.poisson(0.1, (200, 100, 6)), groups).pool()[0] for _ in "ab"
    )
    once = rng.poisson(0.05, (200, 100, 6))
    repeating = trial_correlograms(once + np.roll(once, 3, axis=1), groups).pool()[0]
    events = rng.poisson(0.02, (200, 100, 1))
    together = trial_correlograms(rng.poisson(0.08, (200, 100, 6)) + events, groups).pool()[0]
    auto_floor, cross_floor = rmse_autocorr(plain, other), rmse_crosscorr(plain, other)
    assert rmse_autocorr(plain, repeating) > 10 * auto_floor
    assert rmse_crosscorr(plain, repeating) < 3 * cross_floor
    assert rmse_crosscorr(plain, together) > 10 * cross_floor
    assert rmse_autocorr(plain, together) < 3 * auto_floor


def test_halves_of_a_recording_agree_and_its_average_responses_alone_do_not(shared_data):
    """Premotor cortex, against Poisson spikes of the same mean response to every trial."""
    trials_SNT = np.load(shared_data / "pmd_reach_plan_train.npz")["spikes_1ms"][::3]
    n_trials, n_units, _ = trials_SNT.shape
    spikes = trials_SNT.reshape(n_trials, n_units, -1, 5).sum(3).transpose(0, 2, 1)
    groups = unit_groups(summarise(spikes).pool()[0].correlation())
    rng = np.random.default_rng(0)
    even = np.arange(n_trials) % 2 == 0
    halves = [even, ~even]
    a, b = trial_correlograms(spikes, groups).pool(halves)
    poisson = rng.poisson(np.broadcast_to(spikes.mean(0), spikes.shape))
    _, without = trial_correlograms(poisson, groups).pool(halves)
    assert rmse_autocorr(a, without) > 4 * rmse_autocorr(a, b)
    assert rmse_crosscorr(a, without) > 4 * rmse_crosscorr(a, b)


@pytest.mark.parametrize(
    "spikes",
    [
        np.zeros((3, 10, 5), int),
        np.full((3, 10, 5), 2),
        np.ones((2, 1, 5), int),
        [np.ones((1, 5), int), np.zeros((3, 5), int)],
    ],
    ids=["silent", "constant", "one bin", "ragged"],
)
def test_without_variation_all_is_zero(spikes):
    groups = unit_groups(summarise(spikes).pool()[0].correlation())
    (got,) = trial_correlograms(spikes, groups).pool()
    assert not got.auto_GL.any()
    assert not got.cross_GL.any()
    assert rmse_autocorr(got, got) == rmse_crosscorr(got, got) == 0


def test_one_unit_has_no_cross_correlogram():
    spikes = np.random.default_rng(0).poisson(1, (2, 30, 1))
    groups = unit_groups(summarise(spikes).pool()[0].correlation())
    assert [g.tolist() for g in groups] == [[0]]
    (got,) = trial_correlograms(spikes, groups).pool()
    assert not got.cross_GL.any()
    assert got.auto_GL.any()


def test_groups_differ_by_one_unit_and_silent_units_come_last():
    c = np.eye(6)
    c[0, 1] = c[1, 0] = 0.5
    c[3] = 0
    assert [g.tolist() for g in unit_groups(c)] == [[0, 1], [2, 4], [5], [3]]
    assert [g.tolist() for g in unit_groups(c, 9)] == [[0], [1], [2], [4], [5], [3]]


def test_memory_does_not_grow_with_the_trials():
    def peak(n_trials):
        spikes = np.random.default_rng(0).integers(0, 2, (n_trials, 140, 40), np.uint8)
        tracemalloc.start()
        trial_correlograms(spikes, [np.arange(40)])
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few, many = peak(400), peak(1000)
    assert many - few < 600 * 140 * 40  # less than a byte for each further count
    assert many < 100e6


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "groups must each name"),
        ([np.array([], int)], "groups must each name"),
        ([np.array([0, 3])], "from 0 to 2"),
        ([np.array([-1])], "from 0 to 2"),
        ([np.array([1, 1])], r"got \[\[1, 1\]\]"),
    ],
)
def test_wrong_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        trial_correlograms(np.ones((1, 4, 3), int), groups)


def test_errors_say_what_is_wrong():
    spikes, groups = np.ones((1, 4, 3), int), [np.arange(3)]
    with pytest.raises(ValueError, match="n_lags must be at least 1, got 0"):
        trial_correlograms(spikes, groups, 0)
    with pytest.raises(ValueError, match="no trials"):
        trial_correlograms([], groups)
    with pytest.raises(ValueError, match="n_groups"):
        unit_groups(np.eye(3), 0)
    with pytest.raises(ValueError, match="with 1 not finite"):
        unit_groups([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"got shape \(2, 3\)"):
        unit_groups(np.ones((2, 3)))
    a, b = (trial_correlograms(spikes, groups, n).pool()[0] for n in (2, 3))
    with pytest.raises(ValueError, match="same groups and lags"):
        rmse_autocorr(a, b)
