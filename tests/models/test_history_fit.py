"""The fit of spike history: its likelihood, memory and chunks, and the spikes it leads to."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ldns_ray.benchmark.history import adamw_steps, log_likelihood, simulate
from ldns_ray.models import history_likelihood
from ldns_ray.models.history_likelihood import join, negative_log_likelihood
from ldns_ray.models.observation import RATE_RIDGE, fit_spike_history, sample_poisson

J = 8
OPTIONS = {"n_history": J, "count_cap": 5}


def ragged(n_trials=40, n_units=4, seed=0):
    """Spikes and rates of trials of 9 to 60 bins."""
    _, spikes, rates = simulate(n_trials, 60, n_units, mean_rate=0.15, seed=seed)
    n_bins = np.random.default_rng(seed).integers(J + 1, 61, n_trials)
    return [[x[:n] for x, n in zip(xs, n_bins, strict=True)] for xs in (spikes, rates)]


def parameters(model):
    """(N, J + 2) float64: filter, gain, offset."""
    columns = (model.history_NJ, model.gain_N[:, None], model.offset_N[:, None])
    return torch.from_numpy(np.concatenate(columns, 1)).double()


def plain_objective(theta, spikes, rates, unit, ridge):
    """Σ λ - y log λ + penalty of one unit, windows and all, in float64; theta as in `parameters`."""
    rows, target = [], []
    for s, r in zip(spikes, rates, strict=True):
        counts = np.minimum(s[:, unit], 5).astype(float)
        for t in range(J, len(s)):
            rows.append([*counts[t - J : t], np.log(max(r[t, unit], 1e-8)), 1])
            target.append(counts[t])
    rate = torch.nn.functional.softplus(torch.tensor(rows, dtype=torch.float64) @ theta)
    penalty = ridge * theta[:J].square().sum()
    penalty += RATE_RIDGE * ((theta[J] - 1) ** 2 + theta[J + 1] ** 2)
    return (rate - torch.tensor(target) * rate.log()).sum() + penalty


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Threads of small sums wait for one another longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def promised_gain(theta, *objective):
    """What a Newton step from theta promises to take off the plain objective, in nats."""
    gradient = torch.func.grad(plain_objective)(theta, *objective)
    hessian = torch.func.hessian(plain_objective)(theta, *objective)
    return gradient @ torch.linalg.solve(hessian, gradient) / 2


@pytest.mark.parametrize("ridge", [1.0, 1e-3])
def test_nothing_is_left_to_gain(ridge):
    spikes, rates = ragged()
    theta_NP = parameters(fit_spike_history(spikes, rates, **OPTIONS, ridge=ridge))
    for unit, theta in enumerate(theta_NP):
        assert promised_gain(theta, spikes, rates, unit, ridge) < 1e-6
        theta[0] += 0.01
        assert promised_gain(theta, spikes, rates, unit, ridge) > 1e-5


def test_derivatives_are_those_of_the_value():
    spikes, rates = ragged()
    recording = join(spikes, rates, **OPTIONS)
    units = torch.tensor([2, 0])
    theta = 0.3 * torch.randn(2, J + 2, generator=torch.Generator().manual_seed(0)).double()
    theta[:, 0], theta[:, 1] = 0.7, recording.mean_log_rate_N[units]
    value, gradient, hessian = negative_log_likelihood(recording, len(spikes), units, theta)
    for i, unit in enumerate(units.tolist()):
        a, b, w = theta[i, 0], theta[i, 1], theta[i, 2:]
        plain = torch.cat((w, a[None], (b - a * recording.mean_log_rate_N[unit])[None]))
        x = (spikes, rates, unit, 0.0)
        penalty = RATE_RIDGE * ((plain[J] - 1) ** 2 + plain[J + 1] ** 2)
        torch.testing.assert_close(
            value[i], plain_objective(plain, *x) - penalty, rtol=1e-6, atol=0
        )
        # b = b̄ - a m: derivatives after a gain m times those after the offset.
        change = torch.zeros(J + 2, J + 2, dtype=torch.float64)
        change[:J, 2:], change[J, 0], change[J + 1, 1] = torch.eye(J), 1, 1
        change[J + 1, 0] = -recording.mean_log_rate_N[unit]
        ridge = 2 * RATE_RIDGE * torch.tensor([0.0] * J + [1, 1], dtype=torch.float64)
        start = torch.tensor([0.0] * J + [1, 0], dtype=torch.float64)
        g = torch.func.grad(plain_objective)(plain, *x) - ridge * (plain - start)
        h = torch.func.hessian(plain_objective)(plain, *x) - torch.diag(ridge)
        torch.testing.assert_close(gradient[i], change.T @ g, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(hessian[i], change.T @ h @ change, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_rows", [1, 7, 100])
def test_chunks_add_up_to_one_piece(n_rows, monkeypatch):
    """Cut within trials and across several; 0.1 % of the largest deviation seen would be a bin left out."""
    spikes, rates = ragged(n_trials=20)
    recording = join(spikes, rates, **OPTIONS)
    units, theta = torch.arange(4), torch.full((4, J + 2), 0.1, dtype=torch.float64)
    whole = negative_log_likelihood(recording, 20, units, theta)
    fitted = fit_spike_history(spikes, rates, **OPTIONS)
    monkeypatch.setattr(history_likelihood, "CHUNK_ENTRIES", 1)
    monkeypatch.setattr(history_likelihood, "FEWEST_ROWS", n_rows)
    for a, b in zip(whole, negative_log_likelihood(recording, 20, units, theta), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        parameters(fit_spike_history(spikes, rates, **OPTIONS)), parameters(fitted), rtol=0, atol=1e-5
    )  # fmt: skip


def test_memory_holds_no_windows():
    """Three million entries, 20 bins of history: 230 MB of windows in float32. The fit says that it holds five
    bytes per entry and, here, two megabytes of chunks: with what libraries take, not a seventh of the windows."""
    program = """if True:
        import json, numpy as np
        from ldns_ray.benchmark.history import simulate
        from ldns_ray.benchmark.timing import peak_bytes
        from ldns_ray.models import history_likelihood
        from ldns_ray.models.observation import fit_spike_history
        history_likelihood.CHUNK_ENTRIES = 2**16
        fit = lambda *x: fit_spike_history(*x, n_history=20, count_cap=5)
        fit(*simulate(4, 30, 2)[1:])  # libraries load what they load once
        spikes, rates = simulate(100, 600, 50)[1:]
        spikes, rates = ([x[: 600 - i % 50] for i, x in enumerate(xs)] for xs in (spikes, rates))
        n_entries = sum(s.size for s in spikes)
        windows = lambda: np.stack([np.roll(np.concatenate(rates), j, 0) for j in range(20)])
        print(json.dumps((n_entries, peak_bytes(lambda: fit(spikes, rates)), peak_bytes(windows))))
    """
    out = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    n_entries, fit, windows = json.loads(out.stdout)
    if np.isnan(fit):
        pytest.skip("no /proc to read the peak memory from")
    assert windows > 0.9 * 4 * 20 * n_entries
    assert fit < 4 * 20 * n_entries / 7


def test_likelihood_is_that_of_the_reference_at_its_end():
    """3000 steps of AdamW; with the usual ridge, and with next to none."""
    _, spikes, rates = simulate(60, 80, 3, mean_rate=0.15)
    steps = adamw_steps(spikes, rates, **OPTIONS)
    for _ in range(3000):
        reference = next(steps)
    after_3000 = log_likelihood(reference(), spikes, rates)
    for ridge, gap in ((1.0, 1e-4), (1e-6, 1e-6)):
        fitted = fit_spike_history(spikes, rates, **OPTIONS, ridge=ridge)
        assert log_likelihood(fitted, spikes, rates) > after_3000 - gap
    unfitted = fit_spike_history(spikes, rates, **OPTIONS, n_iterations=1)
    assert log_likelihood(unfitted, spikes, rates) < after_3000 - 1e-4


@pytest.fixture(scope="module")
def speech_like():
    """300 trials of 140 bins: some 3000 spikes per unit, what a recording of the field has."""
    truth, spikes, rates = simulate(300, 140, 12)
    return truth, spikes, rates, fit_spike_history(spikes, rates, n_history=20, count_cap=5)


def test_filters_of_a_recording_of_usual_size_are_recovered(speech_like):
    truth, _, _, fitted = speech_like
    each = [
        np.corrcoef(a, b)[0, 1] for a, b in zip(fitted.history_NJ, truth.history_NJ, strict=True)
    ]
    assert np.median(each) > 0.95
    assert min(each) > 0.85
    assert np.corrcoef(fitted.history_NJ.ravel(), truth.history_NJ.ravel())[0, 1] > 0.95


def autocorrelogram(spikes):
    """Coincidences of a unit's spikes, (N, lags 1 to 20), over those of its mean rate."""
    y = np.stack(spikes).astype(float)
    coincidences = [(y[:, lag:] * y[:, :-lag]).mean((0, 1)) for lag in range(1, 21)]
    return np.stack(coincidences, 1) / y.mean((0, 1))[:, None] ** 2


