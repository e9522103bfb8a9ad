"""Observation models: from firing rates to spike counts.

Shapes: S trials, T bins, N units, J history bins. Counts are drawn with keyed generators: trial i of a
seed gets the same random numbers whichever other trials are drawn beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

LATENT_NOISE, SPIKE_NOISE, CONDITION_DRAW = 0, 1, 2
"""What a keyed generator is for; part of its key."""
RATE_RIDGE = 1e-3


def keyed_generator(seed: int, trial: int, purpose: int) -> np.random.Generator:
    """The random numbers of one trial for one purpose."""
    return np.random.Generator(
        np.random.Philox(key=np.array([(seed << 8) + purpose, trial], dtype=np.uint64))
    )


def sample_poisson(
    rates: Sequence[np.ndarray], *, seed: int, first_trial: int = 0
) -> list[np.ndarray]:
    """Poisson counts (T_i, N) uint8 of rates (T_i, N), in counts per bin."""
    counts = (
        keyed_generator(seed, first_trial + i, SPIKE_NOISE).poisson(rates_TN)
        for i, rates_TN in enumerate(rates)
    )
    return [np.minimum(c, 255).astype(np.uint8) for c in counts]


@dataclass(frozen=True)
class SpikeHistory:
    """λ_i(t) = softplus(w_i · y_i(t-J … t-1) + a_i log r_i(t) + b_i), y the unit's own capped counts.

    Kapoor, Schulz et al. 2024, appendix on spike history; the likelihood is Poisson and convex in (w, a, b).
    """

    history_NJ: np.ndarray
    """w, most recent bin last."""
    gain_N: np.ndarray
    """a."""
    offset_N: np.ndarray
    """b."""
    count_cap: int

    @property
    def n_history(self) -> int:
        return self.history_NJ.shape[1]

    def sample(
        self, rates: Sequence[np.ndarray], *, seed: int, first_trial: int = 0
    ) -> list[np.ndarray]:
        """Counts (T_i, N) uint8 of rates (T_i, N), bin by bin from an empty history, capped.

        One uniform number per entry, drawn ahead, is turned into a count by inverting the Poisson CDF.
        """
        n_bins = [len(r) for r in rates]
        n_trials, longest, n_units = len(rates), max(n_bins, default=0), len(self.gain_N)
        drive = np.zeros((longest, n_trials, n_units), np.float32)
        uniform = np.zeros((longest, n_trials, n_units), np.float32)
        for i, r in enumerate(rates):
            drive[: len(r), i] = self.gain_N * np.log(np.maximum(r, 1e-8)) + self.offset_N
            generator = keyed_generator(seed, first_trial + i, SPIKE_NOISE)
            uniform[: len(r), i] = generator.random(r.shape, dtype=np.float32)
        counts = np.zeros((self.n_history + longest, n_trials, n_units), np.float32)
        weight_J1N = np.ascontiguousarray(self.history_NJ.T)[:, None].astype(np.float32)
        for t in range(longest):
            past = (counts[t : t + self.n_history] * weight_J1N).sum(0)
            rate = np.logaddexp(0, past + drive[t])
            term = np.exp(-rate)
            cdf = term.copy()
            out = counts[self.n_history + t]
            for k in range(1, self.count_cap + 1):
                out += uniform[t] > cdf
                term = term * rate / k
                cdf += term
        counts = counts[self.n_history :].astype(np.uint8)
        return [counts[:n, i] for i, n in enumerate(n_bins)]


def fit_spike_history(
    spikes: Sequence[np.ndarray],
    rates: Sequence[np.ndarray],
    *,
    n_history: int,
    count_cap: int,
    n_iterations: int = 30,
    ridge: float = 1.0,
) -> SpikeHistory:
    """Maximum-likelihood history filters by Newton's method, one unit after another.

    Args:
        spikes, rates: per trial (T_i, N), counts and decoded counts per bin.
        n_history: history bins J; bins before the first full history are left out of the fit.
        ridge: penalty on the squared filter weights of a unit. It is felt by units with few spikes alone, whose
            filters would else feed on themselves when sampled; gain and offset have `RATE_RIDGE`, which
            keeps silent units finite.

    Raises ValueError if a trial is not longer than the history.
    """
    shortest = min(len(s) for s in spikes)
    if shortest <= n_history:
        raise ValueError(
            f"Spike history of {n_history} bins needs longer trials, the shortest has {shortest}. "
            "Lower observation.history_bins."
        )
    ridge_J = torch.full((n_history + 2,), ridge, dtype=torch.float64)
    ridge_J[n_history:] = RATE_RIDGE
    n_units = spikes[0].shape[1]
    theta = np.zeros((n_units, n_history + 2))
    for unit in range(n_units):
        columns = [
            np.concatenate((
                np.lib.stride_tricks.sliding_window_view(np.minimum(s[:-1, unit], count_cap), n_history),
                np.log(np.maximum(r[n_history:, unit, None], 1e-8)),
                np.ones((len(s) - n_history, 1)),
            ), 1)
            for s, r in zip(spikes, rates, strict=True)
        ]  # fmt: skip
        design = torch.from_numpy(np.concatenate(columns)).double()
        target = np.concatenate([np.minimum(s[n_history:, unit], count_cap) for s in spikes])
        theta[unit] = _newton(
            design, torch.from_numpy(target).double(), n_iterations, ridge_J
        ).numpy()
    theta = theta.astype(np.float32)
    return SpikeHistory(
        theta[:, :n_history], theta[:, n_history], theta[:, n_history + 1], count_cap
    )


def _newton(design: Tensor, target: Tensor, n_iterations: int, ridge_J: Tensor) -> Tensor:
    """Minimise Σ softplus(η) - y log softplus(η) + Σ ridge (θ - θ0)², η = design θ, by damped Newton steps.

    θ0 has gain 1 and all else 0. With η = log r and small rates, softplus(η) ≈ r: the decoded rates.
    """
    theta = torch.zeros(design.shape[1], dtype=torch.float64)
    theta[-2] = 1.0
    start = theta.clone()

    def objective(theta: Tensor) -> Tensor:
        eta = design @ theta
        rate = nn.functional.softplus(eta).clamp_min(1e-12)
        return (rate - target * rate.log()).sum() + (ridge_J * (theta - start).square()).sum()

    value = objective(theta)
    for _ in range(n_iterations):
        eta = design @ theta
        rate, slope = nn.functional.softplus(eta).clamp_min(1e-12), torch.sigmoid(eta)
        residual = slope * (1 - target / rate)
        curvature = slope * (1 - slope) * (1 - target / rate) + target * (slope / rate).square()
        gradient = design.T @ residual + 2 * ridge_J * (theta - start)
        hessian = design.T @ (design * curvature.clamp_min(1e-12)[:, None])
        hessian += 2 * torch.diag(ridge_J)
        step = torch.linalg.solve(hessian, gradient)
        scale, new_value = 1.0, objective(theta - step)
        while not new_value <= value and scale > 1e-6:
            scale /= 2
            new_value = objective(theta - scale * step)
        if not new_value <= value:
            break
        theta, gain = theta - scale * step, value - new_value
        value = new_value
        if gain < 1e-9 * abs(value):
            break
    return theta
