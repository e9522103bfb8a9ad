"""A sweep that runs, seen in MLflow: counts and the best score as curves, a table of trials, and a headline."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from ldns_ray.sweeps.standing import Standing
from ldns_ray.tracking.runs import Run

logger = logging.getLogger(__name__)

INTERVAL_S = 30.0
TABLE = "trials"


class Live:
    """Keeps the sweep's run up to date by a thread of its own, while the `with` block lasts.

        with Live(run, standing, page=lambda headline: notes.sweep_run(result=headline, …)):
            ...

    The metrics `trials_finished`, `trials_stopped`, `trials_failed`, `trials_running` and `best_score` have the
    number of trials that have ended as their step. The table is `trials.json`.

    A server that is away costs the sweep nothing: metrics wait, and the table and the page are written when it
    answers again. That is logged once each time it goes away. Where the block ends as it should, its end waits for
    the last write, since what comes next needs the server as well; after an error it does not.

    Args:
        run: the sweep's.
        standing: somebody else lets it hear the news.
        page: a headline → the markdown of the run's page.
        interval: seconds between two updates.
        clock: Unix seconds.
    """

    def __init__(
        self,
        run: Run,
        standing: Standing,
        page: Callable[[str], str],
        *,
        interval: float = INTERVAL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run, self._standing, self._page = run, standing, page
        self._interval, self._clock = interval, clock
        self._began = clock()
        self._sent = 0
        self._written = -1
        self._failing: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live", daemon=True)

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if kind is None:
            self._thread.join()
            self.update()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            self.update()

    def update(self) -> None:
        """Send what changed. Raises nothing: what could not be written is written the next time."""
        self._attempt("metrics", self._send)
        self._attempt("table and headline", self._write)

    def _attempt(self, what: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            # Of whatever kind a store's client raises: a sweep of days does not end for a table of its progress.
            if what not in self._failing:
                logger.warning("The sweep's %s in MLflow are not up to date: %s", what, error)
            self._failing.add(what)
        else:
            self._failing.discard(what)

    def _send(self) -> None:
        """Metrics of the trials that ended since; those of an earlier process too, where the run lacks them."""
        for moment in self._standing.history[self._sent :]:
            self._run.metrics(moment.values, step=self._sent + 1, at=moment.time)
            self._sent += 1

    def _write(self) -> None:
        with self._standing.lock:
            version, rows = self._standing.version, self._standing.table()
            headline = page_headline(self._standing, self._clock(), self._began)
        if version == self._written:
            return
        if rows:
            self._run.table(TABLE, rows)
        self._run.describe(self._page(headline))
        self._written = version


def page_headline(standing: Standing, now: float, began: float) -> str:
    """How the sweep stands, as markdown without its full stop. Times in Unix seconds."""
    first, *others = standing.headline(now, now - began)
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return f"{', '.join((f'**{first}**', *others))} (as of {at})"
