"""A program for the head of a cluster: the same training on one worker, and on two that do not share a node.

Under the root that it is given it leaves the trainings' outputs, `one` and `two`, and `nodes/N-RANK`, the address of
the node where that worker of N trained.
"""

import sys

import ray

from ldns_ray import storage
from ldns_ray.config import Hardware
from ldns_ray.training.distributed import connect_ray, train_on_workers
from tests.training.jobs import dataset, training_job
from tests.training.test_distributed import draw_by_trial


def noting_nodes(root):
    """Draws that depend on the step and the trial alone; each worker leaves its node's address."""

    def factory(job, workers, device):
        file = storage.join(root, "nodes", f"{workers.world_size}-{workers.rank}")
        storage.write_bytes(file, ray.util.get_node_ip_address().encode())
        return draw_by_trial(job, workers, device)

    return factory


if __name__ == "__main__":
    root = sys.argv[1]
    connect_ray()
    data = dataset(f"{root}/data")
    for n_workers, name in ((1, "one"), (2, "two")):
        train_on_workers(
            training_job("diffusion", data, f"{root}/{name}"), Hardware(n_workers, cpus_per_worker=1),
            run_name=name, storage_path=f"{root}/train", draw=noting_nodes(root),
        )  # fmt: skip
