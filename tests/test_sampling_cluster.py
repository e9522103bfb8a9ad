"""Datasets sampled by actors of Ray: the files of one process, however many they are and whatever becomes of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ldns_ray.cli import JobError
from ldns_ray.data.shards import load_trialset
from ldns_ray.models.ldns import LDNS
from ldns_ray.sampling.cluster import ATTEMPTS, OnCluster, sample_on_cluster
from ldns_ray.sampling.dataset import InProcess, carry_out, sample_dataset
from ldns_ray.sampling.plan import plan_samples
from ldns_ray.tracking.connection import connect
from tests.pipelines import contents

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[1]
HOW = {"sampler": "dpmpp_2m_sde", "n_steps": 2, "seed": 3, "shard_bytes": 1}
"""One block of trials a shard."""
MANY = 20_000
MANY_SHARD_MB = 0.5
"""So that many trials are some dozens of shards."""


@pytest.mark.usefixtures("ray_session")
def test_workers_write_the_same_files_as_one_process(sampler_uri, tmp_path):
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 20, 200)
    given = {
        "condition": {"angle": rng.normal(size=(200, 2))},
        "covariates": {"velocity": [rng.normal(size=(t, 2)) for t in lengths]},
    }
    alone, together = tmp_path / "alone", tmp_path / "together"
    sample_dataset(sampler_uri, str(alone), 200, **HOW, **given)
    sample_on_cluster(
        sampler_uri, str(together), 200, workers=2, cpus_per_worker=0.5, **HOW, **given
    )
    assert contents(together) == contents(alone)
    assert load_trialset(together).n_bins_S.tolist() == lengths.tolist()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_any_number_of_workers_writes_the_same_files(sampler_uri, tmp_path):
    how = HOW | {"shard_bytes": int(MANY_SHARD_MB * 2**20)}
    sample_dataset(sampler_uri, str(tmp_path / "0"), MANY, work=InProcess(1), **how)
    rates = {}
    for workers in (1, 2, 4):
        reports = []
        out = str(tmp_path / str(workers))
        sample_on_cluster(
            sampler_uri, out, MANY, workers=workers, cpus_per_worker=0.5, on_progress=reports.append, **how
        )  # fmt: skip
        rates[workers] = reports[-1].rate
        assert reports[-1].n_done == MANY
        assert contents(out) == contents(tmp_path / "0"), workers
    for workers, rate in rates.items():
        print(f"{workers} workers: {rate:.0f} trials/s, {rate / rates[1] / workers:.2f} of each")


def workers_of_this_process():
    """The processes of Ray's actors that sample, of the session that this process started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("_Worker" in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_killed_worker_is_replaced(sampler_uri, tmp_path):
    killed = []

    def kill(progress):
        if not killed:
            killed.extend(workers_of_this_process()[:1])
            killed[0].kill()

    alone, together = tmp_path / "alone", tmp_path / "together"
    sample_dataset(sampler_uri, str(alone), 2000, **HOW)
    sample_on_cluster(
        sampler_uri, str(together), 2000, workers=2, cpus_per_worker=0.5, on_progress=kill, **HOW
    )
    assert len(killed) == 1
    # Killed while it wrote, it leaves a file that was about to be renamed; a later write removes it.
    made = {name: data for name, data in contents(together).items() if not name.endswith(".tmp")}
    assert made == contents(alone)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_range_that_kills_its_workers_is_given_up(sampler_uri, tmp_path):
    """After the same number of workers that were lost over it; what was done before stays."""
    killed = []

    def kill(progress):
        for worker in workers_of_this_process():
            killed.append(worker.pid)
            worker.kill()

    # Some seconds of work: it is killed at the first news.
    how = HOW | {"n_steps": 2000, "shard_bytes": 10**6}
    with pytest.raises(JobError, match=rf"lost over trials 0 to 999, {ATTEMPTS} times"):
        sample_on_cluster(
            sampler_uri, str(tmp_path / "s"), 1000, workers=1, cpus_per_worker=0.5, on_progress=kill, **how
        )  # fmt: skip
    assert len(set(killed)) == ATTEMPTS


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_what_every_worker_would_run_into_ends_at_once(sampler_uri, tmp_path):
    """Here, a model that is gone when the workers begin."""
    gone = tmp_path / "model"
    shutil.copytree(sampler_uri, gone)
    model = LDNS.load(gone)
    plan = plan_samples(model, str(gone), 200, **HOW)
    shutil.rmtree(gone)
    with pytest.raises(FileNotFoundError, match="No LDNS model under"):
        carry_out(plan, model, str(tmp_path / "s"), OnCluster(1, 0.5))


def sampling_job(model_uri, out, tracking_uri):
    """The job as it is typed, with two workers, in a Ray of its own."""
    command = [
        sys.executable, "jobs/sample.py", model_uri, "--n", f"{MANY:_}", "--n-steps", "2", "--seed", "3",
        "--shard-mb", str(MANY_SHARD_MB), "--workers", "2", "--cpus-per-worker", "0.5", "--out", str(out),
        "--tracking-uri", tracking_uri,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_job_does_what_is_missing(sampler_uri, tracking_uri, tmp_path):
    out, whole = tmp_path / "sampled", tmp_path / "whole"

    def records():
        return {path.name: path.stat().st_mtime_ns for path in (out / "ranges").glob("*.parquet")}

    for _ in range(2):
        before = len(records())
        with sampling_job(sampler_uri, out, tracking_uri) as job:
            while len(records()) < before + 4:
                assert job.poll() is None, job.communicate()
                time.sleep(0.05)
            job.send_signal(signal.SIGKILL)
        assert not (out / "dataset.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("test-*.parquet")}
    assert len(kept) >= 8
    with sampling_job(sampler_uri, out, tracking_uri) as job:
        printed, errors = job.communicate()
    assert job.returncode == 0, errors
    assert printed.splitlines()[-2] == f"{MANY} trials of 5 units."
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    how = HOW | {"shard_bytes": int(MANY_SHARD_MB * 2**20)}
    card = sample_dataset(sampler_uri, str(whole), MANY, work=InProcess(1), **how)
    assert contents(out) == contents(whole)

    # One run for all of it, which leads from the samples to their model.
    tracking = connect(tracking_uri, "sample")
    (run,) = tracking.client.search_runs(
        [tracking.experiment_id], filter_string=f"tags.`ldns.samples` = '{out}'"
    )
    assert run.info.status == "FINISHED"
    assert run.data.tags["ldns.model_fingerprint"] == card.provenance["model_fingerprint"]
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.digest == card.fingerprint