def distance(a, b):
    return np.sqrt(np.square(autocorrelogram(a) - autocorrelogram(b)).mean())


def test_sampled_autocorrelogram_is_within_the_noise_of_the_real_one(speech_like):
    """As close as a second recording of the same units; without history, with the same mean rates, thrice as far."""
    truth, spikes, rates, fitted = speech_like
    floor = distance(spikes, truth.sample(rates, seed=1))
    assert distance(spikes, fitted.sample(rates, seed=2)) < 1.1 * floor
    scale_N = np.stack(spikes).mean((0, 1)) / np.stack(rates).mean((0, 1))
    poisson = sample_poisson([r * scale_N for r in rates], seed=3)
    assert distance(spikes, poisson) > 2 * floor


@pytest.mark.parametrize("rate", [0.0, 1e-30, 1e-3, 1e30])
def test_constant_rates(rate):
    """Gain and offset cannot be told apart; below the floor and above all sense the filters are still found."""
    truth, spikes, _ = simulate(100, 60, 3, mean_rate=0.1)
    rates = [np.full(s.shape, rate, np.float32) for s in spikes]
    fitted = fit_spike_history(spikes, rates, **OPTIONS)
    assert parameters(fitted).isfinite().all()
    for unit in range(3):
        assert np.corrcoef(fitted.history_NJ[unit], truth.history_NJ[unit, -J:])[0, 1] > 0.8
    sampled = np.stack(fitted.sample(rates, seed=0)).mean((0, 1))
    np.testing.assert_allclose(sampled, np.stack(spikes).mean((0, 1)), rtol=0.15)


