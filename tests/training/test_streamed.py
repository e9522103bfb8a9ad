"""Trials that are read anew for every epoch: prepared as resident ones are, resumed as if nothing had happened."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from ldns_ray import storage
from ldns_ray.data import streaming
from ldns_ray.data.shards import load_trialset
from ldns_ray.settings import override
from ldns_ray.training import job
from ldns_ray.training.loop import Workers
from tests.training.jobs import LENGTHS, STEPS_PER_EPOCH, dataset, training_job

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def test_streamed_trials_are_prepared_as_resident_ones_are(tmp_path):
    one_job = training_job("diffusion", dataset(tmp_path / "data"), tmp_path / "out")
    clipped = override(one_job.experiment, {"diffusion.latent_clip": 1.0})
    one_job = dataclasses.replace(one_job, experiment=clipped)
    train, val = (load_trialset(one_job.data_uri, s, one_job.columns) for s in ("train", "val"))
    streamed = one_job.streamed(Workers(), through_ray=False)
    resident = one_job.resident(train, val, Workers())
    assert streamed.steps_per_epoch == resident.steps_per_epoch == STEPS_PER_EPOCH
    expected = {len(z): z for z in one_job.prepare(train).latents_list()}
    assert max(np.abs(z).max() for z in expected.values()) == 1
    seen = []
    for batch in streamed.train_batches(0):
        assert batch.spikes_BTN.shape[2] == 0
        for z, n in zip(batch.latents_BTD.numpy(), batch.n_bins_B.tolist(), strict=True):
            np.testing.assert_array_equal(z[:n], expected[n])
            np.testing.assert_array_equal(z[n:], 0)
            seen.append(n)
    assert sorted(seen) == sorted(LENGTHS)


@pytest.mark.parametrize("kept", [True, False])
def test_validation_trials_are_those_of_the_split(tmp_path, monkeypatch, kept):
    """Read once where they fit into a buffer, else in every epoch; the same batches each time."""
    one_job = training_job("diffusion", dataset(tmp_path / "data"), tmp_path / "out")
    if not kept:
        monkeypatch.setattr(job, "SHUFFLE_BYTES", 0)
    streamed = one_job.streamed(Workers(), through_ray=False)
    train, val = (one_job.stream(s).load() for s in ("train", "val"))
    (wanted,) = one_job.resident(train, val, Workers()).validation_batches()
    passes = []
    read = streaming.pieces.read
    monkeypatch.setattr(
        streaming.pieces, "read", lambda *args, **kw: passes.append(1) or read(*args, **kw)
    )
    for _ in range(2):
        (batch,) = streamed.validation_batches()
        torch.testing.assert_close(batch.latents_BTD, wanted.latents_BTD, rtol=0, atol=0)
        torch.testing.assert_close(batch.n_bins_B, wanted.n_bins_B, rtol=0, atol=0)
    assert len(passes) == (1 if kept else 2)


class Stop(Exception):
    pass


@pytest.mark.parametrize("network", ["autoencoder", "diffusion"])
def test_resumed_is_uninterrupted(tmp_path, network):
    """Stopped in its third epoch, a training goes on with the trials that it would have had."""
    data = dataset(tmp_path / "data")
    whole = training_job(network, data, tmp_path / "whole")
    broken = training_job(network, data, tmp_path / "broken")
    job.run(whole, whole.streamed(Workers(), through_ray=False), CPU, checkpoint_s=0.0)

    def stop(row, _):
        if row["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        job.run(
            broken,
            broken.streamed(Workers(), through_ray=False),
            CPU,
            on_epoch=stop,
            checkpoint_s=0.0,
        )
    job.run(broken, broken.streamed(Workers(), through_ray=False), CPU, checkpoint_s=0.0)
    states = [
        torch.load(io.BytesIO(storage.read_bytes(j.checkpoint_uri)), weights_only=True)
        for j in (whole, broken)
    ]
    for name, tensor in states[0]["model"].items():
        torch.testing.assert_close(states[1]["model"][name], tensor, rtol=0, atol=0)
    assert [row["train_loss"] for row in states[0]["history"]] == [
        row["train_loss"] for row in states[1]["history"]
    ]


@pytest.mark.parametrize("network", ["autoencoder", "diffusion"])
def test_workers_without_a_trial_take_part(tmp_path, network):
    """Of seven workers five have nothing in the last batch of four, and two never have anything."""
    one_job = training_job(network, dataset(tmp_path / "data"), tmp_path / "out", epochs=1)
    for rank in range(7):
        workers = Workers(rank, 7)
        trainer = one_job.trainer(STEPS_PER_EPOCH, CPU, workers)
        data = one_job.streamed(workers, through_ray=False)
        loss = trainer.train_epoch(data.train_batches(0))
        assert trainer.step == STEPS_PER_EPOCH
        assert (loss == 0) == (rank >= 4)
        assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_a_missing_split_is_told_before_training(tmp_path):
    one_job = training_job("autoencoder", dataset(tmp_path / "data"), tmp_path / "out")
    with pytest.raises(ValueError, match="has no split 'test'; there are: train, val"):
        one_job.stream("test")
