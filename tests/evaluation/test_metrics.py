"""Metrics against the published functions' values, slow definitions, and known changes."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gaussian_kde

from ldns_ray.evaluation import metrics
from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.metrics import compare, noise_floor
from ldns_ray.evaluation.score import realism
from ldns_ray.evaluation.statistics import summarise
from tests.evaluation.recordings import BIN, population

REFERENCE = Path(__file__).parent.parent / "data" / "reference" / "metrics.npz"


def slow_intervals(trials, unit):
    """Inter-spike intervals in bins, from spike times written out one by one."""
    intervals = []
    for trial in trials:
        times = [
            b + (i + 1) / (k + 1) for b, k in enumerate(trial[:, unit].tolist()) for i in range(k)
        ]
        intervals += np.diff(times).tolist()
    return intervals


def test_published_functions_give_the_same_values():
    reference = np.load(REFERENCE)
    got = compare(reference["real"], reference["sampled"], float(reference["bin_width_s"]))
    assert got["kl_psc"] == pytest.approx(float(reference["kl_psc"]), rel=1e-6)
    assert got["rmse_corr_paper"] == pytest.approx(float(reference["rmse_corr"]), rel=1e-6)
    assert got["rmse_corr"] == pytest.approx(got["rmse_corr_paper"] * np.sqrt(40 / 19), rel=1e-12)
    assert got["rmse_mean_isi"] == pytest.approx(float(reference["rmse_mean_isi"]), rel=1e-6)
    assert got["rmse_std_isi"] == pytest.approx(float(reference["rmse_std_isi"]), rel=1e-6)
    for side in ("real", "sampled"):
        mean_N, sd_N = metrics.isi_statistics(reference[side], BIN)
        np.testing.assert_allclose(mean_N, reference[f"mean_isi_{side}"], rtol=1e-6)
        np.testing.assert_allclose(sd_N, reference[f"std_isi_{side}"], rtol=1e-6)
    np.testing.assert_allclose(
        metrics.correlations(reference["real"]), reference["corr_real"], rtol=0, atol=1e-12
    )


def test_intervals_by_hand():
    """Counts 1, 0, 2, 0, 1: spikes at 1/2, 2 1/3, 2 2/3, 4 1/2; a new trial starts afresh."""
    trials = [np.array([[1], [0], [2], [0], [1]]), np.array([[1], [1]])]
    expected = np.array([11 / 6, 1 / 3, 11 / 6, 1.0])
    mean_N, sd_N = metrics.isi_statistics(trials, 0.1)
    assert mean_N == pytest.approx([0.1 * expected.mean()])
    assert sd_N == pytest.approx([0.1 * expected.std()])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    n_units=st.integers(1, 4),
    rate=st.sampled_from([0.05, 0.5, 3.0]),
)
def test_intervals_equal_spike_times_written_out(seed, lengths, n_units, rate):
    rng = np.random.default_rng(seed)
    trials = [rng.poisson(rate, (n, n_units)) for n in lengths]
    pooled = summarise(trials).pool()[0]
    for unit in range(n_units):
        intervals = np.array(slow_intervals(trials, unit))
        assert pooled.isi_n_N[unit] == len(intervals)
        assert pooled.isi_sum_N[unit] == pytest.approx(intervals.sum())
        assert pooled.isi_square_N[unit] == pytest.approx((intervals**2).sum())


def test_blocks_do_not_change_statistics(monkeypatch):
    rng = np.random.default_rng(0)
    trials = [rng.poisson(0.6, (n, 37)) for n in rng.integers(1, 50, 40)]
    whole = summarise(trials).pool()[0]
    monkeypatch.setattr("ldns_ray.evaluation.statistics._BLOCK_BINS", 60)
    monkeypatch.setattr("ldns_ray.evaluation.statistics._GRAM_BLOCK_ENTRIES", 3 * 37**2)
    monkeypatch.setattr("ldns_ray.evaluation.statistics._SERIAL_MULTIPLICATIONS", 1)
    blocks = summarise(trials).pool()[0]
    flat = np.concatenate(trials).astype(float)
    np.testing.assert_array_equal(whole.gram_NN, flat.T @ flat)
    for name in ("histogram_K", "spikes_N", "gram_NN", "isi_n_N"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(blocks, name))
    np.testing.assert_allclose(whole.isi_square_N, blocks.isi_square_N, rtol=1e-12)


def test_weights_are_the_trials_repeated():
    rng = np.random.default_rng(1)
    trials = [rng.poisson(0.4, (n, 5)) for n in (7, 3, 20, 11)]
    pooled = summarise(trials).pool([[1, 0, 2, 0], [0, 1, 0, 1]])
    direct = [
        summarise([trials[0], trials[2], trials[2]]).pool()[0],
        summarise([trials[1], trials[3]]).pool()[0],
    ]
    for a, b in zip(pooled, direct, strict=True):
        assert compare_close(a, b)


def compare_close(a, b):
    distances = metrics.compare_pooled(a, b, 1.0)
    return all(value == pytest.approx(0.0, abs=1e-6) for value in distances.values())


def test_large_counts_keep_their_precision():
    spikes = np.random.default_rng(0).poisson(3000, (4, 300, 3))
    expected = np.corrcoef(spikes.reshape(-1, 3).T)
    np.testing.assert_allclose(metrics.correlations(spikes), expected, atol=1e-9)


def test_density_is_scipys():
    real, sampled = population(seed=1), population(seed=2, gain=1.4)
    p, q = metrics.count_densities(real, sampled)
    for got, spikes in ((p, real), (q, sampled)):
        expected = gaussian_kde(spikes.sum(2).ravel())(np.arange(len(got)))
        np.testing.assert_allclose(got, np.maximum(expected / expected.sum(), 1e-12), rtol=1e-9)


def test_densities_of_large_counts_are_those_of_scipy_and_take_no_time():
    """Hundreds of spikes per bin and unit: the distribution is far from 0, and wide."""
    rng = np.random.default_rng(0)
    real, sampled = (rng.normal(m, sd, (300, 1, 1)).round() for m, sd in ((5e4, 9e2), (4e4, 2e3)))
    pooled = [summarise(x).pool()[0] for x in (real, sampled)]
    start = time.thread_time()
    densities = metrics.count_densities(*pooled)
    assert time.thread_time() - start < 0.5
    for got, spikes in zip(densities, (real, sampled), strict=True):
        expected = gaussian_kde(spikes.ravel())(np.arange(len(got)))
        np.testing.assert_allclose(got, np.maximum(expected / expected.sum(), 1e-12), rtol=1e-9)


def test_ragged_equals_dense():
    real, sampled = population(seed=1), population(seed=2)
    assert compare(list(real), list(sampled), BIN) == compare(real, sampled, BIN)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_dtype_does_not_matter(dtype):
    real, sampled = population(seed=1), population(seed=2)
    assert compare(real.astype(dtype), sampled, BIN) == compare(real, sampled, BIN)


def test_identical_trials_have_no_distance():
    real = population()
    assert compare_close(summarise(real).pool()[0], summarise(real).pool()[0])


def test_poisson_data_is_as_close_as_itself():
    score = realism(population(seed=1), population(seed=2), BIN)
    assert 0.6 < score.score < 1.7
    assert all(0.4 < ratio < 2.5 for ratio in score.ratios.values())


def test_higher_rates_move_counts_and_intervals():
    real, sampled = population(n_trials=600), population(n_trials=600, seed=1, gain=1.2)
    floor, got = noise_floor(real, BIN), compare(real, sampled, BIN)
    assert got["kl_psc"] > 5 * floor["kl_psc"]
    assert got["rmse_mean_isi"] > 3 * floor["rmse_mean_isi"]
    assert got["rmse_mean_rate"] > 3 * floor["rmse_mean_rate"]
    assert got["rmse_corr"] < 2 * floor["rmse_corr"]


def test_lost_correlations_move_correlations_and_counts_only():
    real = population(n_trials=400)
    rng = np.random.default_rng(5)
    apart = np.stack([real[rng.permutation(len(real)), :, n] for n in range(8)], axis=2)
    floor, got = noise_floor(real, BIN), compare(real, apart, BIN)
    assert got["rmse_corr"] > 4 * floor["rmse_corr"]
    assert got["kl_psc"] > 4 * floor["kl_psc"]
    assert got["rmse_mean_isi"] < 1e-12
    assert got["rmse_mean_rate"] < 1e-9


def test_shuffled_units_leave_the_population_count_alone():
    real = population(n_trials=400)
    floor, got = noise_floor(real, BIN), compare(real, real[:, :, ::-1], BIN)
    assert got["kl_psc"] < 1e-12
    assert got["rmse_corr"] > 2 * floor["rmse_corr"]
    assert got["rmse_mean_isi"] > 10 * floor["rmse_mean_isi"]
    assert realism(real, real[:, :, ::-1], BIN).score > 3


def test_floor_falls_with_size():
    real = population(n_trials=200)
    small, large = noise_floor(real, BIN, size=10), noise_floor(real, BIN)
    assert small["rmse_corr"] > 2 * large["rmse_corr"]
    assert noise_floor(real, BIN, seed=3) == noise_floor(real, BIN, seed=3)
    assert noise_floor(real, BIN, seed=3) != noise_floor(real, BIN, seed=4)


def test_fewer_samples_are_matched_in_size():
    real = population(n_trials=200, seed=1)
    few = realism(real, population(n_trials=12, seed=2), BIN)
    many = realism(real, population(n_trials=200, seed=2), BIN)
    assert few.floors["rmse_corr"] > 1.5 * many.floors["rmse_corr"]
    assert 0.5 < few.score < 2


@pytest.mark.parametrize(
    ("real", "sampled"),
    [
        (population(), np.zeros((120, 60, 8), int)),
        (np.zeros((4, 10, 3), int), np.zeros((4, 10, 3), int)),
        (np.zeros((4, 10, 3), int), np.ones((4, 10, 3), int)),
        (np.ones((4, 10, 3), int), np.full((4, 10, 3), 2)),
        (population(n_units=1), population(n_units=1, seed=1)),
        (population(n_trials=2), population(n_trials=1)),
        (np.random.default_rng(0).poisson(1, (2, 2, 3)), np.zeros((1, 1, 3), int)),
        (np.full((3, 5, 2), 400), np.zeros((3, 5, 2), int)),
    ],
    ids=[
        "silent",
        "both silent",
        "from silence",
        "constant",
        "one unit",
        "one trial",
        "two bins",
        "far apart",
    ],
)
def test_degenerate_input_is_finite(real, sampled):
    distances = compare(real, sampled, BIN)
    assert all(np.isfinite(v) and v >= 0 for v in distances.values()), distances
    score = realism(real, sampled, BIN)
    assert np.isfinite(score.score)
    assert score.score > 0
    assert set(score.ratios) == {metric.name for metric in SCORED}


def test_silence_costs():
    """All-zero samples: the worst interval error, and a score far above any model's."""
    real = population()
    silent = compare(real, np.zeros_like(real), BIN)
    assert silent["n_silent"] == 8
    assert silent["rmse_mean_isi"] == pytest.approx(60 * BIN)
    assert silent["rmse_std_isi"] == pytest.approx(30 * BIN)
    assert silent["kl_psc"] > 1
    assert realism(real, np.zeros_like(real), BIN).score > 10


