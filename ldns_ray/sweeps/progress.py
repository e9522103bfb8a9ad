"""A sweep's progress in a terminal: a line for each event that matters, and now and then how all of it stands."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from ldns_ray.sweeps.news import News
from ldns_ray.sweeps.standing import Standing, Trial
from ldns_ray.sweeps.wording import cut
from ldns_ray.text_table import width

COLUMNS = 100
"""Of a line that stays, at most."""
NAME_COLUMNS = 24
ROWS = 8
"""Running trials that are shown, at most."""
RIGHT = (True, False, True, True, False)
"""Which columns of theirs are flush right."""
INTERVAL_S = (15.0, 300.0)
"""Between two blocks, at first and after hours."""
STATUS_S = 1.0
"""Between two headlines that replace each other."""
SHARE = 1 / 40
"""Of the time that the sweep has taken so far, which the next block waits."""


class Plain:
    """Lines and nothing else: for files, logs of jobs, and other programs."""

    keeps_blocks = True

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self._say = say

    def line(self, text: str) -> None:
        """A line."""
        self._say(text)

    def block(self, headline: Sequence[str], rows: Sequence[str]) -> None:
        """How the sweep stands: its headline in phrases, and a line for each running trial."""
        for text in (*filled(headline), *rows):
            self._say(text)

    def status(self, headline: Sequence[str]) -> None:
        """Nothing: a headline alone would have to replace the one before."""

    def close(self) -> None:
        """Nothing."""


class Sticky:
    """A terminal, whose last line is the headline, written over again and again.

    It is one line, and alone on it, so that what other libraries print in between is never overwritten.
    """

    keeps_blocks = False

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._shown = stream, ""

    def line(self, text: str) -> None:
        """A line that scrolls away above the headline."""
        self._write(f"{text}\n{self._shown}")

    def block(self, headline: Sequence[str], rows: Sequence[str]) -> None:
        """A line for each running trial, and a new headline below."""
        for text in rows:
            self.line(text)
        self.status(headline)

    def status(self, headline: Sequence[str]) -> None:
        """A new headline; where it is too long, phrases after the first are left out, and then it is cut."""
        # A line that wraps could not be written over.
        columns = shutil.get_terminal_size().columns - 1
        phrases = list(headline)
        while len(phrases) > 2 and width(", ".join(phrases)) > columns:
            del phrases[1]
        self._shown = cut(", ".join(phrases), columns)
        self._write(self._shown)

    def close(self) -> None:
        """Take the headline away."""
        self._shown = ""
        self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()


Output = Plain | Sticky


def output(
    stream: TextIO, say: Callable[[str], None], environment: Mapping[str, str] = os.environ
) -> Output:
    """What suits a stream: a headline that stays on a terminal, and plain lines to `say` where it may not.

    That is where the stream is a file or a pipe, and where NO_COLOR or TERM=dumb asks for no control characters.
    """
    dumb = environment.get("TERM", "dumb") == "dumb" or environment.get("NO_COLOR")
    return Plain(say) if dumb or not stream.isatty() else Sticky(stream)


class Progress:
    """Tells a person how a sweep goes. May be called from several threads, and has none of its own.

    Args:
        name: of the sweep.
        standing: hears the news from here; nobody else is to pass them on.
        out: where lines go.
        detailed: print the lines of trials' own terminals as they come, and no block: for one trial at a time.
        clock: Unix seconds.
    """

    def __init__(
        self,
        name: str,
        standing: Standing,
        out: Output,
        *,
        detailed: bool = False,
        interval: tuple[float, float] = INTERVAL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.standing = cut(name, NAME_COLUMNS), standing
        self._out, self._detailed, self._interval, self._clock = out, detailed, interval, clock
        self._began = self._told_at = clock()
        self._shown_at = float("-inf")
        self._told = standing.version

    def heard(self, news: News) -> None:
        """Take in what happened; print it if it matters, and a block if it is time for one.

        A terminal that is gone ends no sweep.
        """
        with self.standing.lock, contextlib.suppress(OSError):
            event = self.standing.heard(news)
            prefix = f"{self._trial(news.number)}  "
            if event:
                self._out.line(cut(prefix + event, COLUMNS))
            if self._detailed and news.kind == "line":
                self._out.line(prefix + news.text)
            if self._detailed and news.kind == "ended":
                self._told = self.standing.version
                self._out.block(self._headline(), [])
            self.tell()

    def tell(self) -> None:
        """Print how the sweep stands, if something changed and the last time is long enough ago."""
        with self.standing.lock:
            if self._told == self.standing.version:
                return
            now = self._clock()
            shortest, longest = self._interval
            pause = min(longest, max(shortest, SHARE * (now - self._began)))
            if self._detailed or now - self._told_at < pause:
                if now - self._shown_at >= STATUS_S:
                    self._shown_at = now
                    self._out.status(self._headline())
                return
            self._told, self._told_at = self.standing.version, now
            self._out.block(self._headline(), self._rows())

    def close(self) -> None:
        """Print how the sweep stands at its end, if that is not what was printed last."""
        with self.standing.lock, contextlib.suppress(OSError):
            self._out.close()
            if self._out.keeps_blocks and self._told == self.standing.version:
                return
            for text in filled(self._headline()):
                self._out.line(text)

    def _trial(self, number: int) -> str:
        """What a trial is called, as long as any other."""
        return f"trial {number:>{len(str(self.standing.n_trials))}}"

    def _headline(self) -> list[str]:
        now = self._clock()
        first, *others = self.standing.headline(now, now - self._began)
        return [f"{self.name}  {first}", *others]

    def _rows(self) -> list[str]:
        running = self.standing.running
        cells = [(self._trial(trial.number), *_cells(trial)) for trial in running[:ROWS]]
        widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        rows = [
            "  ".join(
                " " * (w - width(cell)) + cell if right else cell + " " * (w - width(cell))
                for cell, w, right in zip(row, widths, RIGHT, strict=True)
            )
            for row in cells
        ]
        if len(running) > ROWS:
            rows.append(f"… and {len(running) - ROWS} more")
        return [cut(f"  {row}".rstrip(), COLUMNS) for row in rows]


def _cells(trial: Trial) -> tuple[str, str, str, str]:
    """Of a running trial: stage, epoch, how much of the stage that is, and the latest figures."""
    if trial.status == "waiting":
        return trial.stage, "", "", "waits for another trial"
    scored = [] if trial.score is None else [f"score {trial.score:.2f}"]
    figures = "  ".join(filter(None, [trial.losses, *scored]))
    if not trial.n_epochs:
        return trial.stage or "begins", "", "", figures
    share = f"{100 * trial.epoch // trial.n_epochs} %"
    return trial.stage, f"{trial.epoch}/{trial.n_epochs}", share, figures


def filled(phrases: Sequence[str], columns: int = COLUMNS) -> list[str]:
    """Phrases with commas between them, in as many lines as they need; all but the first are indented."""
    lines = [phrases[0]]
    for phrase in phrases[1:]:
        longer = f"{lines[-1]}, {phrase}"
        if width(longer) < columns:  # a comma may follow
            lines[-1] = longer
        else:
            lines[-1] += ","
            lines.append(f"    {phrase}")
    return lines
