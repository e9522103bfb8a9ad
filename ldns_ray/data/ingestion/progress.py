"""How far an ingestion has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ldns_ray.durations import duration

SECONDS_BETWEEN_REPORTS = 0.5


@dataclass(frozen=True)
class Progress:
    """A moment of an ingestion: first files are read, then the dataset is written.

    stage: "read" or "write". files: how many there are; done: how many of them this stage is through with,
    of which kept: read by an earlier run, and failed: not fit. trials: so far; of_trials: in all, where known.
    n_bytes: of the files; done_bytes: of those done; kept_bytes: of those kept. seconds: since the stage began;
    done_seconds: until the last file was done.
    """

    stage: str
    files: int
    done: int
    kept: int
    failed: int
    trials: int
    of_trials: int | None
    n_bytes: int
    done_bytes: int
    kept_bytes: int
    seconds: float
    done_seconds: float

    @property
    def mb_per_s(self) -> float:
        """Megabytes of the files gone through a second, those kept apart."""
        return (self.done_bytes - self.kept_bytes) / 1e6 / max(self.done_seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Of this stage, at the pace so far; None before there is one."""
        if self.of_trials is not None:
            left = self.of_trials - self.trials
            return self.seconds * left / self.trials if self.trials else None
        done, left = self.done_bytes - self.kept_bytes, self.n_bytes - self.done_bytes
        if not done:
            return None
        # How much of a file that is under way is read is not known; how long it takes already is.
        since = self.seconds - self.done_seconds
        return max(0.0, self.done_seconds * left / done - since)

    def __str__(self) -> str:
        """One line for a terminal."""
        if self.stage == "read":
            also = [
                f"{n} {what}" for n, what in ((self.kept, "kept"), (self.failed, "failed")) if n
            ]
            files = f"{self.done} of {self.files} files" + (f" ({', '.join(also)})" if also else "")
            text = f"read {files}, {self.trials} trials"
        else:
            text = f"written {self.trials} of {self.of_trials} trials"
        if self.done_bytes > self.kept_bytes:
            text += f", {self.mb_per_s:.1f} MB/s"
        left = self.seconds_left
        return text if left is None else f"{text}, {duration(left)} left"


class Meter:
    """Counts what one stage gets done, and reports it after each file, and now and then within one."""

    def __init__(
        self,
        stage: str,
        files: int,
        n_bytes: int,
        on_progress: Callable[[Progress], None],
        of_trials: int | None = None,
    ) -> None:
        self._stage, self._files, self._n_bytes = stage, files, n_bytes
        self._on_progress, self._of_trials = on_progress, of_trials
        self._done = self._kept = self._failed = self._trials = self._within = 0
        self._done_bytes = self._kept_bytes = 0
        self._begin = self._reported = self._last = time.monotonic()

    def trials(self, n: int) -> None:
        """So many more trials of the file that is under way."""
        self._within += n
        if time.monotonic() - self._reported > SECONDS_BETWEEN_REPORTS:
            self._report()

    def file(
        self, n_bytes: int, n_trials: int, *, kept: bool = False, failed: bool = False
    ) -> None:
        """One more file is done."""
        self._done += 1
        self._kept += kept
        self._failed += failed
        self._trials, self._within = self._trials + n_trials, 0
        self._done_bytes += n_bytes
        self._kept_bytes += n_bytes * kept
        self._last = time.monotonic()
        self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        self._on_progress(
            Progress(
                stage=self._stage,
                files=self._files,
                done=self._done,
                kept=self._kept,
                failed=self._failed,
                trials=self._trials + self._within,
                of_trials=self._of_trials,
                n_bytes=self._n_bytes,
                done_bytes=self._done_bytes,
                kept_bytes=self._kept_bytes,
                seconds=self._reported - self._begin,
                done_seconds=self._last - self._begin,
            )
        )
