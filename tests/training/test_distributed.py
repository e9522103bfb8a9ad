"""The loop under Ray Train: two workers train what one trains, resumed = uninterrupted, streamed = all trials."""

import dataclasses
import io
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ldns_ray import storage
from ldns_ray.config import Hardware
from ldns_ray.data.shards import load_trialset
from ldns_ray.training import distributed, job
from ldns_ray.training.distributed import residence_on_workers, train_on_workers
from ldns_ray.training.loop import Workers
from tests.training.jobs import (
    LENGTHS,
    N_LATENTS,
    N_STEPS,
    N_UNITS,
    STEPS_PER_EPOCH,
    dataset,
    timeless,
    training_job,
)
from tests.training.test_saved import WeightNorm

pytestmark = pytest.mark.usefixtures("one_thread", "ray_session")


def on_workers(one_job, tmp_path, n_workers=2, checkpoint_s=Hardware.checkpoint_s, **options):
    train_on_workers(
        one_job, Hardware(n_workers, checkpoint_s=checkpoint_s), run_name="run", storage_path=str(tmp_path / "train"), **options
    )  # fmt: skip


def alone(one_job, draw=None, probe=None):
    """The same job in this process, without Ray."""
    splits = [load_trialset(one_job.data_uri, s, one_job.columns) for s in ("train", "val")]
    device = torch.device("cpu")
    draws = None if draw is None else draw(one_job, Workers(), device)
    return job.run(one_job, one_job.resident(*splits, Workers()), device, draw=draws, probe=probe)


def last_state(one_job):
    return torch.load(io.BytesIO(storage.read_bytes(one_job.checkpoint_uri)), weights_only=True)


def draw_by_trial(one_job, workers, device):
    """Draws that depend on the step and the trial alone, not on who has the trial and what is beside it."""

    def draw(step, batch):
        rows, times = [], []
        n_rows = batch.spikes_BTN.shape[1]
        for trial, n in zip(batch.index_B.tolist(), batch.n_bins_B.tolist(), strict=True):
            rng = np.random.default_rng([step, trial])
            times.append(rng.integers(N_STEPS))
            if one_job.network == "autoencoder":
                row = np.ones((n_rows, N_UNITS), bool)
                row[:n] = rng.random((n, N_UNITS)) >= one_job.experiment.autoencoder.dropout
            else:
                row = np.zeros((n_rows, N_LATENTS), np.float32)
                row[:n] = rng.standard_normal((n, N_LATENTS))
            rows.append(row)
        stacked = torch.from_numpy(np.stack(rows)).to(device)
        if one_job.network == "autoencoder":
            return (stacked,)
        return torch.tensor(times, device=device), stacked

    return draw


@pytest.mark.parametrize(
    "network", ["autoencoder", pytest.param("diffusion", marks=pytest.mark.slow)]
)
def test_two_workers_train_what_one_trains(tmp_path, network):
    data = dataset(tmp_path / "data")
    one = training_job(network, data, tmp_path / "one")
    two = training_job(network, data, tmp_path / "two")
    alone(one, draw_by_trial, WeightNorm(2))
    rows, saved = [], []
    on_workers(
        two, tmp_path, draw=draw_by_trial, on_row=rows.append, on_saved=saved.append, probe=WeightNorm(2)
    )  # fmt: skip
    expected, got = last_state(one), last_state(two)
    assert expected["step"] == got["step"] == 5 * STEPS_PER_EPOCH
    for kind in ("model",) if network == "autoencoder" else ("model", "averaged"):
        assert expected[kind].keys() == got[kind].keys()
        for name, tensor in expected[kind].items():
            difference = (got[kind][name] - tensor).norm()
            assert difference <= 1e-4 * tensor.norm(), f"{kind} {name}"
    assert [row["train_loss"] for row in got["history"]] == pytest.approx(
        [row["train_loss"] for row in expected["history"]], rel=1e-5
    )
    assert rows == got["history"]
    assert saved == [got["history"][:2], got["history"][2:]]
    assert ["score" in row for row in rows] == [False, True, False, False, False]
    assert rows[1]["score"] == pytest.approx(expected["history"][1]["score"], rel=1e-5)
    started = one.trainer(STEPS_PER_EPOCH, torch.device("cpu"), Workers()).model.state_dict()
    assert any(not torch.equal(got["model"][name], x) for name, x in started.items())


