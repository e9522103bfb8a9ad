"""A program for the head of a cluster: fills the object store of every worker node several times over, and reads from it.

It prints `under pressure` when all of it was put, and read once, and goes on reading until it is ended.
"""

import time

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ldns_ray.training.distributed import connect_ray

OBJECT_BYTES = 10_000_000


@ray.remote(num_cpus=0)
class Hog:
    """Owns objects of a node's store."""

    def __init__(self, n_bytes):
        rng = np.random.default_rng(0)
        self._kept = [
            ray.put(rng.integers(0, 256, OBJECT_BYTES, dtype=np.uint8))
            for _ in range(-(-n_bytes // OBJECT_BYTES))
        ]

    def read(self):
        return sum(int(ray.get(kept)[0]) for kept in self._kept)


def hog_of(node):
    where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    actor = Hog.options(scheduling_strategy=where)
    return actor.remote(3 * int(node["Resources"]["object_store_memory"]))


if __name__ == "__main__":
    connect_ray()
    hogs = [hog_of(node) for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    told = False
    while True:
        ray.get([hog.read.remote() for hog in hogs])
        if not told:
            print("under pressure", flush=True)
        told = True
        time.sleep(1)
