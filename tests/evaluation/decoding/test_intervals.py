"""Intervals of decoders' scores: beside resamples made in full, what theory says, and known truth."""

import numpy as np
import pytest
from scipy.stats import binom

from ldns_ray.evaluation.bootstrap import trial_weights
from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    ClassDecoding,
    TraceDecoding,
    angle_errors,
    median_angle_error,
    r_squared,
)
from ldns_ray.evaluation.decoding.intervals import (
    angle_intervals,
    class_intervals,
    medians_of_resamples,
    r_squared_of_resamples,
    trace_intervals,
)


def traces(n_trials, *, seed, noise=0.5, level=0.0):
    """A covariate of two channels, decoded with an error that is shared by all bins of a trial."""
    rng = np.random.default_rng(seed)
    asked = [level + rng.normal(size=(n, 2)) * [1.0, 3.0] for n in rng.integers(5, 15, n_trials)]
    return asked, [y + noise * rng.normal(size=(1, 2)) * [1.0, 3.0] for y in asked]


def decoding(real, sampled):
    return TraceDecoding(r_squared(*real), r_squared(*sampled), *sampled, *real)


# -- R²


@pytest.mark.parametrize("level", [0.0, 1e4])
def test_r_squared_of_resamples_is_that_of_repeated_trials(level):
    """Its own mean included, also where the mean is far larger than what varies."""
    asked, decoded = traces(6, seed=0, level=level)
    weights = np.concatenate([np.ones((1, 6), int), trial_weights(6, 20, seed=0)])
    got = r_squared_of_resamples(asked, decoded, weights)
    assert got[0] == pytest.approx(r_squared(asked, decoded).total, rel=1e-9)
    for value, counts in zip(got, weights, strict=True):
        drawn = np.repeat(np.arange(6), counts)
        expected = r_squared([asked[i] for i in drawn], [decoded[i] for i in drawn]).total
        assert value == pytest.approx(expected, rel=1e-7)


def test_resamples_in_which_nothing_varies_have_no_value():
    asked = [np.full((4, 1), 0.1), np.full((3, 1), 0.7)]
    both, first = r_squared_of_resamples(asked, asked, np.array([[1, 1], [2, 0]]))
    assert both == 1.0
    assert np.isnan(first)


def test_a_constant_covariate_and_a_single_trial_have_no_interval():
    still = [np.full((4, 1), 0.1)] * 5
    varied = traces(5, seed=0)
    one = tuple(x[:1] for x in varied)
    bounds = trace_intervals(decoding((still, still), varied), seed=0)
    assert (bounds.real, bounds.ratio) == (None, None)
    assert bounds.sampled is not None
    bounds = trace_intervals(decoding(varied, one), seed=0)
    assert (bounds.sampled, bounds.ratio) == (None, None)
    assert bounds.real is not None


def test_intervals_hold_the_true_r_squared():
    """Errors of variance 1/4 of the covariate's: R² is 3/4. Bins of a trial share their error.

    Of 100 intervals of 95 %, 95 +- 2.2 are to hold it, of 40 trials somewhat fewer: four deviations of 92 below.
    An interval over bins, ten to a trial, would be three times too narrow and hold it in 45 %.
    """
    held = 0
    for seed in range(100):
        asked, decoded = traces(40, seed=seed)
        values = r_squared_of_resamples(asked, decoded, trial_weights(40, 200, seed=seed))
        low, high = np.quantile(values, [0.025, 0.975])
        held += low <= 0.75 <= high
    assert 92 - 4 * 2.7 < held < 100


def test_the_size_of_a_set_does_not_shift_its_scores():
    """Why sampled trials need not be as many as real ones: means over 200 sets of 10 are those of 4000 trials."""
    asked, decoded = traces(2000, seed=1)
    few = [
        r_squared(asked[i : i + 10], decoded[i : i + 10]).total for i in range(0, len(asked), 10)
    ]
    spread = np.std(few) / np.sqrt(len(few))
    assert np.mean(few) == pytest.approx(r_squared(asked, decoded).total, abs=3 * spread)
    assert spread < 0.01


