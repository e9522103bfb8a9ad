"""A dataset four times as large as the object store passes through it: nothing is spilled, memory stays as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ldns_ray.data.schema import Trial
from tests.data.datasets import write
from tests.data.stream_epochs import OBJECT_STORE_BYTES

N_TRIALS, N_BINS, N_UNITS = 15_000, 560, 100
ROOT = Path(__file__).resolve().parents[2]


def trials() -> Iterator[Trial]:
    generator = np.random.default_rng(0)
    for i in range(N_TRIALS):
        counts = generator.integers(0, 4, (N_BINS, N_UNITS), dtype=np.uint8)
        yield Trial(counts, f"{i:05d}", "s", "train")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    """The first epoch starts Ray's processes; from the second on the reader's peak stays within a tenth.

    The C library keeps up to 64 MB of what was freed, for each of its arenas, and which one does is left to chance.
    Here it gives arrays back at once: what counts is what the reader holds.
    """
    write(trials(), tmp_path / "large")  # type: ignore[arg-type]
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.stream_epochs", tmp_path / "large", "4", out],
        cwd=ROOT, env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    print(json.dumps(figures))
    assert figures["n_bytes"] >= 4 * OBJECT_STORE_BYTES
    assert figures["spilled_mb"] == 0
    assert {epoch["n_trials"] for epoch in figures["epochs"]} == {N_TRIALS}
    assert len({epoch["spikes"] for epoch in figures["epochs"]}) == 1
    peaks = [epoch["peak"] for epoch in figures["epochs"][1:]]
    assert max(peaks) <= 1.1 * min(peaks)
    assert max(peaks) - figures["before"] < figures["n_bytes"]
