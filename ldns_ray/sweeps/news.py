"""What trials send to the driver of their sweep while they run, and what the study knows of earlier ones."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from ldns_ray.pipeline import Observer
from ldns_ray.sweeps.study import counted, error_of
from ldns_ray.sweeps.wording import as_text, short

SECONDS_BETWEEN_EPOCHS = 10.0

Kind = Literal["began", "stage", "epoch", "remark", "line", "rung", "ended"]
HOW_ENDED = ("finished", "stopped", "failed", "retried")
ENDINGS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class News:
    """Something that happened to a trial.

    number: the trial's, from 1. kind, and what the others then hold:

    - began: `text`, its point of the search space.
    - stage: `status` is started, done, reused (it was there already) or waiting (another trial does it; `text` may
      say which).
    - epoch: of `n_epochs`, with the losses as `text`. rung: an epoch after which the trial was scored, with `score`.
    - remark: `text` on a stage. line: `text` for a terminal that shows a trial in detail.
    - ended: `status` is finished, stopped (early), failed, or retried (failed, and will be tried again); `score`;
      of a failure, the error as `text`.

    time: when, in Unix seconds, by the clock of who sends it.
    Raises ValueError for an end of any other status.
    """

    number: int
    kind: Kind
    stage: str = ""
    text: str = ""
    epoch: int = 0
    n_epochs: int = 0
    score: float | None = None
    status: str = ""
    time: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        if self.kind == "ended" and self.status not in HOW_ENDED:
            raise ValueError(
                f"Trial {self.number} must have ended as one of {', '.join(HOW_ENDED)}, got {self.status!r}."
            )


class Reporter(Observer):
    """Sends what a trial's pipeline does as news, of its epochs one now and then.

    `line` is for a `Terminal` beside it, where a trial is shown in detail.
    """

    def __init__(
        self,
        number: int,
        send: Callable[[News], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number, self._send, self._clock = number, send, clock
        self._last = float("-inf")

    def began(self, point: Mapping[str, Any]) -> None:
        """The trial begins at a point of the search space."""
        self._send(News(self.number, "began", text=described(point)))

    def line(self, text: str) -> None:
        """A line of detail for the terminal."""
        self._send(News(self.number, "line", text=text))

    def stage_waits(self, stage: str) -> None:
        self._send(News(self.number, "stage", stage, status="waiting"))

    def stage_started(self, stage: str, uri: str) -> None:
        self._last = float("-inf")
        self._send(News(self.number, "stage", stage, status="started"))

    def remark(self, stage: str, text: str) -> None:
        self._send(News(self.number, "remark", stage, text))

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        epoch, now = int(row["epoch"]), self._clock()
        scored = "score" in row
        if not scored and epoch != n_epochs and now - self._last < SECONDS_BETWEEN_EPOCHS:
            return
        self._last = now
        losses = (("train", "train_loss"), ("val", "val_loss"))
        text = "  ".join(f"{name} {row[key]:.5f}" for name, key in losses if key in row)
        score = float(row["score"]) if scored else None
        kind: Kind = "rung" if scored else "epoch"
        self._send(News(self.number, kind, stage, text, epoch, n_epochs, score))

    def stage_finished(self, stage: str, uri: str, record: dict[str, Any], *, reused: bool) -> None:
        self._send(News(self.number, "stage", stage, status="reused" if reused else "done"))


def described(point: Mapping[str, Any]) -> str:
    """A point of a search space in few words."""
    return ", ".join(f"{short(name)} {as_text(value)}" for name, value in point.items())


def told(study: optuna.Study) -> list[News]:
    """What a study knows of its trials as news, the earliest first; of trials that were interrupted, that they began."""
    news = []
    for trial in counted(study):
        number = trial.number + 1
        if trial.datetime_start is not None:
            began = trial.datetime_start.timestamp()
            news.append(News(number, "began", text=described(trial.params), time=began))
        ended = ending(trial)
        if ended is not None:
            news.append(ended)
    return sorted(news, key=lambda one: one.time)


def ending(trial: FrozenTrial) -> News | None:
    """How a trial of a study ended; None while it has not."""
    if trial.state not in ENDINGS or trial.datetime_complete is None:
        return None
    return News(
        trial.number + 1, "ended", score=trial.value, status=ENDINGS[trial.state], text=error_of(trial),
        epoch=trial.last_step or 0 if trial.state == TrialState.PRUNED else 0,
        time=trial.datetime_complete.timestamp(),
    )  # fmt: skip
