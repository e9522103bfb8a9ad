"""A disk that is full: the job says so in a line, nothing is half-written, and once there is room the same command goes on."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ldns_ray.sampling.dataset import InProcess, sample_dataset
from ldns_ray.storage import DiskFullError
from tests.cluster.small import SETTINGS, small_pipeline
from tests.disks import small_disk
from tests.pipelines import contents
from tests.training.jobs import timeless

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 120
MB = 2**20


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 24 * MB) as made:
        yield made


def test_sampling_goes_on_once_there_is_room(sampler_uri, disk, tmp_path):
    how = {"sampler": "dpmpp_2m", "n_steps": 2, "seed": 3, "shard_bytes": MB, "work": InProcess(1)}
    out = disk.folder / "sampled"
    out.mkdir()
    disk.fill(but=2 * MB)
    with pytest.raises(DiskFullError, match=r"No space is left on the disk of .*sampled/.*Make room there"):  # fmt: skip
        sample_dataset(sampler_uri, str(out), 20_000, **how)
    left = contents(out)
    assert not [name for name in left if name.endswith(".tmp") or name == "dataset.json"]
    kept = {path: path.stat().st_mtime_ns for path in out.glob("test-*.parquet")}
    assert kept
    disk.free()
    sample_dataset(sampler_uri, str(out), 20_000, **how)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    sample_dataset(sampler_uri, str(tmp_path / "elsewhere"), 20_000, **how)
    assert contents(out) == contents(tmp_path / "elsewhere")


@contextlib.contextmanager
def training(root):
    """The job as it is typed, without Ray, with a checkpoint after every epoch. It does not outlast the block."""
    command = [
        sys.executable, "jobs/train.py", "lorenz_small", "--workers", "0", "--root", str(root), "--until", "autoencoder",
        "hardware.checkpoint_s=0", f"autoencoder.optimisation.epochs={EPOCHS}", *SETTINGS,
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    ) as job:  # fmt: skip
        try:
            yield job
        finally:
            job.kill()


def epochs(root):
    pipeline = small_pipeline(str(root), f"autoencoder.optimisation.epochs={EPOCHS}")
    return timeless(pipeline.history("autoencoder"))


def test_training_goes_on_once_there_is_room(disk, tmp_path):
    root = disk.folder / "root"
    with training(root) as job:
        assert any("epoch    1/" in line for line in job.stdout), job.stderr.read()
        disk.fill()
        _, errors = job.communicate(timeout=120)
    assert job.returncode == 2
    last = errors.strip().splitlines()[-1]
    # Whichever of the two was written to first.
    checkpoint = rf"error: No space is left on the disk of {root}/autoencoder/"
    store = r"error: .*: no space is left on the disk of the MLflow store\."
    assert re.match(f"{checkpoint}|{store}", last), errors
    assert "Traceback" not in errors
    stage = next((root / "autoencoder").iterdir())
    assert {file.name for file in stage.iterdir()} == {"attempt", "checkpoint.pt"}
    disk.free()
    for where in (root, tmp_path / "elsewhere"):
        with training(where) as job:
            printed, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors
    assert epochs(root) == epochs(tmp_path / "elsewhere")
