"""Whether samples are new, or training trials played back.

A model that memorised its training trials passes every comparison of statistics. What gives it
away is the distance from a sampled trial to the nearest training trial, beside the same distance
from trials that were held out. Both shrink as training trials become more, so what counts is the
ratio of the two, with one set of training trials.

Trials are compared in relative time: each is brought to the same few points from its start to its
end. Length itself does not count. Samples take their lengths from the training trials, so equal
length is no sign of a copy, and a training trial that is stretched or squeezed is a copy.

Legend: A, B sets of trials, b trials of a block, T bins, D latents, P points in relative time,
Q = P·D coordinates, R resamplings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ldns_ray.evaluation.bootstrap import interval
from ldns_ray.evaluation.ragged import Latents, flatten_latents
from ldns_ray.evaluation.statistics import Floats, Ints

N_POINTS = 64
"""A trial is brought to this many points, or to as many as the longest trial has bins if fewer."""

COPY_QUANTILE = 0.01
COPY_SHARE = 0.5
"""A copy is nearer to a training trial than this share of the `COPY_QUANTILE` of held-out trials'
distances: one real trial in a hundred comes that near by chance, hardly any half as near."""

REPLAYED_RATIO = 0.5
"""In many dimensions the mean of all trials, which copies none, lies at 1/√2 of the distance of two
independent trials from either. Under a half, samples are nearer than dullness alone can bring them."""

REPLAYED_SHARE = 0.05
"""Copies that give a replay away, though most samples may be new: many times what chance makes."""

RESOLUTION = 1e-9
"""Distances below it, in standard deviations of the training data, are rounding. It is added to
both sides of the ratio, which is so 1 where neither sampled nor held-out trials are at any distance
from the training trials (data that never changes), and finite where held-out trials alone are not."""

_BLOCK_ENTRIES = 2**22


@dataclass(frozen=True)
class Novelty:
    """How far sampled trials are from the training trials; build it with `novelty`.

    Distances are root mean squares over points and latents, in standard deviations of the
    training data.
    """

    ratio: float
    """Median distance of the sampled over that of the held-out trials: 1 is as new as real trials,
    0 is training data played back."""
    interval: tuple[float, float]
    """Of the ratio, by bootstrap over sampled and held-out trials."""
    copied: float
    """Share of sampled trials that are copies of a training trial but for little."""
    distances_sampled_S: Floats
    """From each sampled trial to the nearest training trial."""
    distances_held_out_S: Floats
    """From each held-out trial to the nearest training trial."""
    nearest_S: Ints
    """Which training trial is nearest to each sampled one."""

    @property
    def replayed(self) -> bool:
        """Whether the samples, or a part of them, are training trials played back."""
        return self.ratio < REPLAYED_RATIO or self.copied > REPLAYED_SHARE

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with medians for the distances."""
        return {
            "ratio": self.ratio,
            "interval": list(self.interval),
            "copied": self.copied,
            "replayed": self.replayed,
            "distance_sampled": float(np.median(self.distances_sampled_S)),
            "distance_held_out": float(np.median(self.distances_held_out_S)),
            "n_sampled": len(self.distances_sampled_S),
            "n_held_out": len(self.distances_held_out_S),
        }


