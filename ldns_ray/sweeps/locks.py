"""One process of a cluster at a time does a stage."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray

from ldns_ray.training.distributed import on_this_node

LOCK_POLL_SECONDS = 2.0


def _holder_class() -> Any:
    """The class of the actor that holds a stage's name while its owner works on it.

    Made here, so that it travels by value: the actor's process then imports none of this package.
    """

    class Holder:
        def ready(self) -> bool:
            return True

    return ray.remote(num_cpus=0)(Holder)


@contextlib.contextmanager
def stage_guard(
    name: str, is_done: Callable[[], bool], waits: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """One process of the cluster at a time does the stage `name`; others wait until it is done or given up.

    waits: called once, where this process has to wait.

    The lock is a named actor, owned by this process and on its node: if the process or its node dies, Ray removes it,
    and a waiting process takes over.
    """
    actor: Any = _holder_class()
    holder: Any = None
    waited = False
    while not is_done():
        try:
            holder = actor.options(
                name=f"stage-{name}", namespace="ldns", scheduling_strategy=on_this_node()
            ).remote()
            ray.get(holder.ready.remote())
            break
        except ValueError:  # the name is taken
            holder = None
            if not waited:
                waits()
            waited = True
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if holder is not None:
            ray.kill(holder)
