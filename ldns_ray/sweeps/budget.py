"""What a sweep may take of a cluster: trials at once, the share of each, and data that they have in common."""

from collections.abc import Callable
from typing import Any

import ray

from ldns_ray.config import Hardware
from ldns_ray.data import residence
from ldns_ray.data.shards import read_card
from ldns_ray.data.streaming import Stream
from ldns_ray.sweeps.plan import Sweep

READ_HERE_BYTES = 64 * 2**20
"""Trials of this size are read by this process in less time than Ray Data takes to start its own."""
RESERVED_CPUS = 1
"""CPUs kept free for Ray Data: a sweep that takes them all waits for itself."""


def concurrency(sweep: Sweep) -> int:
    """Trials that fit the cluster at the same time, CPUs for Ray Data left aside."""
    resources = ray.cluster_resources()
    fits = (resources.get("CPU", 1) - RESERVED_CPUS) / sweep.cpus_per_trial
    if sweep.gpus_per_trial:
        fits = min(fits, resources.get("GPU", 0) / sweep.gpus_per_trial)
    if fits < 1:
        raise ValueError(
            f"A trial needs {sweep.cpus_per_trial:g} CPUs and {sweep.gpus_per_trial:g} GPUs beside {RESERVED_CPUS} CPU "
            f"for data, the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs. "
            "Lower --cpus-per-trial or --gpus-per-trial, or add nodes."
        )
    return min(int(fits), sweep.max_concurrent or int(fits), sweep.n_trials)


def process_resources(sweep: Sweep) -> dict[str, float]:
    """What the process of a trial reserves: all that is the trial's, or nothing where its workers have it."""
    if sweep.workers_per_trial > 1:
        return {"cpu": 0.0, "gpu": 0.0}
    return {"cpu": sweep.cpus_per_trial, "gpu": sweep.gpus_per_trial}


def hardware(sweep: Sweep) -> Hardware:
    """What a trial trains on: its own process, or workers that share what is the trial's."""
    n = sweep.workers_per_trial
    if n == 1:
        return Hardware(workers=0, data=sweep.data, checkpoint_s=sweep.checkpoint_s)
    return Hardware(
        n, sweep.gpus_per_trial / n, sweep.cpus_per_trial / n, sweep.data, sweep.checkpoint_s
    )


def shared_tables(
    sweep: Sweep, concurrent: int, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """By split, blocks in the object store that all trials of a node share; None where each reads for itself."""
    card = read_card(sweep.data_uri)
    columns = ["spikes", *(f"condition:{name}" for name in card.conditions)]
    streams = {split: Stream(sweep.data_uri, split, columns) for split in card.splits}
    n_bytes = sum(stream.n_bytes for stream in streams.values())
    rooms = (
        residence.object_store(n_bytes),
        residence.nodes(n_bytes, concurrent, sweep.cpus_per_trial, sweep.gpus_per_trial),
    )
    where = residence.choose(sweep.data, rooms)
    say(f"Sweep {sweep.name}: {where}.")
    if not (where.resident and rooms[0].suffices):
        return None
    if n_bytes <= READ_HERE_BYTES:
        return {split: [ray.put(table) for table in s.tables()] for split, s in streams.items()}
    return {split: s.materialized().to_arrow_refs() for split, s in streams.items()}
