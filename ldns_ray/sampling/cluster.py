"""Ranges sampled by actors of a Ray cluster: as many as asked for, replaced when they are lost.

All nodes must reach the model and the dataset by their URIs.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions
import torch

from ldns_ray.cli import JobError
from ldns_ray.data.card import Card
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.requests import Requests
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.sampling.plan import Plan, Range
from ldns_ray.sampling.ranges import OnTrials, write_range
from ldns_ray.storage import UnreachableError, expect_answers
from ldns_ray.training.distributed import Relay, relayed

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""Workers that may be lost over one range, or, one after another, before they begin with any."""
SECONDS_BETWEEN_NEWS = 1.0
PATIENCE_S = 60.0
"""So long, no worker starts and none works, before it is told that there is no room."""


class _Worker:
    """Samples one range after another, with a model that it loads once."""

    def __init__(self, plan: Plan, out_uri: str, relay: Relay) -> None:
        # With other numbers of threads, samples differ by rounding.
        torch.set_num_threads(1)
        expect_answers()
        self._plan, self._out_uri, self._relay = plan, out_uri, relay
        self._model: LDNS | None = None
        self._told = 0.0

    def ready(self) -> None:
        """Returns once the actor runs."""

    def write(self, trials: Range, rows: Requests | None) -> None:
        # Not before: an error of an actor's making would pass for a lost actor.
        if self._model is None:
            self._model = LDNS.load(self._plan.model_uri).to(self._plan.device)
        write_range(self._model, self._plan, self._out_uri, trials, rows, self._tell)

    def _tell(self, trials: Range, n_done: int) -> None:
        if time.monotonic() - self._told > SECONDS_BETWEEN_NEWS:
            self._relay.put((trials, n_done))
            self._told = time.monotonic()


@dataclass(frozen=True)
class OnCluster:
    """Ranges shared out to actors of the running Ray.

    workers: actors, each of which computes with one thread, and takes so many CPUs and GPUs of its node.
    """

    workers: int
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_worker else "cpu"

    def __call__(
        self, model: LDNS, plan: Plan, out_uri: str, ranges: Sequence[Range], on_trials: OnTrials
    ) -> None:
        with relayed(lambda news: on_trials(*news)) as relay:
            actor = ray.remote(_Worker).options(
                num_cpus=self.cpus_per_worker, num_gpus=self.gpus_per_worker, max_restarts=0,
                scheduling_strategy="SPREAD",
            )  # fmt: skip
            crew = _Crew(actor, (plan.without_given(), out_uri, relay), plan, ranges, on_trials)
            try:
                crew.work(self.workers)
            finally:
                crew.dismiss()


class _Crew:
    """Actors at work on ranges."""

    def __init__(
        self, actor: Any, arguments: tuple[Any, ...], plan: Plan, ranges: Sequence[Range], on_trials: OnTrials,
    ) -> None:  # fmt: skip
        self._actor, self._arguments, self._plan = actor, arguments, plan
        self._todo, self._on_trials = deque(ranges), on_trials
        self._busy: dict[Any, tuple[Any, Range | None]] = {}
        """What is waited for → the actor, and its range; None of one that starts, maybe once there is room for it."""
        self._lost: Counter[Range | None] = Counter()
        self._hired: set[Any] = set()

    def work(self, n_workers: int) -> None:
        """Do all ranges."""
        for _ in range(min(n_workers, len(self._todo))):
            self._hire()
        while self._todo or any(trials is not None for _, trials in self._busy.values()):
            references, _ = ray.wait(list(self._busy), num_returns=1, timeout=PATIENCE_S)
            if not references:
                self._say_if_there_is_no_room()
                continue
            actor, trials = self._busy.pop(references[0])
            try:
                ray.get(references[0])
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, UnreachableError):
                    raise error.cause from None
                self._replace(actor, trials, error.cause)
                continue
            except ray.exceptions.RayError as error:
                self._replace(actor, trials, error)
                continue
            if trials is not None:
                self._on_trials(trials, trials.stop - trials.start)
                self._lost[None] = 0
            if self._todo:
                self._assign(actor)
            else:
                self._dismiss(actor)  # its room may be needed, where another is lost

    def dismiss(self) -> None:
        """End all actors."""
        for actor in list(self._hired):
            self._dismiss(actor)

    def _dismiss(self, actor: Any) -> None:
        self._hired.remove(actor)
        ray.kill(actor)

    def _say_if_there_is_no_room(self) -> None:
        if all(trials is None for _, trials in self._busy.values()):
            logger.warning(
                "The cluster has no room for a worker yet, each of which takes the CPUs and GPUs of --cpus-per-worker and "
                "--gpus-per-worker. `ray status` shows what there is."
            )

    def _hire(self) -> None:
        actor = self._actor.remote(*self._arguments)
        self._hired.add(actor)
        self._busy[actor.ready.remote()] = (actor, None)

    def _assign(self, actor: Any) -> None:
        trials = self._todo.popleft()
        self._busy[actor.write.remote(trials, self._plan.rows(trials))] = (actor, trials)

    def _replace(self, actor: Any, trials: Range | None, error: Exception) -> None:
        """Another actor for one that was lost, and its range for another."""
        self._dismiss(actor)
        self._lost[trials] += 1
        reason = str(error).strip().splitlines()[0]
        if self._lost[trials] >= ATTEMPTS:
            what = "before it began" if trials is None else f"over trials {trials.start} to {trials.stop - 1}"  # fmt: skip
            raise JobError(
                f"A worker was lost {what}, {ATTEMPTS} times; the last time: {reason} Look at the nodes' memory and logs; "
                "the same command then does what is missing."
            )
        logger.warning("A worker was lost, another takes its place: %s", reason)
        if trials is not None:
            self._todo.appendleft(trials)
        self._hire()


def sample_on_cluster(
    model_uri: str,
    out_uri: str,
    n: int,
    *,
    workers: int,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    **how: Any,
) -> Card:
    """`sample_dataset` by actors of the running Ray; the same dataset, file by file, for any number of them.

    It is that of one process with one thread (`InProcess(1)`), too. how: as in `sample_dataset`.
    Raises JobError where workers are lost again and again.
    """
    work = OnCluster(workers, cpus_per_worker, gpus_per_worker)
    return sample_dataset(model_uri, out_uri, n, work=work, **how)
