"""How far the scores of decoders depend on which trials they were scored on: intervals of 95 %, by bootstrap.

Real held-out trials and sampled ones are resampled apart, since neither belong to the others. Decoders are not
fitted again: they are the measuring device, the same for both sides.

The score of the real trials is the reference of the sampled ones, however many there are of each. Unlike distances
between distributions, which fall with the number of trials, a share of variance, a share of hits and a median error
have the same expected value in few trials and in many, but for terms of one over their number. More trials make
intervals narrower and nothing else.

Legend: S trials, T bins, K channels, R resamples.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldns_ray.evaluation.bootstrap import interval, resampled
from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    ClassDecoding,
    Floats,
    Ints,
    TraceDecoding,
    Traces,
    angle_errors,
)
from ldns_ray.evaluation.rows import Interval

REAL, SAMPLED = 0, 1
"""Streams of the two sides' resamples."""


class Intervals(NamedTuple):
    """None where there is nothing to resample, a single trial, or no resample has a value."""

    real: Interval | None
    sampled: Interval | None
    ratio: Interval | None = None
    """Of sampled over real; None too where the interval of the real score reaches 0, which leaves it no bound."""


def trace_intervals(decoding: TraceDecoding, *, seed: int) -> Intervals:
    """Of R² over all channels; see `r_squared_of_resamples`."""
    sides = (
        (decoding.asked_real, decoding.decoded_real, REAL),
        (decoding.asked, decoding.decoded, SAMPLED),
    )
    return _with_ratio(
        *(
            resampled(partial(r_squared_of_resamples, asked, decoded), len(asked), seed=seed, stream=stream)
            for asked, decoded, stream in sides
        )
    )  # fmt: skip


def class_intervals(decoding: ClassDecoding, *, seed: int) -> Intervals:
    """Of the accuracy. Where every trial is decoded as asked, so is every resample, and there is no width."""
    sides = ((decoding.confusion_real_CC, REAL), (decoding.confusion_sampled_CC, SAMPLED))

    def hits(confusion_CC: Ints, weights_RS: Ints) -> Floats:
        hit_S = np.arange(confusion_CC.sum()) < np.trace(confusion_CC)
        return np.asarray(weights_RS @ hit_S / len(hit_S))

    return _with_ratio(
        *(resampled(partial(hits, x), int(x.sum()), seed=seed, stream=stream) for x, stream in sides)
    )  # fmt: skip


def angle_intervals(decoding: AngleDecoding, *, seed: int) -> Intervals:
    """Of the median error, in degrees."""
    sides = (
        (decoding.asked_real_S, decoding.decoded_real_S, REAL),
        (decoding.asked_sampled_S, decoding.decoded_sampled_S, SAMPLED),
    )
    return Intervals(
        *(
            interval(resampled(partial(medians_of_resamples, angle_errors(asked_S, decoded_S)),
                               len(asked_S), seed=seed, stream=stream))
            for asked_S, decoded_S, stream in sides
        )
    )  # fmt: skip


def r_squared_of_resamples(asked: Traces, decoded: Traces, weights_RS: NDArray[Any]) -> Floats:
    """(R,) `decoding.r_squared(…).total` of trials that count as often as `weights_RS` say.

    As for any other set of trials, the variance is that about the resample's own mean. From sums over each trial,
    so that a resample costs no pass over the bins. NaN where nothing varies within a resample.
    """
    truth_XK = np.concatenate([np.asarray(y, np.float64) for y in asked])
    error_X = ((truth_XK - np.concatenate(list(decoded))) ** 2).sum(1)
    # About the mean of all trials, so that little is lost where sums of squares are subtracted.
    centred_XK = np.where(np.ptp(truth_XK, 0) > 0, truth_XK - truth_XK.mean(0), 0.0)
    n_bins_S = np.array([len(y) for y in asked])
    starts_S = np.cumsum(n_bins_S) - n_bins_S
    error_S, square_S = (np.add.reduceat(x, starts_S) for x in (error_X, (centred_XK**2).sum(1)))
    square_R = weights_RS @ square_S
    mean_RK = weights_RS @ np.add.reduceat(centred_XK, starts_S) / (weights_RS @ n_bins_S)[:, None]
    spread_R = square_R - (mean_RK**2).sum(1) * (weights_RS @ n_bins_S)
    varies_R = spread_R > 1e-12 * square_R
    share_R = np.full(len(spread_R), np.nan)
    return 1 - np.divide(weights_RS @ error_S, spread_R, out=share_R, where=varies_R)


def medians_of_resamples(values_S: Floats, weights_RS: Ints) -> Floats:
    """(R,) medians of values that count as often as `weights_RS` say, S in all."""
    order_S = np.argsort(values_S)
    up_to_RS = np.cumsum(weights_RS[:, order_S], 1)
    n = len(values_S)
    middle_2R = [(up_to_RS > place).argmax(1) for place in ((n - 1) // 2, n // 2)]
    return np.asarray(values_S[order_S][np.stack(middle_2R)].mean(0))


def _with_ratio(real_R: Floats, sampled_R: Floats) -> Intervals:
    real, sampled = interval(real_R), interval(sampled_R)
    if real is None or real[0] <= 0:
        return Intervals(real, sampled, None)
    # Real trials that are not decoded are now a few resamples at most, below the interval.
    return Intervals(real, sampled, interval(sampled_R / np.where(real_R > 0, real_R, np.nan)))