def test_ratios_are_those_of_independent_resamples():
    """Of a set with itself the ratio is 1, and as unsure as two sets of that size make it."""
    one = traces(60, seed=0)
    bounds = trace_intervals(decoding(one, one), seed=3)
    own, of_ratio = np.ptp(bounds.real), np.ptp(bounds.ratio)
    assert bounds.ratio[0] < 1 < bounds.ratio[1]
    assert of_ratio == pytest.approx(np.sqrt(2) * own / r_squared(*one).total, rel=0.15)
    assert bounds.real != bounds.sampled
    assert bounds == trace_intervals(decoding(one, one), seed=3)
    assert bounds != trace_intervals(decoding(one, one), seed=4)


def test_no_ratio_where_the_real_score_may_be_none():
    """R² of about 0.1 from 12 trials: resamples of the real trials that are not decoded have no ratio."""
    poor = traces(12, seed=2, noise=0.95)
    good = traces(12, seed=1)
    bounds = trace_intervals(decoding(poor, good), seed=0)
    assert bounds.real[0] <= 0 < bounds.real[1]
    assert bounds.sampled[0] > 0
    assert bounds.ratio is None


# -- Classes


def test_accuracies_are_binomial():
    """160 of 200 and 90 of 100: quantiles of so many draws, to one hit; of the ratio by the delta method."""
    real = np.array([[70, 30], [10, 90]])
    sampled = np.array([[50, 5], [5, 40]])
    bounds = class_intervals(ClassDecoding(real, sampled), seed=0)
    for side, share, n in ((bounds.real, 0.8, 200), (bounds.sampled, 0.9, 100)):
        expected = binom.ppf([0.025, 0.975], n, share) / n
        np.testing.assert_allclose(side, expected, atol=1.01 / n)
    relative = np.sqrt(0.2 / (0.8 * 200) + 0.1 / (0.9 * 100))
    ratio = 0.9 / 0.8
    assert np.ptp(bounds.ratio) == pytest.approx(2 * 1.96 * relative * ratio, rel=0.1)
    assert np.mean(bounds.ratio) == pytest.approx(ratio, rel=0.02)


def test_classes_that_are_always_or_never_decoded():
    always, never = np.diag([4, 4]), np.array([[0, 4], [4, 0]])
    bounds = class_intervals(ClassDecoding(always, never), seed=0)
    assert bounds == ((1.0, 1.0), (0.0, 0.0), (0.0, 0.0))
    bounds = class_intervals(ClassDecoding(never, always), seed=0)
    assert bounds == ((0.0, 0.0), (1.0, 1.0), None)
    none, one = np.zeros((2, 2), int), np.array([[1, 0], [0, 0]])
    assert class_intervals(ClassDecoding(none, one), seed=0) == (None, None, None)


# -- Angles


@pytest.mark.parametrize("n_trials", [2, 7, 8])
def test_medians_of_resamples_are_those_of_repeated_values(n_trials):
    values = np.random.default_rng(0).permutation(n_trials) ** 2.0
    weights = trial_weights(n_trials, 50, seed=1)
    expected = [np.median(np.repeat(values, counts)) for counts in weights]
    np.testing.assert_array_equal(medians_of_resamples(values, weights), expected)


def test_angle_errors_have_intervals():
    """The standard deviation of a median is 1 / (2 f sqrt(n)); |error| of sd 10 has density f = 0.0636 there."""
    rng = np.random.default_rng(0)
    asked = rng.uniform(0, 360, 900)
    decoded = (asked + rng.normal(0, 10, 900)) % 360
    bounds = angle_intervals(AngleDecoding(asked, decoded, asked[:1], decoded[:1]), seed=0)
    assert np.mean(bounds.real) == pytest.approx(6.745, abs=0.8)
    assert np.ptp(bounds.real) == pytest.approx(2 * 1.96 / (2 * 0.0636 * 30), rel=0.35)
    assert bounds.real[0] < median_angle_error(asked, decoded) < bounds.real[1]
    assert (bounds.sampled, bounds.ratio) == (None, None)


def test_angle_errors_by_hand():
    np.testing.assert_allclose(
        angle_errors(np.array([359.0, 1.0, 90.0]), np.array([1.0, 355.0, 270.0])), [2, 6, 180]
    )