def test_one_silent_unit_costs_in_the_score_but_not_in_the_published_metric():
    real, sampled = population(seed=1), population(seed=2)
    mute = sampled.copy()
    mute[:, :, 3] = 0
    assert compare(real, mute, BIN)["rmse_mean_isi"] == pytest.approx(
        compare(real, sampled, BIN)["rmse_mean_isi"], rel=0.5
    )
    penalised = metrics.rmse_mean_isi(real, mute, BIN, penalise_silent=True)
    assert penalised == pytest.approx(60 * BIN / np.sqrt(8), rel=0.01)
    assert realism(real, mute, BIN).ratios["rmse_mean_isi"] > 10


def test_rare_units_are_not_called_silent():
    real, sampled = population(seed=1), population(seed=2)
    real[:, :, 0] = sampled[:, :, 0] = 0
    real[0, :2, 0] = 1  # one interval: its absence from the samples says nothing
    plain = metrics.rmse_mean_isi(real, sampled, BIN)
    assert metrics.rmse_mean_isi(real, sampled, BIN, penalise_silent=True) == plain


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        ([], "no trials"),
        (np.zeros((0, 5, 2), int), "must not be empty"),
        ([np.zeros((5, 2), int), np.zeros((0, 2), int)], "must not be empty"),
        (np.zeros((5, 2), int), "Add a trial axis"),
        ([np.zeros((5, 2), int), np.zeros((5, 3), int)], "same units"),
        (np.full((1, 5, 2), -1), "counts of 0 or more"),
        (np.full((1, 5, 2), 0.5), "got fractions"),
        (np.full((1, 5, 2), np.nan), "counts of 0 or more"),
    ],
)
def test_invalid_counts_are_refused(spikes, message):
    with pytest.raises(ValueError, match=message):
        summarise(spikes)


def test_mismatches_are_refused():
    real = population()
    with pytest.raises(ValueError, match="same units, got 8 and 7"):
        compare(real, real[:, :, :7], BIN)
    with pytest.raises(ValueError, match="bin_width_s must be positive"):
        compare(real, real, 0.0)
    with pytest.raises(ValueError, match="two disjoint sets"):
        noise_floor(real[:1], BIN)
    with pytest.raises(ValueError, match="at least 2 reference trials"):
        realism(real[:1], real, BIN)
