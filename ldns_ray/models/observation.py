"""Observation models: from firing rates to spike counts.

Counts are drawn with keyed generators: trial i of a seed gets the same random numbers whichever other
trials are drawn beside it.
"""

# B trials of a block, T bins, N units, U of them, J history bins,
# P = J + 2 parameters of a unit: gain a, offset b, filter w (most recent bin last).

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ldns_ray.models.history_likelihood import RATE_FLOOR, Recording, join, negative_log_likelihood
from ldns_ray.models.newton import Objective, minimise
from ldns_ray.models.threads import torch_threads

LATENT_NOISE, SPIKE_NOISE, CONDITION_DRAW = 0, 1, 2
"""What a keyed generator is for; part of its key."""
BLOCK_ENTRIES = 2**15
"""Trials × units that are sampled together: their state of J bins stays in the cache."""
RATE_RIDGE = 1e-3
UNITS_TOGETHER = 32
"""Most units that a thread fits at a time."""
COARSE = 8
"""The fit starts with every eighth trial."""
COARSE_TOLERANCE, TOLERANCE = 1.0, 1e-3
"""Nats per unit that the last step may promise to gain; see `minimise`."""


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
        n_together = max(1, BLOCK_ENTRIES // len(self.gain_N))
        counts: list[np.ndarray] = []
        for first in range(0, len(rates), n_together):
            block = rates[first : first + n_together]
            counts += self._sample_block(block, seed, first_trial + first)
        return counts

    def _sample_block(
        self, rates: Sequence[np.ndarray], seed: int, first_trial: int
    ) -> list[np.ndarray]:
        n_units, n_history = self.history_NJ.shape
        shape = (max(len(r) for r in rates), len(rates), n_units)
        drive_TBN, uniform_TBN = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for i, r in enumerate(rates):
            log_rate = np.log(np.maximum(r, RATE_FLOOR))
            drive_TBN[: len(r), i] = self.gain_N * log_rate + self.offset_N
            generator = keyed_generator(seed, first_trial + i, SPIKE_NOISE)
            uniform_TBN[: len(r), i] = generator.random(r.shape, dtype=np.float32)
        counts_TBN = np.zeros(shape, np.uint8)
        # A spike adds its filter to the drive of the J bins after it: most entries hold no spike.
        past = np.zeros((shape[0] + n_history, shape[1] * n_units), np.float32)
        next_JN = np.ascontiguousarray(self.history_NJ.T[::-1], dtype=np.float32)
        for t in range(shape[0]):
            eta, uniform = past[t] + drive_TBN[t].ravel(), uniform_TBN[t].ravel()
            # P(0) = exp(-softplus(η)) = 1 / (1 + e^η). Where the uniform number is below it, up to rounding,
            # the count is 0; beyond e^80 it never is.
            maybe = np.flatnonzero(uniform * (1 + np.exp(np.minimum(eta, 80))) > 1 - 1e-5)
            count = _invert_poisson(uniform[maybe], np.logaddexp(0, eta[maybe]), self.count_cap)
            counts_TBN[t].ravel()[maybe] = count
            past[t + 1 : t + 1 + n_history, maybe] += next_JN[:, maybe % n_units] * count
        return [counts_TBN[: len(r), i].copy() for i, r in enumerate(rates)]


def _invert_poisson(uniform: np.ndarray, rate: np.ndarray, cap: int) -> np.ndarray:
    """The smallest count whose Poisson CDF reaches `uniform`, at most `cap`; float32, as its arguments."""
    term = np.exp(-rate)
    cdf, count = term.copy(), np.zeros_like(rate)
    for k in range(1, cap + 1):
        count += uniform > cdf
        term = term * rate / k
        cdf += term
    return count


def fit_spike_history(
    spikes: Sequence[np.ndarray],
    rates: Sequence[np.ndarray],
    *,
    n_history: int,
    count_cap: int,
    n_iterations: int = 30,
    ridge: float = 1.0,
) -> SpikeHistory:
    """Maximum-likelihood history filters by Newton's method, many units at once.

    A fit to every `COARSE`th trial comes first: it leaves about three steps for all of them. Beside its
    arguments the fit holds five bytes per entry, and chunks of the design of a fixed size. Of 728 trials of
    140 bins of 97 units it takes a few seconds, a 500th or less of AdamW's 3000 steps:
    `ldns_ray.benchmark.history`.

    Args:
        spikes, rates: per trial (T_i, N), counts and decoded counts per bin.
        n_history: history bins J; bins before the first full history are left out of the fit.
        n_iterations: most evaluations of the likelihood, of every `COARSE`th trial and of all of them each.
        ridge: penalty on the squared filter weights of a unit. It is felt by units with few spikes alone, whose
            filters would else feed on themselves when sampled; gain and offset have `RATE_RIDGE`, which
            keeps silent units finite.

    Raises ValueError if a trial is not longer than the history, or a rate is not finite.
    """
    shortest = min(len(s) for s in spikes)
    if shortest <= n_history:
        raise ValueError(
            f"Spike history of {n_history} bins needs longer trials, the shortest has {shortest}. "
            "Lower observation.history_bins."
        )
    order = sorted(range(len(spikes)), key=lambda i: i % COARSE)
    recording = join(
        [spikes[i] for i in order], [rates[i] for i in order], n_history=n_history, count_cap=count_cap
    )  # fmt: skip
    theta_NP = _decoded_rates(recording)
    # Started at its mean count, a unit whose decoded rates are far off takes no wild steps.
    mean_count_N = torch.from_numpy(recording.counts_NM.numpy().mean(1))
    theta_NP[:, 1] = mean_count_N.clamp_min(1e-4).expm1().log()
    n_coarse = -(-len(spikes) // COARSE)
    objectives = [_objective(recording, n_trials, ridge) for n_trials in (n_coarse, len(spikes))]

    def fit_some(units_U: Tensor) -> Tensor:
        theta_UP = theta_NP[units_U]
        for objective, tolerance in zip(objectives, (COARSE_TOLERANCE, TOLERANCE), strict=True):
            theta_UP = minimise(
                partial(_of_some, objective, units_U),
                theta_UP, tolerance=tolerance, n_iterations=n_iterations,
            )  # fmt: skip
        return theta_UP

    n_groups = -(-len(theta_NP) // UNITS_TOGETHER)
    groups = torch.arange(len(theta_NP)).tensor_split(n_groups)
    # PyTorch's own threads would meet after each of thousands of short operations, and on a busy machine wait
    # for one another ten times as long as they work.
    with torch_threads(1) as n_threads, ThreadPoolExecutor(n_threads) as pool:
        theta_NP = torch.cat(list(pool.map(fit_some, groups)))
    gain_N = theta_NP[:, 0]
    offset_N = theta_NP[:, 1] - gain_N * recording.mean_log_rate_N
    history, gain, offset = (x.float().numpy() for x in (theta_NP[:, 2:], gain_N, offset_N))
    return SpikeHistory(history, gain, offset, count_cap)


def _decoded_rates(recording: Recording) -> Tensor:
    """Parameters (N, P) without filter, gain 1, no offset: softplus(log r) ≈ r where rates are small."""
    mean_N = recording.mean_log_rate_N
    theta_NP = mean_N.new_zeros(len(mean_N), recording.n_history + 2)
    theta_NP[:, 0], theta_NP[:, 1] = 1, mean_N
    return theta_NP


def _of_some(
    objective: Objective, units_U: Tensor, some: Tensor, theta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return objective(units_U[some], theta)


def _objective(recording: Recording, n_trials: int, ridge: float) -> Objective:
    """Negative log-likelihood + ridge |w|² + `RATE_RIDGE` ((a - 1)² + b²).

    The likelihood's offset, at the mean log rate m, is b + a m.
    """
    centre_NP = _decoded_rates(recording)
    n_units, size = centre_NP.shape
    mean_N = recording.mean_log_rate_N
    ridge_NPP = ridge * torch.eye(size, dtype=torch.float64).repeat(n_units, 1, 1)
    ridge_NPP[:, 0, 0] = RATE_RIDGE * (1 + mean_N.square())
    ridge_NPP[:, 0, 1] = ridge_NPP[:, 1, 0] = -RATE_RIDGE * mean_N
    ridge_NPP[:, 1, 1] = RATE_RIDGE

    def objective(units_U: Tensor, theta_UP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value_U, gradient_UP, hessian_UPP = negative_log_likelihood(
            recording, n_trials, units_U, theta_UP
        )
        deviation_UP = theta_UP - centre_NP[units_U]
        pull_UP = torch.einsum("upq,uq->up", ridge_NPP[units_U], deviation_UP)
        penalty_U = (deviation_UP * pull_UP).sum(1)
        return value_U + penalty_U, gradient_UP + 2 * pull_UP, hessian_UPP + 2 * ridge_NPP[units_U]

    return objective