def stops_once(folder, at_step, killed):
    """Draws that end the run at a step, the first time, with an error, or where a SIGKILL is awaited.

    Sums are made in one order.
    """

    def factory(one_job, workers, device):
        torch.set_num_threads(1)
        draws = draw_by_trial(one_job, workers, device)
        (Path(folder) / f"{os.getpid()}.pid").touch()

        def draw(step, batch):
            flag = Path(folder) / "flag"
            if step == at_step and not flag.exists():
                flag.touch()
                if killed:
                    time.sleep(60)
                raise OSError("the machine is taken away")
            return draws(step, batch)

        return draw

    return factory


def pids(folder):
    """Of the workers that have left theirs there."""
    return [int(file.stem) for file in Path(folder).glob("*.pid")]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["error", "kill"])
def test_resumed_is_uninterrupted(tmp_path, monkeypatch, end):
    """The run ends in its third epoch and goes on from its second.

    After an error, which ends it for good, when it is run again; after a SIGKILL of the worker, restarted by Ray.
    """
    monkeypatch.setattr(distributed, "MAX_FAILURES", 0 if end == "error" else 1)
    data = dataset(tmp_path / "data")
    whole = training_job("diffusion", data, tmp_path / "whole")
    broken = training_job("diffusion", data, tmp_path / "broken")
    alone(whole, draw_by_trial, WeightNorm(2, 4))
    worker = tmp_path / "worker"
    worker.mkdir()
    rows, saved, killed = [], [], []

    def on_saved(new):
        saved.append(new)
        if end == "kill" and new[-1]["epoch"] == 2:
            while not (worker / "flag").exists():
                time.sleep(0.01)
            killed.extend(pids(worker))
            (pid,) = killed
            os.kill(pid, signal.SIGKILL)

    run = {
        "n_workers": 1,
        "checkpoint_s": 0.0,
        "draw": stops_once(str(worker), 2 * STEPS_PER_EPOCH + 1, end == "kill"),
        "on_row": rows.append,
        "on_saved": on_saved,
        "probe": WeightNorm(2, 4),
    }
    if end == "error":
        with pytest.raises(Exception, match="the machine is taken away"):
            on_workers(broken, tmp_path, **run)
        assert [row["epoch"] for row in rows] == [1, 2]
        assert [[row["epoch"] for row in new] for new in saved] == [[1], [2]]
        assert not storage.exists(storage.join(broken.output_uri, "weights.safetensors"))
    on_workers(broken, tmp_path, **run)
    assert len(pids(worker)) == 2
    assert len(killed) == (end == "kill")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    expected, got = last_state(whole), last_state(broken)
    again = [[1, 2]] if end == "error" else []
    assert [[row["epoch"] for row in new] for new in saved] == [[1], [2], *again, [3], [4], [5]]
    assert all(row == got["history"][int(row["epoch"]) - 1] for new in saved for row in new)
    assert timeless(got["history"]) == timeless(expected["history"])
    assert expected["best_epoch"] == got["best_epoch"]
    for kind in ("model", "averaged", "best"):
        for name, tensor in expected[kind].items():
            assert torch.equal(got[kind][name], tensor), name
    assert storage.exists(storage.join(broken.output_uri, "weights.safetensors"))


