"""How a sweep stands, by the news of its trials: what ended and how, what runs, and how long the rest may take."""

import bisect
import heapq
import math
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ldns_ray.durations import duration
from ldns_ray.sweeps.news import News
from ldns_ray.sweeps.wording import last_line

ENDED = ("finished", "stopped", "failed")
ORDER = ("finished", "running", "waiting", "to be tried again", "interrupted", "stopped", "failed")
"""In which trials stand in the table."""


@dataclass
class Trial:
    """What is known of one trial. Times in Unix seconds; epoch: of the stage that it is at."""

    number: int
    point: str = ""
    status: str = "running"
    """One of ORDER."""
    stage: str = ""
    epoch: int = 0
    n_epochs: int = 0
    losses: str = ""
    score: float | None = None
    """Of the whole trial once it finished, before that of its latest rung."""
    error: str = ""
    began: float | None = None
    ended: float | None = None

    @property
    def at_work(self) -> bool:
        return self.status in ("running", "waiting")

    @property
    def seconds(self) -> float | None:
        """From its begin to its end."""
        if self.began is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.began)


@dataclass(frozen=True)
class Moment:
    """How the sweep stood when a trial had ended: metrics by name. time: in Unix seconds."""

    time: float
    values: dict[str, float]


class Standing:
    """How a sweep of `n_trials` stands, at most `at_once` of them at a time.

    before: news of an earlier process, see `news.told`; trials that it leaves running were interrupted.
    Threads that need several answers of one moment hold `lock`.
    """

    def __init__(self, n_trials: int, at_once: int, before: Iterable[News] = ()) -> None:
        self.n_trials, self.at_once = n_trials, at_once
        self.lock = threading.RLock()
        self.trials: dict[int, Trial] = {}
        self.history: list[Moment] = []
        """After the first trial that ended, after the second, and so on."""
        self.version = 0
        """Grows with whatever changes."""
        for news in before:
            self.heard(news)
        for trial in self.running:
            trial.status = "interrupted"
        self.n_before = self.n_ended

    # -- what happens

    def heard(self, news: News) -> str:
        """Take it in; returns what a person should hear of it at once, or nothing.

        News of a trial that has ended is late, and changes nothing.
        """
        with self.lock:
            known = self.trials.get(news.number)
            if known is None:
                known = self.trials[news.number] = Trial(news.number)
            elif known.status in ENDED or not (known.at_work or news.kind in ("began", "ended")):
                return ""
            self.version += 1
            match news.kind:
                case "began":
                    return self._began(news)
                case "stage":
                    return self._stage(known, news)
                case "epoch" | "rung":
                    known.status, known.stage, known.losses = "running", news.stage, news.text
                    known.epoch, known.n_epochs = news.epoch, news.n_epochs
                    if news.score is not None and math.isfinite(news.score):
                        known.score = news.score
                case "ended":
                    return self._ended(known, news)
            return ""

    def _began(self, news: News) -> str:
        known = self.trials[news.number]
        again = " again" if known.began is not None else ""
        point = news.text or known.point
        self.trials[news.number] = Trial(news.number, point, began=news.time)
        return f"begins{again}" + (f": {point}" if point else "")

    def _stage(self, trial: Trial, news: News) -> str:
        waited, waits = trial.status == "waiting", news.status == "waiting"
        trial.stage, trial.status = news.stage, "waiting" if waits else "running"
        trial.epoch, trial.n_epochs, trial.losses = 0, 0, ""
        if waits and not waited:
            return f"waits: {news.text or 'another trial'} does its {news.stage}"
        if waited and not waits:
            done = news.status in ("reused", "done")
            return f"goes on: its {news.stage} is {'done' if done else 'not done yet'}"
        return ""

    def _ended(self, trial: Trial, news: News) -> str:
        trial.ended = news.time
        trial.status = "to be tried again" if news.status == "retried" else news.status
        if news.score is not None and math.isfinite(news.score):
            trial.score = news.score
        elif news.status == "finished":
            trial.score = None  # a rung's is not the whole trial's
        if trial.status in ENDED:
            self.history.append(Moment(news.time, self._counted()))
        took = "" if trial.seconds is None else f", {duration(trial.seconds)}"
        score = "no score" if trial.score is None else f"score {trial.score:.2f}"
        match news.status:
            case "finished":
                return f"finished: {score}{self._rank(trial)}{took}"
            case "stopped":
                epoch = news.epoch or trial.epoch
                at = f" at epoch {epoch} of {trial.stage}" if epoch else ""
                return f"stopped early: {score}{at}{took}"
            case _:
                trial.error = last_line(news.text)
                again = ", will be tried again" if news.status == "retried" else ""
                return f"failed{again}: {trial.error or 'no error was told'}"

    def _rank(self, trial: Trial) -> str:
        if trial.score is None:
            return ""
        better = sum(key < (trial.score, trial.number) for key in self._scores())
        return f", rank {better + 1} of {len(self._scores())}" if better else ", best so far"

    # -- how it stands

    @property
    def running(self) -> list[Trial]:
        """Trials at work, the ones that wait for another's stage among them, by number."""
        return [
            self.trials[number] for number in sorted(self.trials) if self.trials[number].at_work
        ]

    @property
    def n_ended(self) -> int:
        return len(self.history)

    @property
    def best(self) -> tuple[float, int] | None:
        """Lowest score of a finished trial, and its number."""
        return min(self._scores(), default=None)

    def _scores(self) -> list[tuple[float, int]]:
        finished = (t for t in self.trials.values() if t.status == "finished")
        return [(t.score, t.number) for t in finished if t.score is not None]

    def _counted(self) -> dict[str, float]:
        counts = Counter(trial.status for trial in self.trials.values())
        values: dict[str, float] = {f"trials_{status}": counts[status] for status in ENDED}
        values["trials_running"] = counts["running"] + counts["waiting"]
        return values if self.best is None else values | {"best_score": self.best[0]}

    def seconds_left(self, now: float) -> float | None:
        """About how long the rest takes; None before a trial has finished or was stopped early, and where none is left.

        A trial is taken to last as long as those that ended did on average, one that runs as long as those that
        outlasted its age. What has not begun is given out as places become free.
        """
        ended = [t.seconds for t in self.trials.values() if t.status in ("finished", "stopped")]
        lasted = sorted(seconds for seconds in ended if seconds is not None)
        if not lasted:
            return None
        places = [0.0] * (self.at_once - len(self.running))
        for trial in self.running:
            age = 0.0 if trial.began is None else now - trial.began
            longer = lasted[bisect.bisect_right(lasted, age) :]
            places.append(fmean(longer) - age if longer else 0.0)
        heapq.heapify(places)
        average = fmean(lasted)
        for _ in range(self.n_trials - self.n_ended - len(self.running)):
            heapq.heapreplace(places, places[0] + average)
        return max(places, default=0.0) or None

    def headline(self, now: float, elapsed: float) -> list[str]:
        """The sweep in short phrases. now: in Unix seconds; elapsed: seconds that this process is at it."""
        counts = self._counted()
        earlier = f" ({self.n_before} earlier)" if self.n_before else ""
        phrases = [f"{self.n_ended}/{self.n_trials} done{earlier}"]
        phrases += [f"{len(self.running)} running"] if self.running else []
        phrases += [
            f"{counts[key]:.0f} {what}"
            for key, what in (("trials_stopped", "stopped early"), ("trials_failed", "failed"))
            if counts[key]
        ]
        if self.best is not None:
            phrases.append(f"best {self.best[0]:.2f} (trial {self.best[1]})")
        left = self.seconds_left(now)
        phrases.append(duration(elapsed))
        return phrases if left is None else [*phrases, f"about {duration(left)} left"]

    def table(self) -> list[dict[str, Any]]:
        """A row per trial: those that finished, best first, then those at work, and the others."""

        def place(trial: Trial) -> tuple[int, float, int]:
            score = math.inf if trial.score is None else trial.score
            ranked = score if trial.status == "finished" else 0.0
            return ORDER.index(trial.status), ranked, trial.number

        return [
            {
                "trial": t.number,
                "status": t.status,
                "stage": t.stage,
                "epoch": f"{t.epoch}/{t.n_epochs}" if t.n_epochs else "",
                "score": t.score,
                "settings": t.point,
                "error": t.error,
            }
            for t in sorted(self.trials.values(), key=place)
        ]
