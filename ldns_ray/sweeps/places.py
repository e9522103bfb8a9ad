"""How many trials of a sweep run at the same time, where a cluster's nodes may come and go.

Ray does not tell a program whether its cluster has an autoscaler: whoever sets the cluster up says so, by
`LDNS_AUTOSCALER_WAIT_MIN` in the environment that Ray is started in.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from ray.autoscaler.sdk import request_resources
from ray.tune.search import ConcurrencyLimiter, Searcher

from ldns_ray.sweeps.budget import RESERVED_CPUS, concurrency, fitting, lack, needs
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.training.distributed import ray_is_shared

WAIT = "LDNS_AUTOSCALER_WAIT_MIN"
"""Environment variable: minutes for which a sweep asks for nodes, and waits for the first; 0: no autoscaler."""
LOOK_S = 10.0
"""Between two looks at the cluster's nodes; the autoscaler itself looks every 5 s."""


def autoscaler_wait_s() -> float:
    """Seconds to wait for nodes that an autoscaler adds to the cluster; 0 where it has none.

    Raises ValueError if the variable is no number of minutes.
    """
    said = os.environ.get(WAIT) or "0"
    try:
        minutes = float(said)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes < float("inf"):
        raise ValueError(f"{WAIT} must be a number of minutes, 0 for no autoscaler, got {said!r}.")
    return 60 * minutes if ray_is_shared() else 0.0


class Places:
    """Places for trials on a cluster that stays as it is.

    now: trials that fit by now; most: that may run at the same time before the sweep ends.
    """

    def __init__(self, n: int) -> None:
        self.now = self.most = n

    def limiting(self, search: Searcher) -> ConcurrencyLimiter:
        """`search`, asked for no more trials than there are places."""
        return ConcurrencyLimiter(search, max_concurrent=self.now)


class GrowingPlaces(Places):
    """Places on a cluster with an autoscaler, which is asked for those that are missing, for a limited time.

    Limited because Ray keeps such a request until another takes its place: that of a job that was killed would
    keep nodes idle for ever. Later, trials that lost their node ask for another by waiting for it.

    Args:
        sweep: whose trials they are.
        most: places wanted; the autoscaler adds no more nodes than it may, however many are asked for.
        wait_s: seconds for which it is asked.
    """

    def __init__(self, sweep: Sweep, most: int, wait_s: float) -> None:
        self.sweep, self.most = sweep, most
        self.until = time.monotonic() + wait_s
        self.now = 0
        self.asking = True
        self.looked = -float("inf")

    def look(self) -> int:
        """Places by now. What is missing is asked for again: Ray Data's requests take the place of others."""
        if time.monotonic() - self.looked >= LOOK_S:
            self.now = min(fitting(self.sweep), self.most)
            if self.now == self.most or time.monotonic() >= self.until:
                self.withdraw()
            elif self.asking:
                request_resources(bundles=bundles(self.sweep, self.most))
            self.looked = time.monotonic()
        return self.now

    def withdraw(self) -> None:
        """Ask for nothing any more. Nodes in use stay, the others go when the autoscaler finds them idle."""
        if self.asking:
            self.asking = False
            request_resources(bundles=[])

    def limiting(self, search: Searcher) -> ConcurrencyLimiter:
        return _Growing(search, self)


class _Growing(ConcurrencyLimiter):
    """Lets in as many trials as there are places by now."""

    def __init__(self, search: Searcher, places: GrowingPlaces) -> None:
        super().__init__(search, max_concurrent=places.most)
        self.places = places

    def suggest(self, trial_id: str) -> dict | None:
        self.max_concurrent = self.places.look()
        return super().suggest(trial_id)


@contextlib.contextmanager
def places(sweep: Sweep, missing: int, say: Callable[[str], None]) -> Iterator[Places]:
    """Places for the `missing` trials of a sweep.

    Where the cluster has an autoscaler, waits until one trial fits, and asks for no more nodes when the block ends.
    Raises ValueError if none fits.
    """
    wait_s = autoscaler_wait_s()
    if not wait_s:
        yield Places(concurrency(sweep, missing))
        return
    growing = GrowingPlaces(sweep, min(sweep.max_concurrent or missing, missing), wait_s)
    try:
        _wait(growing, wait_s, say)
        yield growing
    finally:
        growing.withdraw()


def _wait(growing: GrowingPlaces, wait_s: float, say: Callable[[str], None]) -> None:
    sweep, began = growing.sweep, time.monotonic()
    within = f"{wait_s / 60:g} min ({WAIT})"
    if not growing.look():
        say(f"Sweep {sweep.name}: waits for a node, up to {within}. {needs(sweep)}.")
    while not growing.look():
        if time.monotonic() >= growing.until:
            raise ValueError(
                f"{lack(sweep)} The autoscaler added none that suffices within {within}: `ray status` on the head "
                "says why. Lower --cpus-per-trial or --gpus-per-trial, or allow it other nodes."
            )
        time.sleep(min(LOOK_S, max(0.0, growing.until - time.monotonic())))
    waited = time.monotonic() - began
    say(
        f"Sweep {sweep.name}: {growing.now} of {growing.most} trials fit after {waited:.0f} s; more begin as nodes come."
    )


def bundles(sweep: Sweep, n_trials: int) -> list[dict[str, float]]:
    """What so many trials take, worker by worker, and the CPUs that stay free for Ray Data."""
    n = sweep.workers_per_trial
    worker = {"CPU": sweep.cpus_per_trial / n, "GPU": sweep.gpus_per_trial / n}
    worker = {kind: each for kind, each in worker.items() if each}
    return [{"CPU": float(RESERVED_CPUS)}, *(dict(worker) for _ in range(n_trials * n))]
