"""PSTHs against hand-made averages, and the statistics of samples drawn from them."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from ldns_ray.evaluation.baselines.psth import psth, sample_psth


def test_unsmoothed_psth_is_the_average_of_each_condition():
    spikes = np.array([[[2], [0]], [[0], [0]], [[4], [1]]])
    got = psth(spikes, ["b", "a", "b"], bin_width_s=0.01, sd_s=0.0, floor=0.25)
    assert got.labels_L.tolist() == ["a", "b"]
    np.testing.assert_array_equal(got.rates_LTN[:, :, 0], [[0.25, 0.25], [3.0, 0.5]])


def test_smoothing_has_the_stated_width():
    spikes = np.random.default_rng(0).poisson(2.0, (30, 50, 4))
    got = psth(spikes, None, bin_width_s=0.005, sd_s=0.02).rates_LTN[0]
    np.testing.assert_allclose(got, gaussian_filter1d(spikes.mean(0), 4.0, axis=0))


def test_ragged_average_runs_over_trials_still_going():
    """Counts of 4 everywhere: no trial's end may pull the average down."""
    spikes = [np.full((n, 2), 4) for n in (3, 9, 20)]
    got = psth(spikes, None, bin_width_s=0.01)
    np.testing.assert_allclose(got.rates_LTN, 4.0)
    short = psth([np.array([[1], [3]]), np.array([[5]])], None, bin_width_s=1.0, sd_s=0.0)
    np.testing.assert_array_equal(short.rates_LTN[0, :, 0], [3.0, 3.0])


def test_rates_follow_labels_and_lengths():
    spikes = np.stack([np.full((4, 1), 1), np.full((4, 1), 7)])
    got = psth(spikes, [10, 20], bin_width_s=0.01)
    long, short = got.rates([20, 10], [6, 2])
    np.testing.assert_allclose(long, np.full((6, 1), 7.0))
    np.testing.assert_allclose(short, np.full((2, 1), 1.0))
    with pytest.raises(ValueError, match=r"got \[15, 30\]. Known: \[10, 20\]"):
        got.rates([15, 30, 10], 4)
    with pytest.raises(ValueError, match="needs labels"):
        got.rates(None, [4])


def test_samples_have_the_rates_lengths_and_conditions_of_training():
    rng = np.random.default_rng(0)
    spikes = [rng.poisson(0.5 + 2 * (i % 4 == 0), (5 + i % 3, 3)) for i in range(60)]
    average = psth(spikes, [int(i % 4 == 0) for i in range(60)], bin_width_s=0.01, sd_s=0.0)
    drawn, rates = sample_psth(average, 2000, seed=0)
    assert {len(trial) for trial in drawn} == {5, 6, 7}
    assert np.concatenate(drawn).mean() == pytest.approx(np.concatenate(spikes).mean(), rel=0.05)
    active = np.mean([rate.mean() > 1.5 for rate in rates])
    assert active == pytest.approx(0.25, abs=0.04)
    residual = np.concatenate(drawn) - np.concatenate(rates)
    assert residual.var() == pytest.approx(np.concatenate(rates).mean(), rel=0.05)


def test_samples_depend_on_seed_and_trial_alone():
    average = psth(np.full((4, 6, 2), 3), None, bin_width_s=0.01)
    whole, _ = sample_psth(average, 6, seed=1)
    part, _ = sample_psth(average, 2, seed=1, first_trial=4)
    np.testing.assert_array_equal(whole[4:], part)
    assert not np.array_equal(whole, sample_psth(average, 6, seed=2)[0])


def test_label_count_is_checked():
    with pytest.raises(ValueError, match="one per trial, got 1 for 4"):
        psth(np.zeros((4, 6, 2), int), [0], bin_width_s=0.01)
