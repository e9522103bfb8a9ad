"""The measurement of the spike-history fit: what it reports, the reference, likelihood and memory by hand."""

import numpy as np
import pytest

from ldns_ray.benchmark.history import (
    REFERENCE_STEPS,
    adamw_steps,
    log_likelihood,
    simulate,
    spike_history,
)
from ldns_ray.benchmark.timing import peak_bytes
from ldns_ray.models.observation import SpikeHistory


def test_report():
    report = spike_history(n_trials=60, n_bins=60, n_units=5, n_reference_steps=6)
    assert report["reference_s"] / report["fit_s"] == pytest.approx(report["speedup"])
    assert report["speedup"] > 1
    # Six steps of rate 0.1 lead nowhere near the optimum.
    assert report["reference_log_likelihood"] < report["fit_log_likelihood"] < 0
    assert REFERENCE_STEPS == 3000


def test_reference_step_by_hand():
    """The first step of AdamW moves every parameter by its rate, down the gradient; the gain decays besides.

    Decoded rates four times too high: the offset goes down.
    """
    _, spikes, rates = simulate(20, 40, 2, mean_rate=0.2)
    model = next(adamw_steps(spikes, [4 * r for r in rates], n_history=3, count_cap=5))()
    np.testing.assert_allclose(np.abs(model.history_NJ), 0.1, rtol=1e-4)
    np.testing.assert_allclose(np.abs(model.gain_N - 0.999), 0.1, rtol=1e-4)
    np.testing.assert_allclose(np.abs(model.offset_N), 0.1, rtol=1e-4)
    assert (model.offset_N < 0).all()


def test_log_likelihood_by_hand():
    model = SpikeHistory(
        np.array([[0.5, -1.0]], np.float32), np.ones(1, np.float32), np.zeros(1, np.float32), 2
    )
    spikes = [np.array([[1], [7], [2], [0]], np.uint8)]
    rates = [np.array([[9.0], [9.0], [1.0], [3.0]], np.float32)]
    # Counts above 2 are 2: η = 0.5 - 2 + log 1 and 0.5 · 2 - 2 + log 3.
    a, b = np.log1p(np.exp(-1.5)), np.log1p(3 * np.exp(-1.0))
    expected = (2 * np.log(a) - a - np.log(2) - b) / 2
    assert log_likelihood(model, spikes, rates) == pytest.approx(expected, rel=1e-6)


def test_peak_of_what_is_freed_at_once():
    peak = peak_bytes(lambda: np.ones(4_000_000).sum())
    if np.isnan(peak):
        pytest.skip("no /proc to read the peak memory from")
    assert 31e6 < peak < 40e6
    assert peak_bytes(lambda: None) < 1e6
