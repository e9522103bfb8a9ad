"""A linear-Gaussian model of single trials as a baseline: factor analysis, vector autoregression, Poisson.

A few factors, found in smoothed counts, follow a vector autoregression (VAR): rates are linear in the factors
and counts are Poisson. Units then correlate, and rates vary from trial to trial, as they do not
in samples of the PSTH. A nonlinear model of latent dynamics has to beat this.

Legend: S trials, T bins, N units, K factors, P lags, X bins of all trials laid end to end.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ldns_ray.evaluation.baselines.psth import draw, psth, smooth
from ldns_ray.evaluation.statistics import Floats, Ints, Spikes, flatten_counts

LARGEST_RADIUS = 0.999
"""Spectral radius, per bin, to which the dynamics are shrunk where the fit exceeds it."""

SPAN_S = 0.5
"""Seconds over which the dynamics are fitted to the factors' autocovariance."""

_CALIBRATION_BINS = 40_000
_CALIBRATION_ROUNDS = 10
_CALIBRATION_KEY = 1  # its draws are not those of samples of the same seed


@dataclass(frozen=True)
class FactorVar:
    """Rates in counts per bin: max(mean + offset + loadings z, floor), z_t = Σ A_l z_{t-l} + C ε_t."""

    mean_TN: Floats
    """Average of all trials by bin from their start, up to the longest trial's end; smoothed."""
    offset_N: Floats
    """Added to the mean, so that rates still average to it after they are floored."""
    loadings_NK: Floats
    """Counts per bin, per unit of a factor."""
    coefficients_PKK: Floats
    """A_1 … A_P, the shortest lag first."""
    innovation_KK: Floats
    """C, a square root of the innovations' covariance."""
    start_SPK: Floats
    """Factors in the first P bins of each training trial; 0 after the end of a shorter one."""
    trial_bins_S: Ints
    """Bins of each training trial."""
    floor: float
    """Smallest rate."""

    @property
    def n_lags(self) -> int:
        return len(self.coefficients_PKK)

    @property
    def n_factors(self) -> int:
        return len(self.innovation_KK)


