"""The linear-Gaussian baseline against a known model of its kind, and where its assumptions end."""

import numpy as np
import pytest
from sklearn.decomposition import FactorAnalysis

from ldns_ray.evaluation.baselines.factor_var import (
    LARGEST_RADIUS,
    fit_factor_var,
    sample_factor_var,
    spectral_radius,
)
from ldns_ray.evaluation.baselines.psth import psth, sample_psth
from ldns_ray.evaluation.metrics import rmse_corr
from ldns_ray.evaluation.score import realism

BIN = 0.01
ROTATION = 0.97 * np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
"""Factors turn once in 63 bins and forget in 33, both slow beside a smoothing of 5 bins."""


def truth(n_units=20, gain=0.5, seed=0):
    """Mean counts per bin (N,), and loadings (N, 2) of factors of variance 1."""
    rng = np.random.default_rng(seed)
    return rng.uniform(1.5, 3.0, n_units), gain * rng.uniform(-1, 1, (n_units, 2))


def draw(mean_N, loadings_NK, n_trials, n_bins=100, seed=1):
    """Trials of the known model: a stationary VAR(1) of rates at least 0, Poisson counts."""
    rng = np.random.default_rng(seed)
    innovation = np.sqrt(1 - 0.97**2)
    z_TSK = np.empty((n_bins, n_trials, 2))
    z_TSK[0] = rng.standard_normal((n_trials, 2))
    for t in range(1, n_bins):
        z_TSK[t] = z_TSK[t - 1] @ ROTATION.T + innovation * rng.standard_normal((n_trials, 2))
    rates = np.maximum(mean_N + z_TSK @ loadings_NK.T, 0)
    return rng.poisson(rates.transpose(1, 0, 2)).astype(np.uint8)


def covariance(counts_STN, lag):
    """(N, N): of counts at t + lag (rows) and at t."""
    centred = counts_STN - counts_STN.mean((0, 1))
    late, early = centred[:, lag:], centred[:, : centred.shape[1] - lag]
    return np.einsum("stn,stm->nm", late, early) / (late.shape[0] * late.shape[1])


@pytest.fixture(scope="module")
def known():
    """Mean, loadings, 200 training trials, and 1000 sampled from the model fitted to them."""
    mean_N, loadings_NK = truth()
    train = draw(mean_N, loadings_NK, 200)
    model = fit_factor_var(train, bin_width_s=BIN, n_factors=2)
    return mean_N, loadings_NK, train, np.stack(sample_factor_var(model, 1000, seed=3)[0])


def test_covariances_of_a_known_model(known):
    """Cov = L A^lag Lᵀ for pairs of different units, at lag 0 and within and beyond the smoothing.

    200 trials of 100 bins at a memory of 33 hold a few hundred independent pieces, so the sample covariance
    itself is off by a tenth.
    """
    mean_N, loadings_NK, _, drawn = known
    np.testing.assert_allclose(drawn.mean((0, 1)), mean_N, rtol=0.05)
    pairs = ~np.eye(len(mean_N), dtype=bool)
    for lag, tolerance in ((0, 0.15), (3, 0.15), (10, 0.2), (25, 0.25)):
        expected = loadings_NK @ np.linalg.matrix_power(ROTATION, lag) @ loadings_NK.T
        error = (covariance(drawn, lag) - expected)[pairs]
        at_0 = (loadings_NK @ loadings_NK.T)[pairs]
        assert np.sqrt(np.mean(error**2)) < tolerance * np.sqrt(np.mean(at_0**2)), lag
    # Poisson noise is on the diagonal alone.
    variance_N = np.diag(covariance(drawn, 0))
    np.testing.assert_allclose(variance_N, mean_N + np.sum(loadings_NK**2, 1), rtol=0.1)


def test_closer_than_independent_poisson(known):
    mean_N, loadings_NK, train, drawn = known
    fresh = draw(mean_N, loadings_NK, 400, seed=9)
    poisson = sample_psth(psth(train, None, bin_width_s=BIN), 400, seed=3)[0]
    assert rmse_corr(fresh, drawn[:400]) < 0.2 * rmse_corr(fresh, poisson)
    # Poisson noise rules the intervals and the population counts, so correlations alone set the two apart.
    assert realism(fresh, drawn, BIN).score < 1.5 < 2 < realism(fresh, poisson, BIN).score


