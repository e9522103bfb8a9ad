"""The training loop under Ray Train: Ray Data feeds the workers, DDP averages their gradients."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.util.queue import Empty, Queue
from torch import Tensor

from ldns_ray.config import Hardware
from ldns_ray.data.batches import Batch
from ldns_ray.data.card import Card
from ldns_ray.data.shards import read_card, read_dataset
from ldns_ray.data.streaming import fits_in_object_store, streamed_batches
from ldns_ray.data.tables import trialset_from_tables
from ldns_ray.training.job import TrainingJob, run
from ldns_ray.training.loop import ResidentData, Workers

log = logging.getLogger(__name__)

MAX_FAILURES = 3
"""How often a run is restarted from its checkpoint after losing a worker."""


@dataclass(frozen=True)
class StreamedData:
    """Training trials as they stream in from Ray Data; validation trials in memory.

    Each worker gets an equal share of the trials, cut into equally many batches, so that workers stay in
    step: of n trials, the remainder of n / workers sits out an epoch.
    """

    job: TrainingJob
    stream: ray.data.DataIterator
    card: Card
    resident: ResidentData
    """This worker's validation trials; no training trials."""

    @property
    def _share(self) -> tuple[int, int]:
        """Trials of an epoch, and of a batch, that one worker sees."""
        world_size = self.resident.world_size
        n_trials = self.card.splits["train"]["n_trials"] // world_size
        return n_trials, max(1, self.job.optimisation.batch_size // world_size)

    @property
    def steps_per_epoch(self) -> int:
        n_trials, batch = self._share
        return -(-n_trials // batch)

    def train_batches(self, epoch: int) -> Iterable[Batch]:
        return streamed_batches(
            self.stream, self.card, self._share[1], seed=self.job.experiment.seed, epoch=epoch,
            prepare=self.job.prepare,
        )  # fmt: skip

    def validation_batches(self) -> Iterable[Batch]:
        return self.resident.validation_batches()


def _all_reduce(x: Tensor) -> Tensor:
    torch.distributed.all_reduce(x)
    return x


def _tables(name: str) -> Iterable[pa.Table]:
    shard = ray.train.get_dataset_shard(name)
    return shard.iter_batches(batch_size=None, batch_format="pyarrow")


def _train_worker(settings: dict[str, Any]) -> None:
    """What runs on every worker. On a restart it goes on from the job's checkpoint."""
    job, card, queue = settings["job"], settings["card"], settings["queue"]
    context = ray.train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    device = ray.train.torch.get_device()

    workers = Workers()
    if context.get_world_size() > 1:
        workers = Workers(
            context.get_world_rank(),
            context.get_world_size(),
            _all_reduce,
            ray.train.torch.prepare_model,
        )
    validation = trialset_from_tables(_tables("val"), card)
    if settings["resident"]:
        data: Any = job.resident(trialset_from_tables(_tables("train"), card), validation, workers)
    else:
        resident = job.resident(validation.subset([]), validation, workers)
        data = StreamedData(job, ray.train.get_dataset_shard("train"), card, resident)
    every = max(1, job.optimisation.epochs // 50)

    def on_epoch(row: dict[str, float], checkpoint: Callable[[], bytes]) -> None:
        if workers.rank == 0:
            queue.put(row)
        if row["epoch"] % every == 0 or row["epoch"] == job.optimisation.epochs:
            ray.train.report(row)

    draw = settings["draw"]
    try:
        run(job, data, device, workers, on_epoch, draw and draw(job, workers, device))
    except FloatingPointError as error:
        # All workers see it, and would see it again: ending here spares the restarts.
        if workers.rank == 0:
            queue.put(error)


def train_on_workers(
    job: TrainingJob,
    hardware: Hardware,
    *,
    run_name: str,
    storage_path: str,
    on_row: Callable[[dict[str, float]], None] | None = None,
    resident: bool | None = None,
    draw: Callable[..., Any] | None = None,
) -> None:
    """Train `job` on `hardware.workers` Ray Train workers, at the same global batch as on one.

    Args:
        run_name, storage_path: name of the run and folder of Ray Train's own files.
        on_row: called in this process with every epoch's figures.
        resident: keep the trials in the workers' memory, or stream them each epoch; chosen by
            the object store's size if None.
        draw: for tests, makes a worker's draws: `draw(job, workers, device) -> (step, batch) -> draws`.

    Raises what the training raised, once `MAX_FAILURES` restarts have not helped.
    """
    card = read_card(job.data_uri)
    if resident is None:
        resident = fits_in_object_store(card, "train")
    log.info("%s: trials are %s.", job.network, "kept in memory" if resident else "streamed")
    splits: dict[str, Any] = {
        s: read_dataset(job.data_uri, s, job.columns) for s in ("train", "val")
    }
    resources = {"CPU": hardware.cpus_per_worker or _cpus_per_worker(hardware.workers)}
    if hardware.gpus_per_worker:
        resources["GPU"] = hardware.gpus_per_worker

    def on_item(item: Any) -> None:
        if isinstance(item, FloatingPointError):
            raise item
        if on_row is not None:
            on_row(item)

    with relayed(on_item) as queue:
        trainer = ray.train.torch.TorchTrainer(
            _train_worker,
            train_loop_config={
                "job": job,
                "card": card,
                "queue": queue,
                "resident": resident,
                "draw": draw,
            },
            scaling_config=ray.train.ScalingConfig(
                num_workers=hardware.workers,
                use_gpu=hardware.gpus_per_worker > 0,
                resources_per_worker=resources,
            ),
            run_config=ray.train.RunConfig(
                name=run_name,
                storage_path=storage_path,
                failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            ),
            datasets=splits,
            dataset_config=ray.train.DataConfig(datasets_to_split=[] if resident else ["train"]),
        )
        try:
            trainer.fit()
        except ray.train.WorkerGroupError as error:
            raise next(iter(error.worker_failures.values()), error) from error


@contextlib.contextmanager
def relayed(handle: Callable[[Any], None]) -> Iterator[Queue]:
    """A queue for other processes: what they put into it is handed to `handle`, by a thread of this one.

    After an error of `handle` nothing more is handed to it; the error is raised when the block ends.
    """
    queue = Queue(actor_options={"num_cpus": 0})
    stop = threading.Event()
    errors: list[Exception] = []

    def hand_over() -> None:
        while True:
            try:
                item = queue.get(timeout=0.5)
            except Empty:
                if stop.is_set():
                    return
                continue
            if not errors:
                try:
                    handle(item)
                except Exception as error:
                    errors.append(error)

    thread = threading.Thread(target=hand_over, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        stop.set()
        thread.join(timeout=10)
        queue.shutdown()
    if errors:
        raise errors[0]


def _cpus_per_worker(n_workers: int) -> float:
    """One CPU, or less where the cluster would otherwise have none left for Ray Data, which then waits for ever."""
    spare = ray.cluster_resources().get("CPU", 1.0) - 1
    return min(1.0, round(max(spare, 0.5) / n_workers, 2))


def connect_ray() -> None:
    """Join the Ray cluster that RAY_ADDRESS or the running job names, or start one in this process, quietly."""
    # Tune's new output prints boxes even when silent.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    for name in ("ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