def fit_factor_var(
    spikes: Spikes,
    *,
    bin_width_s: float,
    n_factors: int = 10,
    n_lags: int = 5,
    sd_s: float = 0.05,
    floor: float = 1e-3,
    seed: int = 0,
) -> FactorVar:
    """Fit factors and their dynamics to training trials.

    1. The smoothed average of all trials (`baselines.psth`) is taken off, by bin from the start of the trial.
    2. Factor analysis of the counts, smoothed inside each trial, gives the loadings.
    3. A VAR by least squares in the Yule-Walker equations of the first `SPAN_S`: of the covariances between
       factors at two bins of a trial. They come from the counts of two bins, not smoothed, or of two units, in
       which Poisson noise has no part. (Regression of smoothed factors on their past finds the filter's
       dynamics beside those of the rates.) If it is not stable, A_l is multiplied by g^l, which multiplies
       every pole by g: the largest comes to `LARGEST_RADIUS`.
    4. Floored rates vary less than the Gaussian and their mean is higher. So the model is simulated, and its
       loadings and means are set so that the rates have the counts' means and covariance of factors.

    Numbers of factors and lags are lowered to what the data can tell: factors to Ledermann's bound for the units
    that ever vary (one at least), lags to the longest trial and to half as many parameters as bins. One unit
    shares no variance with another, so its model is little else than the average.

    Args:
        spikes: (S, T, N) counts, or (T_i, N) each; at least one trial of two bins or more.
        bin_width_s: seconds per bin.
        n_factors: the most factors.
        n_lags: the most lags. So many bins at the start of a sample have a training trial's factors.
        sd_s: standard deviation of the Gaussian filters, in seconds; 0 for none.
        floor: smallest expected count per bin, so that no spike is impossible.
        seed: of the simulation in step 4.

    Raises:
        ValueError: a setting out of range, invalid counts, or no trial with two bins.
    """
    if n_factors < 1 or n_lags < 1:
        raise ValueError(
            f"n_factors and n_lags must be at least 1, got {n_factors} and {n_lags}. The usual "
            "choice is 10 and 5."
        )
    mean_TN = psth(spikes, None, bin_width_s=bin_width_s, sd_s=sd_s, floor=floor).rates_LTN[0]
    counts_XN, n_bins_S = flatten_counts(spikes)
    if n_bins_S.max() < 2:
        raise ValueError(
            "fit_factor_var needs a trial of at least 2 bins, got 1 bin in the longest. "
            "Use baselines.psth for counts without time."
        )
    trials = np.split(counts_XN, np.cumsum(n_bins_S)[:-1])
    sd_bins = sd_s / bin_width_s
    raw_NN, smoothed_NN = _covariances(trials, mean_TN, sd_bins)
    loadings_NK, posterior_KN = _factors(smoothed_NN, min(n_factors, len(counts_XN) - 1))
    # A left inverse of the loadings that trusts units by their noise: the posterior mean without its shrinkage.
    inverse_KN = np.linalg.pinv(posterior_KN @ loadings_NK) @ posterior_KN

    z_STK = [x_TN @ inverse_KN.T - mean_TN[: len(x_TN)] @ inverse_KN.T for x_TN in trials]
    n_lags = _identifiable_lags(n_bins_S, n_lags, len(inverse_KN))
    span = min(max(2 * n_lags, round(SPAN_S / bin_width_s)), int(n_bins_S.max()) - 1)
    shared_KK = _shared_covariance(raw_NN, loadings_NK, inverse_KN)
    covariance_LKK = np.stack([shared_KK, *(_lagged(z_STK, lag) for lag in range(1, span + 1))])
    coefficients_PKK, innovation_KK = _yule_walker(covariance_LKK, n_lags)

    # Smoothing acts on time and the posterior mean on units, so their order does not matter.
    means_STK = [
        smooth(x_TN @ posterior_KN.T, sd_bins) - mean_TN[: len(x_TN)] @ posterior_KN.T
        for x_TN in trials
    ]
    widen_KK = _transport(_second_moment(np.concatenate(means_STK)), shared_KK)
    start_SPK = np.zeros((len(trials), *coefficients_PKK.shape[:2]))
    for start_PK, z_TK in zip(start_SPK, means_STK, strict=True):
        start_PK[: len(z_TK)] = z_TK[: len(start_PK)] @ widen_KK
    model = FactorVar(
        mean_TN, np.zeros(len(raw_NN)), loadings_NK, coefficients_PKK, innovation_KK,
        start_SPK, n_bins_S, floor,
    )  # fmt: skip
    return _calibrate(model, shared_KK, inverse_KN, seed)


def sample_factor_var(
    model: FactorVar, n: int, *, seed: int, first_trial: int = 0
) -> tuple[list[NDArray[np.int64]], list[Floats]]:
    """Draw trials: length and first factors are those of a random training trial.

    Trial i depends on (seed, first_trial + i) alone, so a set may be drawn in parts.

    Returns:
        n arrays (T_i, N) of counts, and the rates they were drawn from.
    """
    return draw(lambda rng: _rates(model, _draw_factors(model, rng)), n, seed, first_trial)


def spectral_radius(coefficients_PKK: Floats) -> float:
    """Largest absolute pole of the VAR; the process is stationary below 1."""
    n_lags, k, _ = coefficients_PKK.shape
    companion = np.eye(n_lags * k, k=-k)
    companion[:k] = np.concatenate(list(coefficients_PKK), axis=1)
    return float(np.abs(np.linalg.eigvals(companion)).max())


def _draw_factors(model: FactorVar, rng: np.random.Generator) -> Floats:
    s = rng.integers(len(model.trial_bins_S))
    n_bins, n_lags = int(model.trial_bins_S[s]), model.n_lags
    z_TK = np.empty((n_bins, model.n_factors))
    z_TK[:n_lags] = model.start_SPK[s, :n_bins]
    drive_TK = rng.standard_normal(z_TK.shape) @ model.innovation_KK.T
    past_to_now = np.concatenate(list(model.coefficients_PKK[::-1]), axis=1)  # oldest lag first
    for t in range(n_lags, n_bins):
        z_TK[t] = past_to_now @ z_TK[t - n_lags : t].ravel() + drive_TK[t]
    return z_TK


def _rates(model: FactorVar, z_TK: Floats) -> Floats:
    linear_TN = model.mean_TN[: len(z_TK)] + model.offset_N + z_TK @ model.loadings_NK.T
    return np.maximum(linear_TN, model.floor)


