"""The fit of spike history against the usual way: AdamW on the whole recording."""

# S trials, T bins, N units, J history bins.

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.special import gammaln
from torch import nn

from ldns_ray.benchmark.timing import peak_bytes, timed
from ldns_ray.models.observation import SpikeHistory, fit_spike_history

N_HISTORY, COUNT_CAP = 20, 5
REFERENCE_STEPS = 3000


def spike_history(
    n_trials: int = 728, n_bins: int = 140, n_units: int = 97, n_reference_steps: int = 50
) -> dict[str, float]:
    """Time the fit of `n_trials` simulated trials, and the reference by its fastest of `n_reference_steps`.

    The two take turns, three times. Returns `fit_s` and `reference_s`, seconds, the latter for all
    `REFERENCE_STEPS`; `speedup`, their ratio; `fit_log_likelihood` and, after the steps taken alone,
    `reference_log_likelihood`, nats per entry; `fit_peak_bytes`, held by the fit beside its arguments (NaN
    where there is no /proc).
    """
    _, spikes, rates = simulate(n_trials, n_bins, n_units)
    options = {"n_history": N_HISTORY, "count_cap": COUNT_CAP}
    peak = peak_bytes(lambda: fit_spike_history(spikes, rates, **options))
    steps = adamw_steps(spikes, rates, **options)
    fit_s, step_s = np.inf, np.inf
    for count in (len(part) for part in np.array_split(np.arange(n_reference_steps), 3)):
        seconds, fitted = timed(lambda: fit_spike_history(spikes, rates, **options))
        fit_s = min(fit_s, seconds)
        for _ in range(count):
            seconds, reference = timed(lambda: next(steps))
            step_s = min(step_s, seconds)
    return {
        "fit_s": fit_s,
        "reference_s": step_s * REFERENCE_STEPS,
        "speedup": step_s * REFERENCE_STEPS / fit_s,
        "fit_log_likelihood": log_likelihood(fitted, spikes, rates),
        "reference_log_likelihood": log_likelihood(reference(), spikes, rates),
        "fit_peak_bytes": peak,
    }


def simulate(
    n_trials: int, n_bins: int, n_units: int, *, mean_rate: float = 0.05, seed: int = 0
) -> tuple[SpikeHistory, list[np.ndarray], list[np.ndarray]]:
    """A spike-history model, spikes (T, N) it sampled per trial, and the rates (T, N) they were sampled from.

    After a spike a unit is refractory for a bin or two, and then more excitable. Its rate, about `mean_rate`
    counts per bin, is a wave of 70 bins whose phase differs from trial to trial.
    """
    rng = np.random.default_rng(seed)

    def each_unit(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n_units, 1))

    lag = np.arange(N_HISTORY, 0, -1)  # most recent bin last
    history = -each_unit(2, 4) * np.exp(-lag / each_unit(0.7, 1.5))
    history += each_unit(0.5, 1) * np.exp(-(((lag - each_unit(5, 10)) / 2) ** 2))
    ones = np.ones(n_units, np.float32)
    truth = SpikeHistory(history.astype(np.float32), ones, 0 * ones, COUNT_CAP)
    level = mean_rate * np.exp(rng.normal(0, 0.5, n_units))
    phase = rng.uniform(0, 2 * np.pi, (n_trials, 1, n_units))
    wave = np.sin(2 * np.pi * np.arange(n_bins)[:, None] / 70 + phase)
    rates = list((level * np.exp(0.7 * wave)).astype(np.float32))
    return truth, truth.sample(rates, seed=seed), rates


def adamw_steps(
    spikes: Sequence[np.ndarray], rates: Sequence[np.ndarray], *, n_history: int, count_cap: int
) -> Iterator[Callable[[], SpikeHistory]]:
    """The authors' fit, for trials of one length: AdamW (rate 0.1, decay 0.01), all trials in every step.

    Yields after every step a function that returns the model at that time.
    """
    counts_SNT = torch.from_numpy(np.minimum(np.stack(spikes), count_cap)).float().mT.contiguous()
    log_rate_SNT = torch.from_numpy(np.stack(rates)).float().mT[:, :, n_history:].log()
    past_SNT, now_SNT = counts_SNT[:, :, :-1], counts_SNT[:, :, n_history:]
    n_units = counts_SNT.shape[1]
    history_NJ = torch.zeros(n_units, n_history, requires_grad=True)
    gain_N1 = torch.ones(n_units, 1, requires_grad=True)
    offset_N1 = torch.zeros(n_units, 1, requires_grad=True)
    optimiser = torch.optim.AdamW([history_NJ, gain_N1, offset_N1], lr=0.1, weight_decay=0.01)

    def model() -> SpikeHistory:
        history, gain, offset = (
            p.detach().numpy().copy() for p in (history_NJ, gain_N1[:, 0], offset_N1[:, 0])
        )
        return SpikeHistory(history, gain, offset, count_cap)

    while True:
        eta_SNT = nn.functional.conv1d(past_SNT, history_NJ[:, None], groups=n_units)
        rate_SNT = nn.functional.softplus(eta_SNT + gain_N1 * log_rate_SNT + offset_N1)
        loss = nn.functional.poisson_nll_loss(rate_SNT, now_SNT, log_input=False)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield model


def log_likelihood(
    model: SpikeHistory, spikes: Sequence[np.ndarray], rates: Sequence[np.ndarray]
) -> float:
    """Mean over all units and bins with a full history, in nats, of log Poisson(capped count; λ)."""
    total, n_entries = 0.0, 0
    for s, r in zip(spikes, rates, strict=True):
        counts = np.minimum(s, model.count_cap).astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(counts[:-1], model.n_history, axis=0)
        drive = np.einsum("tnj,nj->tn", windows, model.history_NJ.astype(np.float64))
        log_rate = np.log(np.maximum(r[model.n_history :].astype(np.float64), 1e-8))
        rate = np.logaddexp(0, drive + model.gain_N * log_rate + model.offset_N)
        now = counts[model.n_history :]
        total += float((now * np.log(np.maximum(rate, 1e-300)) - rate - gammaln(now + 1)).sum())
        n_entries += now.size
    return total / n_entries
