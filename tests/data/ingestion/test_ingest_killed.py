"""Ingestions that are killed at any moment, and run again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from ldns_ray.data import publishing, shards
from tests.data.archives import ArchiveReader, assert_alone, recordings, run

ROOT = Path(__file__).resolve().parents[3]


SCRIPT = """
import sys
from pathlib import Path
from ldns_ray.data.ingestion.ingest import ingest
from tests.data.archives import ArchiveReader

def connect():
    import ray
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000,
             log_to_driver=False, logging_level="WARNING")

if __name__ == "__main__":
    folder, uri, parallel = sys.argv[1:]
    ingest(sorted(Path(folder).glob("*.npz")), ArchiveReader(seconds=0.005), uri, name="x",
           shard_bytes=3000, parallel=parallel == "ray", connect=connect,
           on_progress=lambda progress: print(progress.stage, progress.done, flush=True))
"""


def killed(script: Path, arguments: Sequence[object], n_lines: int, seconds: float) -> None:
    """Run a script in a process of its own, killed so many seconds after so many lines of its output."""
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(n_lines):
        assert process.stdout.readline()
    time.sleep(seconds)
    # With all of Ray's processes, of which some would end by themselves only minutes later.
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children)


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_completes_the_same_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was about to be renamed may be another writer's at work, and is left alone for a minute: it is over.
    monkeypatch.setattr(publishing, "LEFTOVER_S", -1.0)
    files = recordings(tmp_path / "files", 12, n_trials=20)
    reader = ArchiveReader(seconds=0.005)
    wanted = run(files, tmp_path / "whole", reader, shard_bytes=3000)
    assert len(wanted.shards) > 1
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    rng = np.random.default_rng(0)
    # A line for each file read, then one for each file written: a moment in each tenth of them.
    lines = (2.4 * (np.arange(10) + rng.random(10))).astype(int).tolist()
    left = []
    for i, n_lines in enumerate([*lines, 4]):
        uri = tmp_path / f"d{i}"
        arguments = (tmp_path / "files", uri, "here" if i < len(lines) else "ray")
        killed(script, arguments, n_lines, rng.uniform(0, 0.1 if n_lines < 12 else 0.005))
        left.append(len(list(uri.glob("parts/*.json"))))
        card = run(files, uri, reader, shard_bytes=3000)
        assert card.fingerprint == wanted.fingerprint
        assert shards.verify_dataset(uri) == card
        assert_alone(uri)
    # Of the files read before, none but those under way were read again.
    assert all(
        n >= min(n_lines, 12) for n, n_lines in zip(left, lines, strict=False) if n_lines < 12
    )
    assert sum(n == 12 for n in left) >= 3, "some were killed while the dataset was written"
