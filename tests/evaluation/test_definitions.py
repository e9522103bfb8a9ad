"""Every metric of a comparison, its floor and the score, computed again the long way from lists of ragged trials."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from ldns_ray.evaluation.catalogue import METRICS, SCORED
from ldns_ray.evaluation.comparison import Candidate, compare_candidates
from ldns_ray.evaluation.resampling import halvings, subsets

BIN = 0.02
WINDOW = 5  # bins in 100 ms
N_UNITS, N_LATENTS, N_LAGS = 6, 2, 20


def rms(values):
    values = list(values)
    return (sum(x**2 for x in values) / len(values)) ** 0.5


def population_counts(trials):
    return [sum(bin_) for trial in trials for bin_ in trial.tolist()]


def kl_psc(real, sampled):
    sides = [population_counts(x) for x in (real, sampled)]
    grid = range(max(map(max, sides)) + 1)
    p, q = (gaussian_kde(side)(grid) for side in sides)
    p, q = (np.maximum(x / x.sum(), 1e-12) for x in (p, q))
    return sum(b * np.log(b / a) for a, b in zip(p, q, strict=True))


def tv_psc(real, sampled):
    a, b = (Counter(population_counts(x)) for x in (real, sampled))
    share = [abs(a[k] / a.total() - b[k] / b.total()) for k in a | b]
    return sum(share) / 2


def correlation(trials, i, j):
    x, y = ([row[n] for trial in trials for row in trial.tolist()] for n in (i, j))
    return 0.0 if len(set(x)) == 1 or len(set(y)) == 1 else np.corrcoef(x, y)[0, 1]


def correlation_differences(real, sampled):
    pairs = itertools.combinations(range(N_UNITS), 2)
    return [correlation(real, i, j) - correlation(sampled, i, j) for i, j in pairs]


def rmse_corr_paper(real, sampled):
    zeros = [0.0] * (N_UNITS * (N_UNITS + 1) // 2)
    return rms(correlation_differences(real, sampled) + zeros)


def intervals(trials, unit):
    found = []
    for trial in trials:
        counts = enumerate(trial[:, unit].tolist())
        times = [bin_ + (i + 1) / (k + 1) for bin_, k in counts for i in range(k)]
        found += [b - a for a, b in itertools.pairwise(times)]
    return found


def rmse_isi(real, sampled, longest, moment, worst):
    errors = []
    for unit in range(N_UNITS):
        a, b = intervals(real, unit), intervals(sampled, unit)
        if a and b:
            errors.append(moment(a) - moment(b))
        elif max(len(a), len(b)) >= 10:
            errors.append(worst * longest)
    return BIN * rms(errors)


def difference_by_unit(figure, real, sampled):
    return rms(figure(real, unit) - figure(sampled, unit) for unit in range(N_UNITS))


def mean_rate(trials, unit):
    return sum(trial[:, unit].sum() for trial in trials) / (BIN * sum(map(len, trials)))


def sd_rate(trials, unit):
    return np.std([trial[:, unit].sum() / (BIN * len(trial)) for trial in trials])


def fano(trials, unit):
    starts = [(t, i) for t in trials for i in range(0, len(t), WINDOW) if i + WINDOW <= len(t)]
    counts = [trial[i : i + WINDOW, unit].sum() for trial, i in starts]
    return np.var(counts) / np.mean(counts) if any(counts) else 0.0


def groups(trials):
    strength = [sum(correlation(trials, i, j) ** 2 for j in range(N_UNITS) if j != i) for i in range(N_UNITS)]  # fmt: skip
    order = sorted(range(N_UNITS), key=lambda i: -strength[i])
    return [order[:2], order[2:4], order[4:5], order[5:]]


def correlogram(trials, i, j, lag):
    found = []
    for trial in trials:
        x, y = (trial[:, n] - trial[:, n].mean() for n in (i, j))
        shared = [t for t in range(len(trial)) if 0 <= t + lag < len(trial)]
        found.append(sum(x[t + lag] * y[t] for t in shared) / len(trial))
    return np.mean(found)


def rmse_autocorr(real, sampled, units):
    lags = [lag for lag in range(-N_LAGS, N_LAGS + 1) if lag]
    return rms(
        np.mean([correlogram(real, n, n, lag) - correlogram(sampled, n, n, lag) for n in group])
        for group in units
        for lag in lags
    )


def rmse_crosscorr(real, sampled, units):
    def difference(group, lag):
        pairs = list(itertools.combinations(group, 2))
        by_pair = [correlogram(real, *p, lag) - correlogram(sampled, *p, lag) for p in pairs]
        return np.mean(by_pair) if pairs else 0.0

    return rms(difference(group, lag) for group in units for lag in range(-N_LAGS, N_LAGS + 1))


def power(trials, latent, frequency):
    """Mean over trials, over that of white noise: each less its mean over time, under a Hann window."""
    found = []
    for trial in trials:
        n = len(trial)
        if n == 1:  # which is its own mean
            found.append(0.0)
            continue
        window = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
        wave = window * np.exp(-2j * np.pi * frequency * np.arange(n))
        x = trial[:, latent] - trial[:, latent].mean()
        # Noise of variance 1 less its mean has the covariance of what takes the mean off.
        centring = np.eye(n) - 1 / n
        found.append(abs(wave @ x) ** 2 / (wave.conj() @ centring @ wave).real)
    return np.mean(found)


def latent_spectrum(real, sampled, longest):
    edges = np.unique(np.rint(np.geomspace(1, longest // 2 + 1, 33)).astype(int))
    decibels = []
    for latent, (low, high) in itertools.product(range(N_LATENTS), itertools.pairwise(edges)):
        a, b = (np.mean([power(z, latent, k / longest) for k in range(low, high)]) for z in (real, sampled))  # fmt: skip
        decibels.append(10 * np.log10(a / b))
    return rms(decibels)


def slowly(real, sampled, units, longest):
    """All metrics. real, sampled: lists of (counts, latents) by trial."""
    (a, z_a), (b, z_b) = (zip(*side, strict=True) for side in (real, sampled))
    return {
        "kl_psc": kl_psc(a, b),
        "rmse_corr": rms(correlation_differences(a, b)),
        "rmse_mean_isi": rmse_isi(a, b, longest, np.mean, 1.0),
        "rmse_std_isi": rmse_isi(a, b, longest, np.std, 0.5),
        "tv_psc": tv_psc(a, b),
        "rmse_corr_paper": rmse_corr_paper(a, b),
        "rmse_mean_rate": difference_by_unit(mean_rate, a, b),
        "rmse_std_rate": difference_by_unit(sd_rate, a, b),
        "rmse_fano": difference_by_unit(fano, a, b),
        "rmse_autocorr": rmse_autocorr(a, b, units),
        "rmse_crosscorr": rmse_crosscorr(a, b, units),
        "latent_spectrum": latent_spectrum(z_a, z_b, longest),
    }


def recording(lengths, seed):
    """Trials of units that share a drive; the last unit never spikes."""
    rng = np.random.default_rng(seed)
    trials = []
    for n in lengths:
        drive = rng.gamma(1.0, 1.0, (n, 1))
        counts = rng.poisson(drive * np.linspace(0.15, 1.2, N_UNITS))
        counts[:, -1] = 0
        trials.append((counts, rng.normal(size=(n, N_LATENTS)).cumsum(0)))
    return trials


REAL = recording((24, 31, 9, 3, 40, 28, 17), seed=0)
SAMPLED = recording((22, 44, 12, 1, 30), seed=1)
for sampled_counts, _ in SAMPLED:
    sampled_counts[:, 4] = 0


@pytest.mark.parametrize("seed", [0, 7])
def test_a_comparison_is_its_definition(seed):
    def candidate(trials):
        spikes, latents = zip(*trials, strict=True)
        return Candidate(list(spikes), list(latents))

    (row,) = compare_candidates(
        candidate(REAL), {"samples": candidate(SAMPLED)}, BIN, seed=seed, n_splits=1
    )
    (halves,), (subset_S,) = halvings(7, 3, seed, 1), subsets(5, 3, seed, 1)
    a, b, c = (
        [trial for trial, times in zip(trials, weights_S, strict=True) if times]
        for trials, weights_S in ((REAL, halves.a_S), (REAL, halves.b_S), (SAMPLED, subset_S))
    )
    assert (len(a), len(b), len(c)) == (3, 3, 3)
    units = groups([counts for counts, _ in REAL])
    distances, floors = (slowly(a, side, units, longest=44) for side in (c, b))
    # Unit 4 is silent in the samples, and the penalty is part of the distance.
    assert row.n_silent == 1
    assert distances["rmse_mean_isi"] > 0.4 * 44 * BIN
    for name in METRICS:
        assert row.metrics[name].distance == pytest.approx(distances[name], rel=1e-5), name
        assert row.metrics[name].floor == pytest.approx(floors[name], rel=1e-5), name
        assert row.metrics[name].ratio == pytest.approx(distances[name] / floors[name], rel=1e-5)
    ratios = [distances[m.name] / floors[m.name] for m in SCORED]
    assert row.score == pytest.approx(np.prod(ratios) ** (1 / 4), rel=1e-5)
