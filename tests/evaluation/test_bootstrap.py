"""Resampling trials: weights are those of drawing with replacement, and intervals hold what they promise."""

import numpy as np
import pytest

from ldns_ray.evaluation.bootstrap import as_list, interval, resampled, trial_weights


def test_every_resample_has_as_many_trials():
    weights = trial_weights(7, 50, seed=0)
    assert weights.shape == (50, 7)
    np.testing.assert_array_equal(weights.sum(1), 7)
    np.testing.assert_array_equal(trial_weights(1, 3, seed=0), np.ones((3, 1)))


def test_counts_are_multinomial():
    """Each of n trials is drawn once on average, with variance 1 - 1/n, and two with covariance -1/n."""
    n = 10
    weights = trial_weights(n, 20_000, seed=3)
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.03)
    np.testing.assert_allclose(np.cov(weights.T), np.eye(n) - 1 / n, atol=0.04)


def test_weights_are_keyed():
    weights = trial_weights(20, 5, seed=1)
    np.testing.assert_array_equal(weights, trial_weights(20, 5, seed=1))
    np.testing.assert_array_equal(weights[:3], trial_weights(20, 3, seed=1))
    assert not np.array_equal(weights, trial_weights(20, 5, seed=2))
    assert not np.array_equal(weights, trial_weights(20, 5, seed=1, stream=1))


def test_interval_by_hand():
    values = np.random.default_rng(0).permutation(np.arange(101.0))
    assert interval(values) == pytest.approx((2.5, 97.5))
    assert interval(values, 0.5) == pytest.approx((25, 75))
    assert interval(np.append(values, [np.nan] * 30)) == pytest.approx((2.5, 97.5))


def test_nothing_to_resample():
    assert interval(np.full(3, np.nan)) is None
    assert interval(resampled(lambda w: w.sum(1), 1, seed=0)) is None
    assert interval(resampled(lambda w: w.sum(1), 2, seed=0)) == (2.0, 2.0)
    assert as_list(None) is None
    assert as_list((1.0, 2.0)) == [1.0, 2.0]


def test_intervals_of_a_mean_hold_it():
    """Of 200 intervals of 95 %, 190 are to hold the mean, give or take 3 (the binomial's standard deviation).

    With 40 trials, percentiles miss a little more often: they are as wide as sd / sqrt(n) of the normal
    distribution with the variance over n instead of n - 1, which holds 94.0 %. Four deviations below that, three above.
    """
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        trials = rng.normal(3.0, 2.0, 40)
        low, high = interval(trial_weights(40, 200, seed=seed) @ trials / 40)
        held += low <= 3.0 <= high
    assert 200 * 0.94 - 4 * 3.4 < held < 200 * 0.95 + 3 * 3.1


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_level_is_a_share(level):
    with pytest.raises(ValueError, match="level must be between 0 and 1, got"):
        interval(np.arange(3.0), level)


def test_there_must_be_trials():
    with pytest.raises(ValueError, match="at least 1 trial and 1 resample, got 0 and 1000"):
        trial_weights(0, seed=0)
