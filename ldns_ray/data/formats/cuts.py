"""Where the trials of one long recording lie, in samples: the bins in which it is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ldns_ray.checks import one_of
from ldns_ray.data.formats.named_arrays import NamedArrays

TimeUnit = Literal["samples", "ms", "s"]


def cuts(
    arrays: NamedArrays,
    n_samples: int,
    *,
    start: str | None,
    length: str | None,
    stop: str | None,
    times_in: TimeUnit,
    sample_ms: float,
) -> tuple[np.ndarray, np.ndarray]:
    """First sample and number of samples of each trial, int64 (S,).

    start, length, stop: names of arrays. Of length and stop one is given; without start, trials lie end to end.
    times_in: what they count from the recording's beginning. Times are rounded to the nearest sample, starts and
        durations each for themselves: so trials of one duration have one length, wherever they start.
    Raises ValueError for trials that do not lie within the recording.
    """

    def read(name: str, what: str, n_trials: int | None = None) -> np.ndarray:
        return _in_samples(arrays, name, what, n_trials, times_in, sample_ms)

    begins = None if start is None else read(start, "trial_start")
    n_trials = None if begins is None else len(begins)
    if stop is not None:
        assert begins is not None
        durations = read(stop, "trial_stop", n_trials) - begins
    else:
        assert length is not None
        durations = read(length, "trial_len", n_trials)
    lengths = _rounded(durations)
    if not len(lengths):
        arrays.fail(f"there are no trials: {(length if stop is None else stop)!r} is empty.")
    if begins is None:
        starts = np.cumsum(lengths) - lengths
        if (lengths >= 1).all() and (lengths <= n_samples).all() and lengths.sum() != n_samples:
            arrays.fail(
                f"trial_len {length!r} must add up to the recording's {n_samples} samples where there is no "
                f"trial_start, got {lengths.sum()}."
            )
    else:
        starts = _rounded(begins)
    bad = np.flatnonzero((starts < 0) | (lengths < 1) | (lengths > n_samples - starts))
    if len(bad):
        i = bad[0]
        arrays.fail(
            f"trial {i} must lie within the recording's {n_samples} samples and have at least one, got "
            f"{lengths[i]} from sample {starts[i]} on ({len(bad)} such trials)."
        )
    return starts, lengths


def _in_samples(
    arrays: NamedArrays,
    name: str,
    what: str,
    n_trials: int | None,
    times_in: TimeUnit,
    sample_ms: float,
) -> np.ndarray:
    """Starts, stops or lengths: int64 where they are given in samples, else float64, not rounded."""
    array = arrays.column(name, what, n_trials)
    if times_in == "samples":
        if array.dtype.kind not in "iu":
            arrays.fail(
                f"{what} {name!r} must be whole numbers of samples, got an array of {array.dtype}. "
                "Where they are times, say in what (times_in ms or s)."
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        arrays.fail(f"{what} {name!r} must be finite numbers of {times_in}.")
    return array.astype(np.float64) * ({"ms": 1, "s": 1000}[times_in] / sample_ms)


def _rounded(samples: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, halves up, as int64; absurd ones stay absurd instead of wrapping round."""
    if samples.dtype.kind == "i":
        return samples
    return np.clip(np.floor(samples + 0.5), -(2**53), 2**53).astype(np.int64)


def check_whole_bins(
    arrays: NamedArrays,
    lengths: np.ndarray,
    ids: Sequence[str],
    samples_per_bin: int,
    sample_ms: float,
) -> None:
    """Raise ValueError, with the widths that fit, where a trial's samples make no whole number of bins."""
    uneven = np.flatnonzero(lengths % samples_per_bin)
    if not len(uneven):
        return
    i = uneven[0]
    fitting = _closest_divisors(int(np.gcd.reduce(lengths)), samples_per_bin)
    widths = one_of(f"{n * sample_ms:g}" for n in fitting)
    arrays.fail(
        f"trial {ids[i]!r} has {lengths[i]} samples of {sample_ms:g} ms, not a whole number of "
        f"{samples_per_bin * sample_ms:g} ms bins ({len(uneven)} such trials). Choose bins of {widths} ms, which "
        "divide every trial, or cut the trials to whole bins."
    )


def _closest_divisors(n: int, wanted: int, at_most: int = 6) -> list[int]:
    """The divisors of `n` that are closest to `wanted` in ratio, in order."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    divisors = {*small, *(n // d for d in small)}
    return sorted(sorted(divisors, key=lambda d: abs(math.log(d / wanted)))[:at_most])