def test_units_of_few_spikes():
    """None in every eighth trial, with which the fit begins: three spikes in all, and the rate is still met."""
    _, spikes, rates = simulate(64, 60, 2, mean_rate=0.1)
    for s in spikes:
        s[:, 1] = 0
    for i in (1, 10, 19):
        spikes[i][20 + i, 1] = 1
    fitted = fit_spike_history(spikes, rates, **OPTIONS)
    sampled = np.stack(fitted.sample(rates * 50, seed=0))[:, :, 1].mean()
    assert 0.5 < sampled / np.stack(spikes)[:, J:, 1].mean() < 2


def test_units_that_burst():
    """Silence and counts beyond the cap by turns, bursts of ten bins, and one that never pauses."""
    rates = [np.full((80, 3), 0.5, np.float32)] * 30
    spikes = [np.zeros((80, 3), np.uint8) for _ in rates]
    rng = np.random.default_rng(0)
    for s in spikes:
        s[:, 0] = 9 * (np.arange(80) % 2)
        start = rng.integers(70)
        s[start : start + 10, 1] = rng.poisson(4, 10)
        s[:, 2] = 200
    fitted = fit_spike_history(spikes, rates, **OPTIONS)
    for unit, theta in enumerate(parameters(fitted)):
        assert promised_gain(theta, spikes, rates, unit, 1.0) < 1e-4
    assert np.stack(fitted.sample(rates, seed=0)).max() <= 5


def test_rates_that_are_not_finite():
    spikes, rates = ragged()
    rates[3] = rates[3].copy()
    rates[3][-1, 2] = np.nan
    with pytest.raises(ValueError, match="must be finite, those of unit 2 are not"):
        fit_spike_history(spikes, rates, **OPTIONS)
