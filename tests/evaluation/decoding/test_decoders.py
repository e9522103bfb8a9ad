"""Decoders on data whose answer is known: by hand, or since the truth is linear."""

import numpy as np
import pytest

from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    ClassDecoding,
    RSquared,
    TraceDecoding,
    TracePairs,
    TrialPairs,
    accuracy,
    confusion,
    decode_angles,
    decode_classes,
    decode_traces,
    degrees,
    fit_discriminant,
    fit_ridge,
    mean_counts,
    median_angle_error,
    r_squared,
    with_lags,
)


def linear(n_trials, *, seed, lag=0, n_inputs=6):
    """Trials of unequal length whose covariate is a fixed linear map of the rates `lag` bins before."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(0).normal(size=(n_inputs, 2))
    rates = [1 + rng.random((n, n_inputs)) for n in rng.integers(5, 20, n_trials)]
    asked = [x[np.maximum(np.arange(len(x)) - lag, 0)] @ weights + [3.0, -2.0] for x in rates]
    return TracePairs(rates, asked)


# -- Per-bin covariates


def test_what_is_linear_in_the_rates_is_decoded():
    decoding = decode_traces(linear(30, seed=1), linear(10, seed=2), linear(8, seed=3))
    assert decoding.real.total == pytest.approx(1.0, abs=1e-8)
    assert decoding.sampled.per_channel == pytest.approx((1.0, 1.0), abs=1e-8)
    assert decoding.ratio == pytest.approx(1.0, abs=1e-8)
    for asked, decoded in zip(decoding.asked, decoding.decoded, strict=True):
        np.testing.assert_allclose(decoded, asked, atol=1e-4)
    assert r_squared(decoding.asked_real, decoding.decoded_real) == decoding.real
    assert len(decoding.asked_real) == 10


def test_samples_of_another_covariate_are_found_out():
    """The decoder is that of the real trials: shuffled requests score no better than the mean."""
    sampled = linear(60, seed=3)
    bins = np.concatenate(sampled.asked)
    shuffled = TracePairs([np.concatenate(sampled.inputs)], [np.random.default_rng(0).permutation(bins)])  # fmt: skip
    decoding = decode_traces(linear(30, seed=1), linear(10, seed=2), shuffled)
    assert decoding.real.total > 0.999
    assert decoding.sampled.total < 0


def test_lags_see_the_bins_before():
    train, real = linear(30, seed=1, lag=2), linear(10, seed=2, lag=2)
    assert decode_traces(train, real, real, lags=0).real.total < 0.5
    assert decode_traces(train, real, real, lags=2).real.total == pytest.approx(1.0, abs=1e-8)


def test_with_lags_by_hand():
    x = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    expected = [[1, 10, 1, 10, 1, 10], [2, 20, 1, 10, 1, 10], [3, 30, 2, 20, 1, 10]]
    np.testing.assert_array_equal(with_lags(x, 2), expected)
    np.testing.assert_array_equal(with_lags(x, 0), x)


def test_ridge_by_hand():
    """One input of variance 4 and slope 3: the penalty alpha shrinks the slope by 1 + alpha."""
    x = np.array([[1.0], [5.0]])
    decoder = fit_ridge(TracePairs([x], [3 * x]), alpha=0.5)
    assert decoder.weights_FK.item() == pytest.approx(3 / 1.5)
    assert decoder.decode([np.array([[3.0]])])[0].item() == pytest.approx(9.0)


def test_ridge_is_the_least_squares_fit_and_blind_to_the_scale_of_inputs():
    pairs = linear(20, seed=4)
    noisy = [y + np.random.default_rng(5).normal(size=y.shape) for y in pairs.asked]
    x, y = np.concatenate(pairs.inputs), np.concatenate(noisy)
    expected, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)
    for scale in (1.0, 1e-4):
        decoder = fit_ridge(TracePairs([scale * x for x in pairs.inputs], noisy), alpha=1e-9)
        np.testing.assert_allclose(scale * decoder.weights_FK, expected[:-1], rtol=1e-5)
        np.testing.assert_allclose(decoder.offset_K, expected[-1], rtol=1e-5)


def test_silent_units_do_not_disturb():
    pairs = linear(20, seed=4)
    silent = TracePairs([np.c_[x, np.full(len(x), 0.7)] for x in pairs.inputs], pairs.asked)
    decoder = fit_ridge(silent)
    assert decoder.weights_FK[-1].tolist() == [0.0, 0.0]
    assert r_squared(silent.asked, decoder.decode(silent.inputs)).total > 0.999


def test_r_squared_by_hand():
    """Errors 0, 1 of spread 2 and errors 2, 0, 2 of spread 8, over two trials."""
    asked = [np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[2.0, 4.0]])]
    decoded = [np.array([[0.0, 2.0], [1.0, 2.0]]), np.array([[1.0, 2.0]])]
    assert r_squared(asked, decoded) == RSquared(
        pytest.approx(1 - 9 / 10), (pytest.approx(1 / 2), 0.0)
    )


def test_r_squared_where_nothing_varies():
    still = [np.full((4, 1), 0.1)]
    assert r_squared(still, [np.zeros((4, 1))]) == RSquared(0.0, (0.0,))


def test_no_ratio_where_real_trials_cannot_be_decoded():
    assert TraceDecoding(RSquared(-0.1, ()), RSquared(0.5, ()), [], [], [], []).ratio is None


@pytest.mark.parametrize(("settings", "message"), [({"alpha": 0.0}, "alpha must be positive"),
                                                   ({"lags": -1}, "got 1e-06 and -1")])  # fmt: skip
def test_ridge_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        fit_ridge(linear(3, seed=0), **settings)


def test_trials_must_fit_their_covariate():
    pairs = linear(3, seed=0)
    with pytest.raises(ValueError, match="as many bins of inputs as of covariate, got 3 trials"):
        fit_ridge(TracePairs(pairs.inputs, pairs.asked[:2]))
    with pytest.raises(ValueError, match="got 0 trials of 0 bins"):
        decode_traces(pairs, pairs, TracePairs([], []))


# -- Classes


def classes(n_trials, *, seed, n_classes=4, spread=0.3):
    rng = np.random.default_rng(seed)
    asked = np.arange(n_trials) % n_classes
    means = 2 * np.random.default_rng(0).normal(size=(n_classes, 12))
    return TrialPairs(means[asked] + spread * rng.normal(size=(n_trials, 12)), asked)


def test_classes_far_apart_are_all_decoded():
    decoding = decode_classes(*(classes(40, seed=seed) for seed in range(3)))
    np.testing.assert_array_equal(decoding.confusion_real_CC, 10 * np.eye(4))
    assert (decoding.accuracy_sampled, decoding.ratio, decoding.chance) == (1.0, 1.0, 0.25)


def test_samples_of_other_classes_are_found_out():
    sampled = classes(40, seed=2)
    turned = sampled._replace(asked_S=(sampled.asked_S + 1) % 4)
    decoding = decode_classes(classes(40, seed=0), classes(40, seed=1), turned)
    assert (decoding.accuracy_real, decoding.accuracy_sampled) == (1.0, 0.0)
    np.testing.assert_array_equal(decoding.confusion_sampled_CC[1], [10, 0, 0, 0])


def test_discriminant_by_hand():
    """Means -1 and 3 on one axis: equal priors decide at 1, whatever the number of trials of each class."""
    inputs = np.array([[-2.0], [0.0], [-2.0], [0.0], [2.0], [4.0]])
    decoder = fit_discriminant(TrialPairs(inputs, np.array([5, 5, 5, 5, 9, 9])))
    assert decoder.decode(np.array([[0.99], [1.01]])).tolist() == [5, 9]


def test_discriminant_knows_which_direction_is_noise():
    """Two units that rise and fall together, and tell the class by their difference alone."""
    rng = np.random.default_rng(0)
    asked = np.arange(400) % 2
    common, own = 5 * rng.normal(size=(400, 1)), 0.1 * rng.normal(size=(400, 2))
    inputs = common + own + np.where(asked[:, None] == 0, [0.5, -0.5], [-0.5, 0.5])
    first, second = TrialPairs(inputs[:200], asked[:200]), TrialPairs(inputs[200:], asked[200:])
    assert decode_classes(first, second, second, shrinkage=0.01).accuracy_real == 1.0
    nearest_mean = decode_classes(first, second, second, shrinkage=1.0)
    assert nearest_mean.accuracy_real < 0.9


def test_trials_without_any_spread():
    inputs = np.array([[0.0], [0.0], [1.0], [1.0]])
    decoder = fit_discriminant(TrialPairs(inputs, np.array([0, 0, 1, 1])))
    assert decoder.decode(np.array([[0.2], [0.8]])).tolist() == [0, 1]


def test_confusion_by_hand():
    table = confusion(np.array([2, 2, 7, 7, 7]), np.array([2, 7, 7, 7, 2]), np.array([2, 7, 8]))
    np.testing.assert_array_equal(table, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert accuracy(table) == pytest.approx(3 / 5)
    assert accuracy(np.zeros((2, 2), np.int64)) == 0.0
    assert ClassDecoding(table, table).chance == pytest.approx(1 / 3)


def test_classes_refuse():
    with pytest.raises(ValueError, match=r"of the classes of training, \[0, 1\], got \[4\]"):
        confusion(np.array([0, 4]), np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(ValueError, match="at least 2 classes"):
        fit_discriminant(classes(8, seed=0, n_classes=1))
    with pytest.raises(ValueError, match=r"shrinkage in \(0, 1\], got 4 and 0"):
        fit_discriminant(classes(8, seed=0), shrinkage=0)


# -- Angles


def reaches(n_trials, *, seed, noise=0.0):
    """Units with cosine tuning, as in Georgopoulos et al. 1982."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n_trials)
    preferred = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    counts = 2 + np.cos(angle[:, None] - preferred) + noise * rng.normal(size=(n_trials, 20))
    return TrialPairs(counts, np.stack([np.cos(angle), np.sin(angle)], 1))


