"""The training loop under Ray Train: Ray Data feeds the workers, DDP averages their gradients."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray import cloudpickle
from ray._private import ray_constants
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import Tensor

from ldns_ray import storage
from ldns_ray.config import Hardware
from ldns_ray.data import residence
from ldns_ray.data.residence import Residence
from ldns_ray.data.shards import read_card
from ldns_ray.data.tables import trialset_from_tables
from ldns_ray.services import ensure_token
from ldns_ray.training.job import OnSaved, TrainingJob, run
from ldns_ray.training.loop import Scoring, Workers

MAX_FAILURES = 3
"""How often a run is restarted from its checkpoint after losing a worker."""


def _all_reduce(x: Tensor) -> Tensor:
    torch.distributed.all_reduce(x)
    return x


def _tables(name: str) -> Iterable[pa.Table]:
    shard = ray.train.get_dataset_shard(name)
    return shard.iter_batches(batch_size=None, batch_format="pyarrow")


def _notice(info: ray.train.PreemptionInfo) -> str:
    """What a person is told of machines that will be taken back."""
    at = ""
    if info.deadline_ms is not None:
        at = f" at {datetime.fromtimestamp(info.deadline_ms / 1000):%H:%M:%S}"
    return f"a worker's machine will be taken back{at}: until then every epoch is saved"


def _train_worker(settings: dict[str, Any]) -> None:
    """What runs on every worker. On a restart it goes on from the job's checkpoint."""
    storage.expect_answers()
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
    data: Any
    if settings["resident"]:
        train, validation = (trialset_from_tables(_tables(s), card) for s in ("train", "val"))
        data = job.resident(train, validation, workers)
    else:
        _quieten()
        data = job.streamed(workers, through_ray=True)

    def on_epoch(row: dict[str, float], checkpoint: Callable[[], bytes]) -> None:
        if workers.rank == 0:
            # Not by `ray.train.report`: it waits until the driver has polled, 2 s an epoch.
            queue.put(("epoch", row))

    def on_saved(rows: list[dict[str, float]]) -> None:
        queue.put(("saved", rows))

    told = False

    def ends_soon() -> bool:
        nonlocal told
        info = ray.train.get_preemption_info()  # all workers must ask together
        if info is not None and workers.rank == 0 and not told:
            queue.put(("remark", _notice(info)))
            told = True
        return info is not None

    draw = settings["draw"]
    try:
        run(
            job, data, device, workers, on_epoch, draw and draw(job, workers, device), on_saved, settings["probe"],
            settings["checkpoint_s"], ends_soon,
        )  # fmt: skip
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
    on_saved: OnSaved | None = None,
    remark: Callable[[str], None] = lambda text: None,
    resident: bool = True,
    draw: Callable[..., Any] | None = None,
    probe: Scoring | None = None,
) -> None:
    """Train `job` on `hardware.workers` Ray Train workers, at the same global batch as on one.

    Args:
        run_name, storage_path: name of the run and folder of Ray Train's own files.
        on_row: called in this process with every epoch's figures, at once.
        on_saved: called in this process with the figures that a checkpoint holds, every epoch's once.
        remark: called in this process with what else happens, in words.
        resident: keep the trials in the workers' memory, or stream them in every epoch.
        draw: for tests, makes a worker's draws: `draw(job, workers, device) -> (step, batch) -> draws`.
        probe: scores the network while it trains; it travels to the workers, where the first one calls it.

    Raises what the training raised, once `MAX_FAILURES` restarts have not helped.
    """
    tables: dict[str, Any] = {}
    if resident:
        tables = {s: job.stream(s).materialized() for s in ("train", "val")}
    resources = {"CPU": _cpus_per_worker(hardware)}
    if hardware.gpus_per_worker:
        resources["GPU"] = hardware.gpus_per_worker

    last = 0.0

    def on_item(item: Any) -> None:
        nonlocal last
        match item:
            case ("epoch", row):
                if on_row is not None:
                    on_row(row)
            case ("saved", rows):
                # Workers that take the place of lost ones begin with all that the checkpoint holds.
                new = [row for row in rows if row["epoch"] > last]
                if new:
                    last = new[-1]["epoch"]
                    if on_saved is not None:
                        on_saved(new)
            case ("remark", text):
                remark(text)
            case _:
                raise item

    with relayed(on_item) as queue:
        trainer = ray.train.torch.TorchTrainer(
            _train_worker,
            train_loop_config={
                "job": job,
                "card": read_card(job.data_uri),
                "queue": queue,
                "resident": resident,
                "draw": draw,
                "probe": probe,
                "checkpoint_s": hardware.checkpoint_s,
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
            datasets=tables,
            dataset_config=ray.train.DataConfig(datasets_to_split=[]),
        )
        try:
            trainer.fit()
        except ray.train.WorkerGroupError as error:
            raise next(iter(error.worker_failures.values()), error) from error


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """Keeps an actor on the node of this process."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class Relay:
    """The end of a queue that other processes put into.

    Items travel as bytes: the process that keeps them would else import all that they are made of, for seconds, while
    whoever put the first one waits.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def put(self, item: Any) -> None:
        """Hand `item` over. Raises RayError where nobody is there to take it."""
        self._queue.put(cloudpickle.dumps(item))


@contextlib.contextmanager
def relayed(handle: Callable[[Any], None]) -> Iterator[Relay]:
    """For other processes: what they put is handed to `handle`, by a thread of this one.

    After an error of `handle` nothing more is handed to it; the error is raised when the block ends. The queue lives
    on the node of this process: it is lost only where this process is lost too.
    """
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": on_this_node()})
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
                    handle(cloudpickle.loads(item))
                except Exception as error:
                    errors.append(error)

    thread = threading.Thread(target=hand_over, daemon=True)
    thread.start()
    try:
        yield Relay(queue)
    finally:
        stop.set()
        thread.join(timeout=10)
        queue.shutdown()
    if errors:
        raise errors[0]


def residence_on_workers(job: TrainingJob, hardware: Hardware) -> Residence:
    """Whether the trials fit into the object store, and into the memory of the workers beside each other."""
    rooms = (
        residence.object_store(job.resident_bytes),
        residence.nodes(
            job.resident_bytes,
            hardware.workers,
            _cpus_per_worker(hardware),
            hardware.gpus_per_worker,
        ),
    )
    return residence.choose(hardware.data, rooms)


def _cpus_per_worker(hardware: Hardware) -> float:
    """As asked; else one CPU, or less where the cluster would otherwise have none left for others' Ray Data."""
    if hardware.cpus_per_worker:
        return hardware.cpus_per_worker
    spare = ray.cluster_resources().get("CPU", 1.0) - 1
    return min(1.0, round(max(spare, 0.5) / hardware.workers, 2))


def _quieten() -> None:
    """Ray's libraries tell of every pass over a dataset; here only of what goes wrong."""
    for name in ("ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def ray_is_shared() -> bool:
    """Whether `connect_ray` joins a cluster, which others may use too."""
    return bool(os.environ.get("RAY_ADDRESS"))


@contextlib.contextmanager
def _on_this_machine() -> Iterator[None]:
    """A Ray that is started meanwhile listens on the loopback address, not on all that the machine has.

    Ray has no argument for it. The variable tells its processes, and is read when Ray is imported: too early for this
    one, where it becomes known only now that no cluster is to be joined.
    """
    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    stated = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if stated is None:
            del os.environ[name]
        else:
            os.environ[name] = stated


def connect_ray() -> None:
    """Join the Ray cluster that RAY_ADDRESS or the running job names, or start one in this process, quietly.

    One of its own asks for the user's token, unless RAY_AUTH_MODE says otherwise, and can be reached from this machine
    alone.
    """
    # Tune's new output prints boxes even when silent.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    _quieten()
    if not ray.is_initialized():
        settings: dict[str, Any] = {
            "logging_level": logging.WARNING, "log_to_driver": False, "include_dashboard": False,
        }  # fmt: skip
        if ray_is_shared():
            ray.init(os.environ["RAY_ADDRESS"], **settings)
        else:
            ensure_token()
            with _on_this_machine():
                # By itself, Ray would look for the cluster that was last started on this machine, gone or not.
                ray.init("local", **settings)
    ray.data.DataContext.get_current().enable_progress_bars = False