def _covariances(
    trials: Sequence[NDArray[np.unsignedinteger]], mean_TN: Floats, sd_bins: float
) -> tuple[Floats, Floats]:
    """(N, N) second moments about the mean by bin, of counts and of smoothed counts."""
    raw_NN, smoothed_NN = np.zeros((2, mean_TN.shape[1], mean_TN.shape[1]))
    for trial in trials:
        x_TN = trial.astype(np.float64)
        residual_TN = x_TN - mean_TN[: len(x_TN)]
        raw_NN += residual_TN.T @ residual_TN
        residual_TN = smooth(x_TN, sd_bins) - mean_TN[: len(x_TN)]
        smoothed_NN += residual_TN.T @ residual_TN
    n_bins = sum(map(len, trials))
    return raw_NN / n_bins, smoothed_NN / n_bins


def _factors(covariance_NN: Floats, n_factors: int) -> tuple[Floats, Floats]:
    """Loadings (N, K), and the matrix (K, N) that takes a residual to its factors' posterior mean."""
    # On first use: it takes a second to import, and the metrics are used without it.
    from sklearn.decomposition import FactorAnalysis
    from sklearn.exceptions import ConvergenceWarning

    n_units = len(covariance_NN)
    varies = np.flatnonzero(np.diag(covariance_NN) > 1e-12 * np.diag(covariance_NN).max(initial=0))
    if not len(varies):
        return np.zeros((n_units, 1)), np.zeros((1, n_units))
    sd_V = np.sqrt(np.diag(covariance_NN)[varies])
    correlation_VV = covariance_NN[np.ix_(varies, varies)] / np.outer(sd_V, sd_V)
    # With more factors than this there are as many parameters as covariances (Ledermann 1937).
    bound = (2 * len(varies) + 1 - np.sqrt(8 * len(varies) + 1)) / 2
    # Factor analysis knows data by their covariance alone: these 2V rows have it, and mean 0.
    root_VV = _power(correlation_VV, 0.5) * np.sqrt(len(varies))
    analysis = FactorAnalysis(
        max(1, min(n_factors, int(bound))), tol=1e-8, max_iter=1000, svd_method="lapack"
    )
    with warnings.catch_warnings():
        # A unit that a factor explains whole (a Heywood case) is approached without end; any late step will do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        analysis.fit(np.concatenate([root_VV, -root_VV]))
    loadings_VK = analysis.components_.T
    weighted_KV = loadings_VK.T / analysis.noise_variance_
    precision_KK = np.eye(len(weighted_KV)) + weighted_KV @ loadings_VK
    loadings_NK = np.zeros((n_units, len(weighted_KV)))
    loadings_NK[varies] = loadings_VK * sd_V[:, None]
    posterior_KN = np.zeros(loadings_NK.T.shape)
    posterior_KN[:, varies] = np.linalg.solve(precision_KK, weighted_KV) / sd_V
    return loadings_NK, posterior_KN


def _identifiable_lags(n_bins_S: Ints, n_lags: int, n_factors: int) -> int:
    """The most lags up to `n_lags` whose parameters, per factor, are half as many as the bins they predict."""
    predicted_P = [np.maximum(n_bins_S - lags, 0).sum() for lags in range(1, n_lags + 1)]
    enough = [p for p, bins in enumerate(predicted_P, 1) if bins >= 2 * p * n_factors]
    return max(enough, default=1)


def _shared_covariance(raw_NN: Floats, loadings_NK: Floats, inverse_KN: Floats) -> Floats:
    """(K, K) covariance of factors that gives pairs of different units the covariance of their counts.

    A unit's variance holds Poisson noise too and is left out: in its place stands, in turns, what the
    solution implies, from that of the loadings on.
    """
    filled_NN = raw_NN.copy()
    shared_N = np.sum(loadings_NK**2, axis=1)
    for _ in range(1000):
        np.fill_diagonal(filled_NN, shared_N)
        covariance_KK = inverse_KN @ filled_NN @ inverse_KN.T
        before, shared_N = shared_N, np.sum(loadings_NK @ covariance_KK * loadings_NK, axis=1)
        if np.abs(shared_N - before).max() <= 1e-6 * np.abs(shared_N).max():
            break
    return _power(covariance_KK, 1.0)