def noting(folder):
    """Draws that leave a file per worker and step, with the lengths of the trials it had."""

    def factory(one_job, workers, device):
        draws = draw_by_trial(one_job, workers, device)

        def draw(step, batch):
            inside = batch.mask_BT is None or bool(batch.mask_BT.any())
            text = " ".join(map(str, batch.n_bins_B.tolist() if inside else []))
            (Path(folder) / f"{step}-{workers.rank}").write_text(text)
            return draws(step, batch)

        return draw

    return factory


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [2, 3])
def test_a_streamed_epoch_trains_on_every_trial(tmp_path, n_workers):
    """Thirteen trials in batches of four: each worker has every second, or third, of a batch; the last has one trial."""
    data = dataset(tmp_path / "data")
    streamed = training_job("diffusion", data, tmp_path / "streamed", epochs=3)
    (tmp_path / "seen").mkdir()
    rows = []
    on_workers(
        streamed, tmp_path, n_workers, resident=False, draw=noting(str(tmp_path / "seen")), on_row=rows.append
    )  # fmt: skip
    assert [row["step"] for row in rows] == [4, 8, 12]
    orders = []
    for epoch in range(3):
        seen = [
            (tmp_path / "seen" / f"{step}-{rank}").read_text().split()
            for step in range(STEPS_PER_EPOCH * epoch, STEPS_PER_EPOCH * (epoch + 1))
            for rank in range(n_workers)
        ]
        full = [len(range(rank, 4, n_workers)) for rank in range(n_workers)]
        assert [len(trials) for trials in seen] == full * 3 + [1] + [0] * (n_workers - 1)
        assert Counter(int(n) for trials in seen for n in trials) == Counter(LENGTHS)
        orders.append(tuple(map(tuple, seen)))
    assert len(set(orders)) == 3
    assert len(list((tmp_path / "seen").iterdir())) == 3 * STEPS_PER_EPOCH * n_workers


@pytest.mark.slow
def test_a_streamed_training_is_the_same_on_a_worker_and_here(tmp_path):
    """Through Ray Data on the worker, by a thread in this process."""
    data = dataset(tmp_path / "data")
    there = training_job("autoencoder", data, tmp_path / "there")
    here = training_job("autoencoder", data, tmp_path / "here")
    on_workers(there, tmp_path, 1, resident=False, draw=draw_by_trial)
    draws = draw_by_trial(here, Workers(), "cpu")
    job.run(here, here.streamed(Workers(), through_ray=False), torch.device("cpu"), draw=draws)
    expected, got = last_state(here), last_state(there)
    assert got["step"] == 5 * STEPS_PER_EPOCH
    for name, tensor in expected["model"].items():
        torch.testing.assert_close(got["model"][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    for row, other in zip(got["history"], expected["history"], strict=True):
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)


def test_trials_of_workers_fit_or_do_not(tmp_path):
    """The store of the tests' Ray has 200 MB; three in ten of them are for trials."""
    one_job = training_job("autoencoder", dataset(tmp_path / "data"), tmp_path / "out")
    assert residence_on_workers(one_job, Hardware(2)).resident
    assert not residence_on_workers(one_job, Hardware(2, data="streamed")).resident
    large = dataclasses.replace(one_job)
    large.__dict__["resident_bytes"] = 70_000_000
    where = residence_on_workers(large, Hardware(2))
    assert not where.resident
    assert "70.0 MB of 60.0 MB that trials may take of a node's object store; 280.0 MB of" in str(
        where
    )
    assert residence_on_workers(large, Hardware(2, data="resident")).resident


def test_cpus_left_for_ray_data(monkeypatch):
    for cpus, workers, expected in ((2, 2, 0.5), (16, 4, 1.0), (1, 1, 0.5), (4, 4, 0.75)):
        monkeypatch.setattr(
            distributed.ray, "cluster_resources", lambda cpus=cpus: {"CPU": float(cpus)}
        )
        assert distributed._cpus_per_worker(Hardware(workers)) == expected
        assert distributed._cpus_per_worker(Hardware(workers, cpus_per_worker=3)) == 3
