"""Streams a dataset for some epochs in a Ray of its own, and says as JSON what that took: run by a test."""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray
from ray._private.internal_api import memory_summary

from ldns_ray.data.streaming import Stream, batches

OBJECT_STORE_BYTES = 200_000_000


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The most bytes of its own that this process has while the block runs, looked at fifty times a second.

    Pages of Ray's object store count for every process that has touched them, until it has touched the whole
    store: they are left out.
    """
    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], own_memory(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def own_memory(process: psutil.Process) -> int:
    """Bytes in memory that no other process shares with this one."""
    info = process.memory_info()
    return int(info.rss - info.shared)


def main(uri: str, n_epochs: int, out: str) -> None:
    ray.init(
        address="local", num_cpus=2, include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES, log_to_driver=False,
    )  # fmt: skip
    address = ray.get_runtime_context().gcs_address
    stream = Stream(uri, "train", ["spikes"], through_ray=True)
    before = own_memory(psutil.Process())
    epochs = []
    for epoch in range(n_epochs):
        start, n_trials, total = time.perf_counter(), 0, 0.0
        with peak_memory() as peak:
            for batch in batches(stream.groups(64, seed=0, epoch=epoch), stream.blank()):
                n_trials += len(batch)
                total += float(batch.spikes_BTN.sum())
        epochs.append(
            {"n_trials": n_trials, "spikes": total, "seconds": time.perf_counter() - start, "peak": peak[0]}
        )  # fmt: skip
    spilled = re.search(r"Spilled (\d+) MiB", memory_summary(address, stats_only=True))
    result = {
        "n_bytes": stream.n_bytes,
        "before": before,
        "epochs": epochs,
        "spilled_mb": int(spilled.group(1)) if spilled else 0,
    }
    Path(out).write_text(json.dumps(result))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