def test_calibration_holds_where_rates_are_floored():
    """At 10 spikes per second in 10 ms bins most of the Gaussian lies below zero rates."""
    mean_N, loadings_NK = np.full(20, 0.1), truth(gain=0.3)[1]
    train = draw(mean_N, loadings_NK, 200)
    fitted = fit_factor_var(train, bin_width_s=BIN, n_factors=2)
    drawn = np.stack(sample_factor_var(fitted, 1000, seed=0)[0])
    np.testing.assert_allclose(drawn.mean((0, 1)), train.mean((0, 1)), rtol=0.15)
    pairs = ~np.eye(20, dtype=bool)
    wanted, got = covariance(train, 0)[pairs], covariance(drawn, 0)[pairs]
    slope = (got @ wanted) / (wanted @ wanted)
    assert slope == pytest.approx(1, abs=0.15)
    assert np.corrcoef(got, wanted)[0, 1] > 0.9


def test_factors_are_those_of_factor_analysis():
    """What the fit knows through covariances alone is what scikit-learn finds in the smoothed counts."""
    mean_N, loadings_NK = truth(8)
    train = draw(mean_N, loadings_NK, 100)
    model = fit_factor_var(train, bin_width_s=BIN, n_factors=2, sd_s=0.0)
    residual = (train - train.mean(0)).reshape(-1, 8)
    direct = FactorAnalysis(2, tol=1e-6, max_iter=2000, svd_method="lapack").fit(residual)
    ours, theirs = (
        loadings @ np.linalg.pinv(loadings)
        for loadings in (model.loadings_NK, direct.components_.T)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_trial_depends_on_seed_and_number_alone():
    train = draw(*truth(6), 30, 40)
    ragged = [trial[: 20 + i % 9] for i, trial in enumerate(train)]
    model = fit_factor_var(ragged, bin_width_s=BIN)
    spikes, rates = sample_factor_var(model, 12, seed=1)
    part_spikes, part_rates = sample_factor_var(model, 5, seed=1, first_trial=7)
    for whole, part in ((spikes, part_spikes), (rates, part_rates)):
        for a, b in zip(whole[7:], part, strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(
        x.dtype == np.int64 and x.shape == r.shape for x, r in zip(spikes, rates, strict=True)
    )
    assert {len(x) for x in sample_factor_var(model, 200, seed=0)[0]} == set(range(20, 29))
    other = sample_factor_var(model, 12, seed=2)[0]
    assert sum(map(np.sum, spikes)) != sum(map(np.sum, other))
    again = fit_factor_var(ragged, bin_width_s=BIN)
    np.testing.assert_array_equal(again.loadings_NK, model.loadings_NK)


def test_no_step_from_one_trial_to_the_next():
    """Trials at two far levels, which they keep: in turns, or all of one before the other, is the same fit.

    A step between levels would be an innovation of the size of the factor's range.
    """
    rng = np.random.default_rng(0)
    levels = np.repeat([1.0, 9.0], 40)
    spikes = rng.poisson(levels[:, None, None], (80, 30, 6))
    sorted_, mixed = (
        fit_factor_var(spikes[order], bin_width_s=BIN, n_factors=1, sd_s=0.03)
        for order in (np.arange(80), np.arange(80).reshape(2, 40).T.ravel())
    )
    for name in ("coefficients_PKK", "innovation_KK"):
        np.testing.assert_allclose(getattr(sorted_, name), getattr(mixed, name), atol=1e-8)
    range_ = np.ptp(mixed.start_SPK)
    assert mixed.innovation_KK.item() < 0.05 * range_
    within = [np.ptp(rate.mean(1)[5:]) for rate in sample_factor_var(mixed, 50, seed=0)[1]]
    assert np.median(within) < 4


def test_unstable_dynamics_are_shrunk():
    """Trials that keep one of two levels, and as many bins of a third kind of trial in between, one bin each.

    The variance of all bins is half that of the long trials, which alone say how it lasts: it seems to grow
    from lag to lag, A = (2 · 1/2 · 1 + 3 · 1) / (1/4 + 3) in least squares of four lags.
    """
    rng = np.random.default_rng(0)
    long = rng.choice([20.0, 60.0], 100)[:, None, None] * np.ones((1, 5, 8))
    spikes = [*rng.poisson(long), *rng.poisson(40.0, (500, 1, 8))]
    model = fit_factor_var(spikes, bin_width_s=BIN, n_factors=1, n_lags=1, sd_s=0.0)
    assert spectral_radius(model.coefficients_PKK) == pytest.approx(LARGEST_RADIUS)
    assert np.isfinite(np.concatenate(sample_factor_var(model, 100, seed=0)[1])).all()


def test_spectral_radius_by_hand():
    """z² = z/2 + 1/2 has the poles 1 and -1/2; a lag's matrix of its own has its eigenvalues."""
    assert spectral_radius(np.array([[[0.5]], [[0.5]]])) == pytest.approx(1)
    assert spectral_radius(ROTATION[None]) == pytest.approx(0.97)


@pytest.mark.parametrize(
    "spikes",
    [
        np.random.default_rng(0).poisson(2.0, (20, 30, 1)),
        np.random.default_rng(0).poisson(2.0, (20, 30, 2)),
        np.random.default_rng(0).poisson([2.0, 0, 0, 3.0, 1.0], (20, 30, 5)),
        np.zeros((5, 10, 3), int),
        np.full((5, 10, 3), 2),
        np.random.default_rng(0).poisson(2.0, (20, 2, 6)),
        np.random.default_rng(0).poisson(2.0, (1, 12, 6)),
        np.random.default_rng(0).poisson(2.0, (1, 2, 6)),
        [np.ones((1, 4), int), np.random.default_rng(0).poisson(2.0, (9, 4))],
    ],
    ids=["one unit", "two units", "silent units", "no spikes", "constant", "two bins", "one trial",
         "one trial of two bins", "a trial of one bin"],
)  # fmt: skip
def test_little_data(spikes):
    model = fit_factor_var(spikes, bin_width_s=BIN)
    assert 0 <= spectral_radius(model.coefficients_PKK) <= LARGEST_RADIUS + 1e-9
    drawn, rates = sample_factor_var(model, 200, seed=0)
    assert {len(x) for x in drawn} == {len(x) for x in spikes}
    rates_XN, counts_XN = np.concatenate(rates), np.concatenate([*spikes])
    assert np.isfinite(rates_XN).all()
    assert rates_XN.min() >= 1e-3
    # As far as two samples of so few bins may differ, whose rates vary together: mean 2, at least 10 bins.
    np.testing.assert_allclose(rates_XN.mean(0), np.maximum(counts_XN.mean(0), 1e-3), atol=0.6)


def test_factors_and_lags_are_capped():
    spikes = np.random.default_rng(0).poisson(2.0, (20, 4, 6))
    model = fit_factor_var(spikes, bin_width_s=BIN, n_factors=10, n_lags=9)
    assert model.n_factors == 3  # Ledermann's bound of 6 units
    assert model.n_lags == 3  # 20 steps of 4th bins, of which each bears 3 x 3 + 1 parameters
    assert fit_factor_var(spikes[:9], bin_width_s=BIN, n_lags=9).n_lags == 2


def test_refused():
    spikes = np.ones((4, 1, 3), int)
    with pytest.raises(ValueError, match="needs a trial of at least 2 bins, got 1"):
        fit_factor_var(spikes, bin_width_s=BIN)
    for options in ({"n_factors": 0}, {"n_lags": 0}):
        with pytest.raises(ValueError, match="n_factors and n_lags must be at least 1"):
            fit_factor_var(np.ones((4, 9, 3), int), bin_width_s=BIN, **options)
    with pytest.raises(ValueError, match="bin_width_s and floor must be positive"):
        fit_factor_var(np.ones((4, 9, 3), int), bin_width_s=0.0)
    model = fit_factor_var(np.random.default_rng(0).poisson(2.0, (9, 9, 3)), bin_width_s=BIN)
    with pytest.raises(ValueError, match="n must be at least 1"):
        sample_factor_var(model, 0, seed=0)
