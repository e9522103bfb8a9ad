"""What is known to be wrong with samples moves the metrics that it should, and no others."""

import numpy as np
import pytest

from ldns_ray.evaluation.catalogue import METRICS
from ldns_ray.evaluation.comparison import Candidate, compare_candidates
from tests.evaluation.recordings import (
    BIN,
    correlations_destroyed,
    refractoriness_removed,
    refractory_population,
    units_shuffled,
)

OF_COUNTS = {"kl_psc", "tv_psc"}
OF_PAIRS = {"rmse_corr", "rmse_corr_paper", "rmse_crosscorr"}
OF_UNITS = {"rmse_mean_isi", "rmse_std_isi", "rmse_mean_rate", "rmse_std_rate", "rmse_fano", "rmse_autocorr"}  # fmt: skip


def ratios(sampled, **options):
    (row,) = compare_candidates(
        Candidate(refractory_population(seed=1)), {"samples": Candidate(sampled)}, BIN, **options
    )
    return {name: x.ratio for name, x in row.metrics.items()}, row


def fresh(defect=None, **options):
    spikes = refractory_population(seed=2, **options)
    return spikes if defect is None else defect(spikes, np.random.default_rng(3))


def test_the_same_process_is_at_the_floor():
    found, row = ratios(fresh(), n_resamples=40)
    assert set(found) == set(METRICS) - {"latent_spectrum"}
    assert all(0.6 < ratio < 1.6 for ratio in found.values()), found
    low, high = row.score_interval
    assert low < 1 < high
    assert high / low < 3


@pytest.mark.parametrize(
    ("sampled", "moved", "unmoved"),
    [
        (fresh(units_shuffled), OF_UNITS - {"rmse_fano"}, OF_COUNTS),
        (
            fresh(gain=1.2),
            OF_COUNTS | {"rmse_mean_rate", "rmse_mean_isi"},
            {"rmse_corr", "rmse_corr_paper"},
        ),
        (
            fresh(refractoriness_removed),
            {"rmse_autocorr", "rmse_std_isi"},
            {"rmse_mean_rate", "rmse_std_rate", "rmse_fano", "rmse_crosscorr"},
        ),
        (fresh(correlations_destroyed), OF_COUNTS | OF_PAIRS, OF_UNITS),
    ],
    ids=["units shuffled", "rates times 1.2", "refractoriness removed", "correlations destroyed"],
)
def test_a_defect_moves_the_metrics_that_it_should(sampled, moved, unmoved):
    found, row = ratios(sampled)
    print({k: round(v, 2) for k, v in found.items()}, row.score)
    assert all(found[name] > 2 for name in moved), {n: found[n] for n in moved}
    assert all(found[name] < 1.5 for name in unmoved), {n: found[n] for n in unmoved}
    assert row.score > 1.2
