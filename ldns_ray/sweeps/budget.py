"""What a sweep may take of a cluster: trials at once, the share of each, and data that they have in common."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
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
WAITING_CPUS = 0.001
"""Of a trial's process that waits for its workers: Tune refuses one that reserves nothing."""


def concurrency(sweep: Sweep, missing: int) -> int:
    """Of `missing` trials, how many fit the cluster at the same time, CPUs for Ray Data left aside.

    Raises ValueError if none does.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    # A head that offers no CPUs has none to spare either.
    sparing = [i for i, node in enumerate(nodes) if node.get("CPU", 0) >= RESERVED_CPUS]
    fits = max((_fitting(sweep, nodes, spared) for spared in sparing), default=0)
    if fits < 1:
        has = [f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes]
        raise ValueError(
            f"A trial needs {sweep.cpus_per_trial:g} CPUs and {sweep.gpus_per_trial:g} GPUs beside {RESERVED_CPUS} CPU "
            f"for data, the cluster's nodes have {'; '.join(has)}. "
            "Lower --cpus-per-trial or --gpus-per-trial, or add nodes."
        )
    return min(fits, sweep.max_concurrent or fits, missing)


def _fitting(sweep: Sweep, nodes: Sequence[Mapping[str, float]], spared: int) -> int:
    """Trials that fit these nodes at the same time, if the CPUs for data are those of the node `spared`."""
    n = sweep.workers_per_trial
    cpus, gpus = sweep.cpus_per_trial / n, sweep.gpus_per_trial / n
    places = 0
    for i, node in enumerate(nodes):
        fits = _times(node.get("CPU", 0) - (RESERVED_CPUS if i == spared else 0), cpus)
        if gpus:
            whole = node.get("GPU", 0)
            # A fraction of a GPU is a part of one, not of several.
            fits = min(fits, int(whole) * _times(1, gpus) if gpus < 1 else _times(whole, gpus))
        places += max(0, fits)
    return places // n


def _times(whole: float, part: float) -> int:
    return math.floor(whole / part + 1e-9)


def neighbours(sweep: Sweep, at_once: int) -> int:
    """Trials that may run on this machine at the same time, of `at_once` on all of the cluster."""
    return max(1, min(at_once, _times(os.cpu_count() or 1, sweep.cpus_per_trial)))


def process_resources(sweep: Sweep) -> dict[str, float]:
    """What the process of a trial reserves: all that is the trial's, or next to nothing where its workers have it."""
    if sweep.workers_per_trial > 1:
        return {"cpu": WAITING_CPUS, "gpu": 0.0}
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
