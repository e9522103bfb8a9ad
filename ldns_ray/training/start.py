"""A training where the hardware says, its trials in memory or streamed, as they fit."""

import logging
from collections.abc import Callable
from typing import Any

import ray
import torch

from ldns_ray.config import Hardware
from ldns_ray.data import residence
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.residence import Residence
from ldns_ray.training.distributed import residence_on_workers, train_on_workers
from ldns_ray.training.job import OnSaved, TrainingJob, run
from ldns_ray.training.loop import Scoring, Workers

log = logging.getLogger(__name__)


def start(
    job: TrainingJob,
    hardware: Hardware,
    device: torch.device,
    *,
    run_name: str,
    storage_path: str,
    on_row: Callable[[dict[str, float]], None],
    on_saved: OnSaved,
    remark: Callable[[str], None],
    shared: Callable[[str], TrialSet] | None = None,
    at_once: int = 1,
    probe: Scoring | None = None,
) -> None:
    """Train `job` on the workers of `hardware`, or, without any, on this process's `device`.

    Args:
        run_name, storage_path: of Ray Train.
        on_row: called with every epoch's figures, at once.
        on_saved: called with those that a checkpoint holds, every epoch's once; see `run`.
        remark: called with a sentence on where the trials are, and why, and with what befalls the workers.
        shared: gives a split that this process need not read for itself.
        at_once: trainings in the memory of this machine at the same time.
        probe: scores the network while it trains.
    """
    if hardware.workers:
        where = residence_on_workers(job, hardware)
    elif shared is not None:
        where = Residence(True, "shared with other processes through the object store")
    else:
        room = residence.this_machine(job.resident_bytes, at_once)
        where = residence.choose(hardware.data, [room])
    log.info("%s: %s", job.network, where)
    remark(str(where))
    if hardware.workers:
        train_on_workers(
            job, hardware, run_name=run_name, storage_path=storage_path, on_row=on_row, on_saved=on_saved,
            remark=remark, resident=where.resident, probe=probe,
        )  # fmt: skip
        return
    data: Any
    if where.resident:
        load = shared or (lambda split: job.stream(split).load())
        data = job.resident(load("train"), load("val"), Workers())
    else:
        data = job.streamed(Workers(), through_ray=ray.is_initialized())
    run(
        job, data, device, on_epoch=lambda row, _: on_row(row), on_saved=on_saved, probe=probe,
        checkpoint_s=hardware.checkpoint_s,
    )  # fmt: skip
