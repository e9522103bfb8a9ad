"""How far the sampling of a dataset has come."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ldns_ray.durations import duration
from ldns_ray.sampling.plan import Plan, Range


@dataclass(frozen=True)
class Progress:
    """A moment. n_done: trials that are there, of which `n_kept` from an earlier run. rate: trials a second, once known."""

    n_done: int
    n: int
    n_kept: int
    rate: float | None

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far."""
        return (self.n - self.n_done) / self.rate if self.rate else None

    def __str__(self) -> str:
        text = f"{self.n_done:,} of {self.n:,} trials"
        if self.seconds_left is None:
            return text
        return f"{text}  {self.rate:,.0f}/s  {duration(self.seconds_left)} left"


class Meter:
    """Adds up what is told of the ranges, by any thread, and reports it."""

    def __init__(self, plan: Plan, kept: list[Range], on_progress: Callable[[Progress], None]) -> None:  # fmt: skip
        self._n, self._on_progress = plan.n, on_progress
        self._n_kept = sum(trials.stop - trials.start for trials in kept)
        self._n_done: dict[int, int] = {}
        self._first: tuple[float, int] | None = None
        self._lock = threading.Lock()

    def trials(self, trials: Range, n_done: int) -> None:
        """So many of a range's trials are there; fewer than before where it is begun again."""
        with self._lock:
            if self._n_done.get(trials.number) == trials.stop - trials.start:
                return  # news of a range that has been done since
            self._n_done[trials.number] = n_done
            n_new, now = sum(self._n_done.values()), time.monotonic()
            # Workers take seconds to start: the pace is that since the first trials came.
            if self._first is None:
                self._first = now, n_new
            since, n_first = self._first
            rate = (n_new - n_first) / (now - since) if n_new > n_first and now > since else None
            self._on_progress(Progress(self._n_kept + n_new, self._n, self._n_kept, rate))
