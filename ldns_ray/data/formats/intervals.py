"""Stretches of time, as rows of (start, stop) in seconds: when several units were all observed.

Shapes: n intervals, S trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def merged(intervals_n2: np.ndarray, slack_s: float) -> np.ndarray:
    """The intervals in order of time, those that overlap or lie at most `slack_s` apart made one."""
    start, stop = intervals_n2[np.argsort(intervals_n2[:, 0], kind="stable")].T
    stop = np.maximum.accumulate(stop)
    apart = start[1:] > stop[:-1] + slack_s
    first, last = np.append(True, apart), np.append(apart, True)
    return np.stack([start[first], stop[last]], axis=1)


def common(intervals: Sequence[np.ndarray], slack_s: float) -> np.ndarray:
    """The stretches that lie in an interval of every member of `intervals`, (n, 2) each."""
    own = np.concatenate([merged(member, slack_s) for member in intervals])
    times = own.T.reshape(-1)
    steps = np.repeat([1, -1], len(own))
    order = np.argsort(times, kind="stable")  # at the same instant, starts before stops
    times, depth = times[order], np.cumsum(steps[order])
    # A member's merged intervals are disjoint: from where all are open, the next event closes one.
    open_ = np.flatnonzero(depth == len(intervals))
    stretches = np.stack([times[open_], times[open_ + 1]], axis=1)
    return stretches[stretches[:, 1] > stretches[:, 0]]


def covered(
    start_S: np.ndarray, stop_S: np.ndarray, stretches_n2: np.ndarray, slack_s: float
) -> np.ndarray:
    """Whether each [start, stop] lies in one of the stretches (disjoint, in order), but for `slack_s`."""
    if len(stretches_n2) == 0:
        return np.zeros(len(start_S), dtype=bool)
    at = np.searchsorted(stretches_n2[:, 0], start_S + slack_s, side="right") - 1
    inside = stop_S <= stretches_n2[at, 1] + slack_s
    return np.asarray((at >= 0) & inside)