def test_cosine_tuning_is_decoded():
    train, real, noisy = reaches(200, seed=0), reaches(50, seed=1), reaches(50, seed=2, noise=2.0)
    decoding = decode_angles(train, real, noisy)
    assert decoding.error_real < 0.1
    assert 5 < decoding.error_sampled < 45
    np.testing.assert_allclose(decoding.asked_real_S, degrees(real.asked_S))


def test_angles_asked_at_random_are_far_off():
    sampled = reaches(400, seed=2)
    mixed = sampled._replace(asked_S=np.random.default_rng(0).permutation(sampled.asked_S))
    assert decode_angles(reaches(200, seed=0), sampled, mixed).error_sampled == pytest.approx(90, abs=15)  # fmt: skip


def test_angles_by_hand():
    np.testing.assert_allclose(degrees([[1, 0], [0, 2], [-1, 0], [0, -1]]), [0, 90, 180, 270])
    asked, decoded = np.array([359.0, 1.0, 90.0]), np.array([1.0, 355.0, 270.0])
    assert median_angle_error(asked, decoded) == 6.0  # of 2, 6 and 180
    assert AngleDecoding(asked, asked, asked, decoded).error_real == 0.0


# -- Counts


def test_mean_counts_by_hand():
    spikes = [np.array([[9, 9], [1, 0], [3, 0]], np.uint8), np.array([[9, 9], [2, 4]], np.uint8)]
    np.testing.assert_array_equal(mean_counts(spikes, 1), [[2, 0], [2, 4]])
    assert mean_counts([np.full((300, 1), 255, np.uint8)]).item() == 255
    with pytest.raises(ValueError, match="shortest of which has 2 bins, got 2"):
        mean_counts(spikes, 2)