def _lagged(z_STK: Sequence[Floats], lag: int) -> Floats:
    """(K, K) covariance of z at t + lag (rows) and at t, over all such pairs of bins inside a trial."""
    long = [z_TK for z_TK in z_STK if len(z_TK) > lag]
    products = sum((z_TK[lag:].T @ z_TK[:-lag] for z_TK in long), np.zeros(()))
    return np.asarray(products / sum(len(z_TK) - lag for z_TK in long))


def _yule_walker(covariance_LKK: Floats, n_lags: int) -> tuple[Floats, Floats]:
    """Stable coefficients (P, K, K), and a square root (K, K) of the innovations' covariance.

    Least squares in Γ_l = Σ_p A_p Γ_{l-p}, for all l from 1 to the last that is given, Γ_{-l} = Γ_lᵀ.
    """
    k = covariance_LKK.shape[1]
    both_ways = {lag: c for lag, c in enumerate(covariance_LKK)}
    both_ways |= {-lag: c.T for lag, c in enumerate(covariance_LKK)}
    lags = range(1, n_lags + 1)
    past = [
        np.concatenate([both_ways[lag - p] for p in lags]) for lag in range(1, len(covariance_LKK))
    ]
    solution, *_ = np.linalg.lstsq(
        np.concatenate([p.T for p in past]), np.concatenate([c.T for c in covariance_LKK[1:]]),
        rcond=1e-6,  # directions in which the factors hardly vary are left at rest
    )  # fmt: skip
    coefficients_PKK = solution.reshape(n_lags, k, k).transpose(0, 2, 1)
    shrink = min(1.0, LARGEST_RADIUS / max(spectral_radius(coefficients_PKK), 1e-12))
    coefficients_PKK = coefficients_PKK * shrink ** np.array(lags)[:, None, None]
    explained_KK = np.einsum("pij,pkj->ik", coefficients_PKK, covariance_LKK[1 : n_lags + 1])
    return coefficients_PKK, _power(covariance_LKK[0] - explained_KK, 0.5)


def _calibrate(model: FactorVar, shared_KK: Floats, inverse_KN: Floats, seed: int) -> FactorVar:
    """The model with loadings and offset that give its rates the mean of the data and this covariance."""
    z_STK: list[Floats] = []
    n_bins = 0
    while n_bins < _CALIBRATION_BINS:
        rng = np.random.default_rng([seed, len(z_STK), _CALIBRATION_KEY])
        z_STK.append(_draw_factors(model, rng))
        n_bins += len(z_STK[-1])
    z_XK = np.concatenate(z_STK)
    mean_XN = np.concatenate([model.mean_TN[: len(z_TK)] for z_TK in z_STK])
    drawn_KK, target_N, wanted_KK = _second_moment(z_XK), mean_XN.mean(0), shared_KK
    offset_N, loadings_NK = model.offset_N, model.loadings_NK
    for _ in range(_CALIBRATION_ROUNDS):
        loadings_NK = model.loadings_NK @ _transport(drawn_KK, wanted_KK)
        linear_XN = mean_XN + z_XK @ loadings_NK.T
        for _ in range(3):
            rate_XN = np.maximum(linear_XN + offset_N, model.floor)
            offset_N = offset_N + target_N - rate_XN.mean(0)
        rate_XN = np.maximum(linear_XN + offset_N, model.floor)
        got_KK = _second_moment((rate_XN - mean_XN) @ inverse_KN.T)
        wanted_KK = _power(wanted_KK + shared_KK - got_KK, 1.0)
    return replace(model, loadings_NK=loadings_NK, offset_N=offset_N)


def _second_moment(z_XK: Floats) -> Floats:
    return np.asarray(z_XK.T @ z_XK / len(z_XK))


def _transport(from_KK: Floats, to_KK: Floats) -> Floats:
    """The symmetric map between Gaussians of these covariances that moves them least."""
    root_KK, whiten_KK = _power(from_KK, 0.5), _power(from_KK, -0.5)
    return whiten_KK @ _power(root_KK @ to_KK @ root_KK, 0.5) @ whiten_KK


def _power(matrix: Floats, exponent: float) -> Floats:
    """A power of a symmetric matrix; eigenvalues that are not positive count as 0, also when inverted."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > 1e-10 * max(values[-1], 0.0)
    powers = np.where(kept, np.where(kept, values, 1.0) ** exponent, 0.0)
    return np.asarray((vectors * powers) @ vectors.T)
