"""Whether trials are kept in memory or streamed: what they take, what there is, and the choice.

Ray is imported only inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from ldns_ray.config import Reading
from ldns_ray.data.card import Card
from ldns_ray.storage import Uri, filesystem_of

OBJECT_STORE_SHARE = 0.3
"""Of a node's object store, what trials may take: Ray Data and Tune need the rest."""
MEMORY_SHARE = 0.5
"""Of the free memory of a machine, what trials may take: networks and gradients need the rest."""
COPIES = 2
"""A process that loads trials holds them twice at its peak: as Arrow tables, and as arrays made of them."""
CONTROL_GROUP = Path("/sys/fs/cgroup")
"""A container's own limits, where the kernel has control groups of version 2."""
TEXT_BYTES = 200
"""Of a trial's id, session and split, roughly."""


def trial_bytes(uri: Uri, card: Card, split: str, columns: Sequence[str]) -> int:
    """Bytes that these columns of a trial of the split take in memory, on average."""
    counts = card.splits[split]
    n_bins = counts["n_bins"] / counts["n_trials"]
    per_bin = {"latents": 4 * card.n_latents, "rates": 4 * card.n_units}
    per_bin |= {f"covariate:{k}": 4 * v["size"] for k, v in card.covariates.items()}
    if "spikes" in columns:
        per_bin["spikes"] = _bytes_per_count(uri, card) * card.n_units
    per_trial = {f"condition:{k}": 4 * v["size"] for k, v in card.conditions.items()}
    n_bytes = n_bins * sum(per_bin.get(name, 0) for name in columns)
    return round(n_bytes) + sum(per_trial.get(name, 0) for name in columns) + TEXT_BYTES


def _bytes_per_count(uri: Uri, card: Card) -> int:
    filesystem, folder = filesystem_of(uri)
    schema = pq.read_schema(f"{folder}/{card.shards[0]['file']}", filesystem=filesystem)
    return int(schema.field("spikes").type.value_type.bit_width // 8)


@dataclass(frozen=True)
class Room:
    """A memory that trials must fit into."""

    what: str
    needed: float
    """Bytes that they would take of it."""
    allowed: float
    """Bytes that they may take."""

    @property
    def suffices(self) -> bool:
        return self.needed <= self.allowed

    def __str__(self) -> str:
        return f"{_megabytes(self.needed)} of {_megabytes(self.allowed)} that trials may take of {self.what}"


def this_machine(n_bytes: float, n_processes: int = 1) -> Room:
    """Room for so many processes that each load the trials, in the free memory of this machine."""
    needed = COPIES * n_bytes * n_processes
    return Room("the free memory", needed, MEMORY_SHARE * available_memory())


def object_store(n_bytes: float) -> Room:
    """Room for the trials' blocks in the object store of every node that works."""
    store = min(resources.get("object_store_memory", 0) for resources in _working_nodes())
    return Room("a node's object store", n_bytes, OBJECT_STORE_SHARE * store)


def nodes(n_bytes: float, n_processes: int, cpus: float, gpus: float) -> Room:
    """Room for so many processes, each with these resources and a copy of the trials, as many on a node as fit."""
    rooms = []
    for resources in _working_nodes():
        fits = min(
            resources.get(kind, 0) // each if each else n_processes
            for kind, each in (("CPU", cpus), ("GPU", gpus))
        )
        needed = COPIES * n_bytes * min(n_processes, max(1, fits))
        rooms.append(Room("a node's memory", needed, MEMORY_SHARE * resources.get("memory", 0)))
    return max(rooms, key=lambda room: room.needed - room.allowed)


def _working_nodes() -> list[dict[str, float]]:
    """The resources of the running cluster's nodes; of those with CPUs, if any has some."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [resources for resources in alive if resources.get("CPU", 0) > 0] or alive


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, or of the container that it runs in."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((CONTROL_GROUP / f"memory.{x}").read_text()) for x in ("max", "current"))
        lines = (CONTROL_GROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return free
    cached = int(dict(line.split() for line in lines)["inactive_file"])
    return min(free, max(0, limit - used + cached))


@dataclass(frozen=True)
class Residence:
    """Whether trials are kept in memory, and why."""

    resident: bool
    why: str

    def __str__(self) -> str:
        return f"trials are {'kept in memory' if self.resident else 'streamed'}: {self.why}"


def choose(reading: Reading, rooms: Sequence[Room]) -> Residence:
    """In memory where every room is large enough, streamed where one is not, or as `reading` has it."""
    sizes = "; ".join(map(str, rooms))
    if reading != "auto":
        return Residence(reading == "resident", f"hardware.data={reading} ({sizes})")
    return Residence(all(room.suffices for room in rooms), sizes)


def _megabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"
