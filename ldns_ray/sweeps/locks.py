"""One process at a time does a stage, and one runs a sweep."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray

from ldns_ray.cli import JobError
from ldns_ray.training.distributed import on_this_node

LOCK_POLL_SECONDS = 2.0
PATIENCE_S = 60.0


def _holder_class() -> Any:
    """The class of the actor that holds a stage's name while its owner works on it.

    Made here, so that it travels by value: the actor's process then imports none of this package.
    """

    class Holder:
        def ready(self) -> bool:
            return True

    return ray.remote(num_cpus=0)(Holder)


def _hold(name: str) -> Any:
    """An actor of this name, on this node and owned by this process; None if another process has one."""
    actor: Any = _holder_class()
    try:
        holder = actor.options(
            name=name, namespace="ldns", scheduling_strategy=on_this_node()
        ).remote()
        ray.get(holder.ready.remote())
    except ValueError:  # the name is taken
        return None
    return holder


@contextlib.contextmanager
def stage_guard(
    name: str, is_done: Callable[[], bool], waits: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """One process of the cluster at a time does the stage `name`; others wait until it is done or given up.

    waits: called once, where this process has to wait.

    The lock is a named actor, owned by this process and on its node: if the process or its node dies, Ray removes it,
    and a waiting process takes over.
    """
    holder: Any = None
    waited = False
    while not is_done():
        holder = _hold(f"stage-{name}")
        if holder is not None:
            break
        if not waited:
            waits()
        waited = True
        time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if holder is not None:
            ray.kill(holder)


@contextlib.contextmanager
def alone(
    name: str, file: str = "", *, shared: bool = True, patience_s: float = PATIENCE_S
) -> Iterator[None]:
    """Nobody else runs `name` meanwhile: no process of this cluster, nor one that locks the same local file.

    shared: whether others may use the cluster; in one's own the file is enough.

    The cluster needs time to notice that a driver was killed, and to end its trials: it gets `patience_s`.
    Raises JobError if another process is at it then.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open(file, "w")) if file else None
        holder, locked = None, False
        in_cluster = shared and ray.is_initialized()
        deadline = time.monotonic() + patience_s
        while True:
            locked = locked or opened is None or _lock(opened.fileno())
            if locked and in_cluster and holder is None:
                holder = _hold(name)
            if locked and (holder is not None or not in_cluster):
                break
            if time.monotonic() > deadline:
                raise JobError(
                    f"Another process runs {name} already. Wait for it, or stop it, and submit again."
                )
            time.sleep(LOCK_POLL_SECONDS)
        if holder is not None:
            stack.callback(ray.kill, holder)
        yield


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
