"""Decoders fitted on real trials that say whether samples do what they were asked for.

Per-bin covariates by ridge regression from firing rates, as the paper decodes hand velocity (Kapoor,
Schulz et al. 2024, section 4); classes by a linear discriminant, and angles by ridge regression, from
each unit's mean count in a trial. Every decoder is fitted on real training trials and scored on real
held-out trials and on sampled ones: what counts is the second score beside the first. How sure both are:
`ldns_ray.evaluation.decoding.intervals`.

Legend: S trials, T bins, F inputs of a decoder, N units, K channels, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Traces = Sequence[NDArray[Any]]
"""One (T_i, channels) array per trial."""

TRACE_ALPHA = 1e-6
"""Ridge penalty of the velocity decoder: the paper's, but on standardised inputs, and per bin."""
ANGLE_ALPHA = 0.1
"""Ridge penalty of the angle decoder, likewise: there are about as many units as there are trials of an angle."""
SHRINKAGE = 0.2
"""Share of the discriminant's covariance that is replaced by a multiple of the identity. Of 437 training trials
of 97 units with 8 targets, everything from 0.05 to 0.7 decodes as well, to two trials in a hundred."""


class TracePairs(NamedTuple):
    """Trials bin by bin: what is decoded from, and the covariate that was measured or asked for."""

    inputs: Traces
    """(T_i, F) rates in counts per bin."""
    asked: Traces
    """(T_i, K)."""


class TrialPairs(NamedTuple):
    """Trials as a whole: what is decoded from, and the class or direction that was measured or asked for."""

    inputs_SF: NDArray[Any]
    asked_S: NDArray[Any]
    """(S,) class numbers, or (S, 2) cosines and sines."""


@dataclass(frozen=True)
class RSquared:
    """Share of a covariate's variance that is decoded: 1 is all; 0 is no better than its mean; it may be negative."""

    total: float
    """Over all channels together, so that each counts by its variance."""
    per_channel: tuple[float, ...]


@dataclass(frozen=True)
class TraceDecoding:
    """How well a per-bin covariate is decoded."""

    real: RSquared
    sampled: RSquared
    asked: Traces
    """What the sampled trials were asked for, (T_i, K) each."""
    decoded: Traces
    """What is decoded from them."""
    asked_real: Traces
    """What was measured in the real trials."""
    decoded_real: Traces

    @property
    def ratio(self) -> float | None:
        return ratio(self.sampled.total, self.real.total)


@dataclass(frozen=True)
class ClassDecoding:
    """How often a trial's class is decoded: counts of trials, rows by asked class, columns by decoded class."""

    confusion_real_CC: Ints
    confusion_sampled_CC: Ints

    @property
    def accuracy_real(self) -> float:
        return accuracy(self.confusion_real_CC)

    @property
    def accuracy_sampled(self) -> float:
        return accuracy(self.confusion_sampled_CC)

    @property
    def chance(self) -> float:
        return 1 / len(self.confusion_real_CC)

    @property
    def ratio(self) -> float | None:
        return ratio(self.accuracy_sampled, self.accuracy_real)


@dataclass(frozen=True)
class AngleDecoding:
    """Asked and decoded angle of every trial, in degrees from 0 to 360."""

    asked_real_S: Floats
    decoded_real_S: Floats
    asked_sampled_S: Floats
    decoded_sampled_S: Floats

    @property
    def error_real(self) -> float:
        """Median absolute difference, in degrees; 90 by chance."""
        return median_angle_error(self.asked_real_S, self.decoded_real_S)

    @property
    def error_sampled(self) -> float:
        return median_angle_error(self.asked_sampled_S, self.decoded_sampled_S)


@dataclass(frozen=True)
class Linear:
    """A fitted ridge regression."""

    weights_FK: Floats
    offset_K: Floats
    lags: int

    def decode(self, inputs: Traces) -> list[Floats]:
        """(T_i, K) of trials of (T_i, N) inputs."""
        return [with_lags(x, self.lags) @ self.weights_FK + self.offset_K for x in inputs]