def novelty(
    train: Latents,
    held_out: Latents,
    sampled: Latents,
    *,
    seed: int = 0,
    n_resamples: int = 200,
    level: float = 0.95,
) -> Novelty:
    """Distances to the nearest training trial, of sampled beside held-out trials.

    Takes latents, or counts smoothed over time: (S, T, D) arrays or lists of (T_i, D) arrays.
    Latents tell more: spikes drawn anew from the latents of a training trial hide the replay.
    Each latent counts in standard deviations of the training data, one that is constant there as
    it is. Cost is the product of the numbers of training and of other trials.

    Raises:
        ValueError: no trials, empty ones, other latents, NaN, no resamples or no such level.
    """
    if not 0 < level < 1 or n_resamples < 2:
        raise ValueError(
            f"level must be between 0 and 1 and n_resamples at least 2, got {level} and "
            f"{n_resamples}. The usual choice is level=0.95, n_resamples=200."
        )
    names = ("train", "held_out", "sampled")
    sets = [
        flatten_latents(x, name) for x, name in zip((train, held_out, sampled), names, strict=True)
    ]
    n_latents = [values_XD.shape[1] for values_XD, _ in sets]
    if len(set(n_latents)) > 1:
        raise ValueError(
            "train, held_out and sampled must have the same latents, got "
            f"{', '.join(map(str, n_latents))}. Encode and sample with one model."
        )
    mean_D = sets[0][0].mean(0, dtype=np.float64)
    sd_D = sets[0][0].std(0, dtype=np.float64)
    scale_D = np.where(sd_D > RESOLUTION * np.abs(mean_D), sd_D, 1.0)
    n_points = min(N_POINTS, max(int(n_bins_S.max()) for _, n_bins_S in sets))
    train_BQ, held_out_AQ, sampled_AQ = (
        # Standardised afterwards, when there are fewer values: means of parts are linear.
        ((_in_relative_time(*flat, n_points) - mean_D) / scale_D).reshape(len(flat[1]), -1)
        for flat in sets
    )
    sampled_A, nearest_A = _nearest(sampled_AQ, train_BQ)
    held_out_A, _ = _nearest(held_out_AQ, train_BQ)
    near = COPY_SHARE * np.quantile(held_out_A, COPY_QUANTILE)

    rng = np.random.default_rng(seed)
    medians = [
        np.median(rng.choice(distances_A, (n_resamples, len(distances_A))), axis=1)
        for distances_A in (sampled_A, held_out_A)
    ]
    bounds = interval(_ratio(*medians), level)
    assert bounds is not None  # distances are finite
    return Novelty(
        ratio=float(_ratio(np.median(sampled_A), np.median(held_out_A))),
        interval=bounds,
        copied=float(np.mean(sampled_A < near)),
        distances_sampled_S=sampled_A,
        distances_held_out_S=held_out_A,
        nearest_S=nearest_A,
    )


def _ratio(sampled: Any, held_out: Any) -> Any:
    return (sampled + RESOLUTION) / (held_out + RESOLUTION)


def _in_relative_time(values_XD: Floats, n_bins_A: Ints, n_points: int) -> Floats:
    """(A, P, D): means over P equal parts of each trial, bins cut in two where parts meet."""
    starts_A = np.cumsum(n_bins_A) - n_bins_A
    points_APD = np.empty((len(n_bins_A), n_points, values_XD.shape[1]))
    for n_bins in np.unique(n_bins_A):
        trials_a = np.flatnonzero(n_bins_A == n_bins)
        bins_aT = starts_A[trials_a, None] + np.arange(n_bins)
        points_APD[trials_a] = _parts(int(n_bins), n_points) @ values_XD[bins_aT]
    return points_APD


def _parts(n_bins: int, n_points: int) -> Floats:
    """(P, T) weights of the mean over each of P equal parts of T bins; rows sum to 1."""
    edges_P1 = np.linspace(0, n_bins, n_points + 1)[:, None]
    bin_T = np.arange(n_bins)
    shared_PT = np.minimum(edges_P1[1:], bin_T + 1) - np.maximum(edges_P1[:-1], bin_T)
    return np.maximum(shared_PT, 0) * (n_points / n_bins)


def _nearest(a_AQ: Floats, b_BQ: Floats) -> tuple[Floats, Ints]:
    """Root mean square distance from each trial of A to the nearest of B, and which that is."""
    nearest_A = np.empty(len(a_AQ), np.int64)
    square_B = np.vecdot(b_BQ, b_BQ)
    block = max(1, _BLOCK_ENTRIES // len(b_BQ))
    for start in range(0, len(a_AQ), block):
        # |a-b|² less |a|², which is the same for every b.
        products_bB = a_AQ[start : start + block] @ b_BQ.T
        nearest_A[start : start + block] = np.argmin(square_B - 2 * products_bB, axis=1)
    # Formed so, a small distance between large trials is all rounding: once more, by differences.
    return np.sqrt(np.mean((a_AQ - b_BQ[nearest_A]) ** 2, axis=1)), nearest_A
