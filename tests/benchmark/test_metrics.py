"""The measurement of the metrics: counts as announced, seconds of what is announced, from raw counts on."""

import time

import numpy as np
import pytest

from ldns_ray.benchmark import metrics as module
from ldns_ray.benchmark.metrics import BIN_WIDTH_S, TARGET_S, counts, metrics
from ldns_ray.evaluation.metrics import correlations


def test_counts_are_sparse_and_correlated():
    drawn = counts(200, 140, 12)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (200, 140, 12)
    assert drawn.mean() / BIN_WIDTH_S == pytest.approx(10, rel=0.3)
    assert np.ptp(drawn.mean((0, 1))) > 0.01
    # A shared wave of variance 1/8 on means μ: covariances μ²/8, over variances near μ.
    expected = drawn.mean() / 8
    pairs = correlations(drawn)[np.tril_indices(12, -1)]
    assert pairs.mean() == pytest.approx(expected, rel=0.3)
    np.testing.assert_array_equal(drawn, counts(200, 140, 12))
    assert not np.array_equal(drawn, counts(200, 140, 12, seed=1))


def test_seconds_of_each_step(monkeypatch):
    """Steps that take known times: each is measured, and none is handed another's work."""
    given = []

    def step(seconds):
        def run(*args, **_):
            given.append(args)
            time.sleep(seconds)

        return run

    monkeypatch.setattr(module, "compare", step(0.02))
    monkeypatch.setattr(module, "realism", step(0.1))
    row = metrics(4, 10, 3, repeats=2)
    assert 0.02 <= row["compare_s"] < 0.1 <= row["realism_s"]
    assert row["target_s"] == TARGET_S
    assert (row["n_trials"], row["n_bins"], row["n_units"]) == (4, 10, 3)
    for real, sampled, bin_width_s in given:
        assert {type(real), type(sampled)} == {np.ndarray}
        assert not np.array_equal(real, sampled)
        assert bin_width_s == BIN_WIDTH_S


def test_parts_make_up_the_comparison(one_thread):
    """Both sides are summarised and pooled; the distances themselves take next to nothing."""
    row = metrics(100, 60, 40, repeats=5)
    parts = 2 * (row["summarise_s"] + row["pool_s"])
    assert 0.5 * parts < row["compare_s"] < 3 * parts + 0.02
    assert row["realism_s"] > row["compare_s"] / 2