def fit_ridge(pairs: TracePairs, *, alpha: float = TRACE_ALPHA, lags: int = 0) -> Linear:
    """Ridge regression from inputs to covariate, in closed form.

    Minimises the mean squared error per bin plus `alpha` times the squared weights of inputs of variance 1.
    With `lags`, a bin is decoded from itself and that many bins before it; see `with_lags`.

    Raises ValueError for a penalty that is not positive, negative lags, no trials, and trials whose inputs
    and covariate differ in length.
    """
    if not alpha > 0 or lags < 0:
        raise ValueError(
            f"alpha must be positive and lags 0 or more, got {alpha} and {lags}. "
            f"The usual choice is alpha={TRACE_ALPHA:g}, lags=0."
        )
    _check_lengths(pairs)
    n = sum(len(y) for y in pairs.asked)
    mean_F = np.sum([with_lags(x, lags).sum(0) for x in pairs.inputs], 0) / n
    mean_K = np.sum([np.sum(y, 0, dtype=np.float64) for y in pairs.asked], 0) / n
    gram_FF = np.zeros((len(mean_F), len(mean_F)))
    cross_FK = np.zeros((len(mean_F), len(mean_K)))
    for x_TN, y_TK in zip(pairs.inputs, pairs.asked, strict=True):
        centred_TF = with_lags(x_TN, lags) - mean_F
        gram_FF += centred_TF.T @ centred_TF / n
        cross_FK += centred_TF.T @ (y_TK - mean_K) / n
    scale_F = np.sqrt(np.diag(gram_FF))
    scale_F[scale_F <= 1e-12 * np.abs(mean_F)] = np.inf  # what never varies gets no weight
    standard_FF = gram_FF / np.outer(scale_F, scale_F) + alpha * np.eye(len(scale_F))
    weights_FK = np.linalg.solve(standard_FF, cross_FK / scale_F[:, None]) / scale_F[:, None]
    return Linear(weights_FK, mean_K - mean_F @ weights_FK, lags)


def with_lags(x_TN: NDArray[Any], lags: int) -> Floats:
    """(T, (lags + 1) N): each bin with those before it, the first bin standing in for bins before the trial."""
    back = np.arange(lags + 1)
    rows = np.maximum(np.arange(len(x_TN))[:, None] - back, 0)
    return np.asarray(x_TN, np.float64)[rows].reshape(len(x_TN), -1)


def r_squared(asked: Traces, decoded: Traces) -> RSquared:
    """Coefficient of determination over all bins of all trials; 0 where nothing varies."""
    truth_XK = np.concatenate([np.asarray(y, np.float64) for y in asked])
    error_K = ((truth_XK - np.concatenate(list(decoded))) ** 2).sum(0)
    spread_K = ((truth_XK - truth_XK.mean(0)) ** 2).sum(0)
    # The mean of equal numbers may differ from them by rounding.
    spread_K[np.ptp(truth_XK, 0) == 0] = 0.0
    total = 1 - error_K.sum() / spread_K.sum() if spread_K.any() else 0.0
    channels = [1 - e / s if s > 0 else 0.0 for e, s in zip(error_K, spread_K, strict=True)]
    return RSquared(float(total), tuple(float(r) for r in channels))


def decode_traces(
    train: TracePairs,
    real: TracePairs,
    sampled: TracePairs,
    *,
    alpha: float = TRACE_ALPHA,
    lags: int = 0,
) -> TraceDecoding:
    """A per-bin covariate, decoded by `fit_ridge` of the training trials."""
    _check_lengths(real)
    _check_lengths(sampled)
    decoder = fit_ridge(train, alpha=alpha, lags=lags)
    decoded, decoded_real = decoder.decode(sampled.inputs), decoder.decode(real.inputs)
    return TraceDecoding(
        r_squared(real.asked, decoded_real),
        r_squared(sampled.asked, decoded),
        sampled.asked,
        decoded,
        real.asked,
        decoded_real,
    )


@dataclass(frozen=True)
class Discriminant:
    """A fitted linear discriminant."""

    classes_C: Ints
    weights_FC: Floats
    offset_C: Floats

    def decode(self, inputs_SF: NDArray[Any]) -> Ints:
        """(S,) class numbers."""
        return self.classes_C[np.argmax(inputs_SF @ self.weights_FC + self.offset_C, 1)]


def fit_discriminant(train: TrialPairs, *, shrinkage: float = SHRINKAGE) -> Discriminant:
    """Linear discriminant: Gaussian classes of equal prior that share one covariance.

    The covariance within classes is shrunk towards a multiple of the identity of the same trace, since trials
    are about as few as pairs of units are many (Friedman 1989, Regularized Discriminant Analysis).

    Raises ValueError for fewer than two classes, or a shrinkage outside (0, 1].
    """
    classes_C, class_S = np.unique(train.asked_S, return_inverse=True)
    if len(classes_C) < 2 or not 0 < shrinkage <= 1:
        raise ValueError(
            "A discriminant needs at least 2 classes and a shrinkage in (0, 1], got "
            f"{len(classes_C)} and {shrinkage}."
        )
    x_SF = np.asarray(train.inputs_SF, np.float64)
    mean_CF = np.stack([x_SF[class_S == c].mean(0) for c in range(len(classes_C))])
    within_SF = x_SF - mean_CF[class_S]
    covariance_FF = within_SF.T @ within_SF / max(len(x_SF) - len(classes_C), 1)
    # Without any spread, the nearest mean decides.
    level = float(np.trace(covariance_FF)) / len(covariance_FF) or 1.0
    covariance_FF = (1 - shrinkage) * covariance_FF + shrinkage * level * np.eye(x_SF.shape[1])
    weights_FC = np.linalg.solve(covariance_FF, mean_CF.T)
    return Discriminant(classes_C, weights_FC, -0.5 * np.sum(mean_CF.T * weights_FC, 0))


def confusion(asked_S: NDArray[Any], decoded_S: NDArray[Any], classes_C: NDArray[Any]) -> Ints:
    """(C, C) counts of trials, rows by asked class, columns by decoded class, in the order of `classes_C`.

    Raises ValueError for a class that is not among `classes_C`, which must be sorted.
    """
    unknown = np.setdiff1d(np.concatenate([asked_S, decoded_S]), classes_C)
    if len(unknown):
        raise ValueError(
            f"Trials must be of the classes of training, {classes_C.tolist()[:20]}, got {unknown.tolist()[:5]}."
        )
    n = len(classes_C)
    cells = np.searchsorted(classes_C, asked_S) * n + np.searchsorted(classes_C, decoded_S)
    return np.bincount(cells, minlength=n * n).reshape(n, n)


def accuracy(confusion_CC: Ints) -> float:
    """Share of trials that are decoded as asked; 0 without trials."""
    return float(np.trace(confusion_CC) / max(confusion_CC.sum(), 1))


def decode_classes(
    train: TrialPairs, real: TrialPairs, sampled: TrialPairs, *, shrinkage: float = SHRINKAGE
) -> ClassDecoding:
    """The class of each trial, decoded by `fit_discriminant` of the training trials."""
    decoder = fit_discriminant(train, shrinkage=shrinkage)
    return ClassDecoding(
        *(confusion(p.asked_S, decoder.decode(p.inputs_SF), decoder.classes_C) for p in (real, sampled))
    )  # fmt: skip


def degrees(direction_S2: NDArray[Any]) -> Floats:
    """(S,) angles in [0, 360) of (cosine, sine)."""
    x_S2 = np.asarray(direction_S2, np.float64)
    angle_S: Floats = np.degrees(np.arctan2(x_S2[:, 1], x_S2[:, 0])) % 360
    return angle_S


def angle_errors(asked_S: NDArray[Any], decoded_S: NDArray[Any]) -> Floats:
    """(S,) absolute differences the short way round, in degrees."""
    return np.abs((decoded_S - asked_S + 180) % 360 - 180)


def median_angle_error(asked_S: NDArray[Any], decoded_S: NDArray[Any]) -> float:
    """Median over trials of `angle_errors`."""
    return float(np.median(angle_errors(asked_S, decoded_S)))


def decode_angles(
    train: TrialPairs, real: TrialPairs, sampled: TrialPairs, *, alpha: float = ANGLE_ALPHA
) -> AngleDecoding:
    """The angle of each trial, decoded by ridge regression to its cosine and sine."""
    decoder = fit_ridge(TracePairs([train.inputs_SF], [train.asked_S]), alpha=alpha)
    angles: list[Floats] = []
    for pairs in (real, sampled):
        angles += [degrees(pairs.asked_S), degrees(decoder.decode([pairs.inputs_SF])[0])]
    return AngleDecoding(*angles)


def mean_counts(spikes: Traces, first_bin: int = 0) -> Floats:
    """(S, N) mean count per bin of each unit in each trial of (T_i, N) counts, from `first_bin` on.

    A mean, so that long trials are not told from short ones. Raises ValueError if a trial ends before.
    """
    shortest = min((len(x) for x in spikes), default=0)
    if not 0 <= first_bin < shortest:
        raise ValueError(
            f"first_bin must be inside every trial, the shortest of which has {shortest} bins, got {first_bin}."
        )
    return np.stack([np.mean(x[first_bin:], 0, dtype=np.float64) for x in spikes])


def ratio(sampled: float, real: float) -> float | None:
    """Score of the sampled trials over that of the real ones; None where even those cannot be decoded."""
    return sampled / real if real > 0 else None


def _check_lengths(pairs: TracePairs) -> None:
    n_inputs, n_asked = ([len(x) for x in side] for side in pairs)
    if not n_inputs or n_inputs != n_asked:
        raise ValueError(
            "A decoder needs trials of as many bins of inputs as of covariate, got "
            f"{len(n_inputs)} trials of {sum(n_inputs)} bins and {len(n_asked)} of {sum(n_asked)}."
        )
