"""The loop under Ray Train: two workers train what one trains, resumed = uninterrupted, streamed = all trials."""

import dataclasses
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ldns_ray import storage
from ldns_ray.config import Hardware, experiment
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trialset, read_card, read_dataset, write_dataset
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.settings import override
from ldns_ray.stages import latent_statistics
from ldns_ray.training import distributed, job
from ldns_ray.training.distributed import StreamedData, train_on_workers
from ldns_ray.training.job import TrainingJob
from ldns_ray.training.loop import Workers

pytestmark = pytest.mark.usefixtures("one_thread", "ray_session")

N_UNITS, N_LATENTS, N_STEPS = 6, 3, 30
LENGTHS = (21, 9, 15, 30, 12, 27, 18, 24, 11, 20, 14, 29, 17)
"""Bins of the training trials, all different; in batches of four the last has one trial."""
STEPS_PER_EPOCH = 4


def dataset(folder, lengths=LENGTHS):
    rng = np.random.default_rng(3)
    lengths = [*lengths, 10, 25, 16]
    trials = [
        Trial(
            spikes=rng.poisson(0.6, (n, N_UNITS)).astype(np.uint8),
            trial_id=f"{i:03d}",
            session="s",
            split="train" if i < len(lengths) - 3 else "val",
            covariates={"velocity": rng.normal(size=(n, 2)).astype(np.float32)},
            conditions={"angle": rng.normal(size=2).astype(np.float32)},
            latents=rng.normal(size=(n, N_LATENTS)).astype(np.float32),
        )
        for i, n in enumerate(lengths)
    ]
    write_dataset(trials, folder, name="ragged", bin_width_s=0.01)
    return str(folder)


def training_job(network, data, output, *, epochs=5, batch_size=4):
    """A job of four steps an epoch. Half of its gradients are clipped: a wrong scale of them shows."""
    optimisation = {"epochs": epochs, "batch_size": batch_size, "warmup_epochs": 1, "validate_every": 1,
                    "learning_rate": 1e-3}  # fmt: skip
    e = experiment(
        "speech_small",
        **{
            "autoencoder.n_latents": N_LATENTS, "autoencoder.width": 8, "autoencoder.n_blocks": 1,
            "diffusion.width": 8, "diffusion.n_blocks": 1, "diffusion.n_steps": N_STEPS,
            "diffusion.conditions": "angle,length", "diffusion.covariates": "velocity",
            "autoencoder.optimisation.clip_norm": 0.025, "diffusion.optimisation.clip_norm": 0.2,
            **{f"{n}.optimisation.{k}": v for n in ("autoencoder", "diffusion") for k, v in optimisation.items()},
        },
    )  # fmt: skip
    if network == "autoencoder":
        return TrainingJob("autoencoder", e, data, str(output), N_UNITS)
    train = load_trialset(data, "train")
    conditioning = Conditioning.fit(
        e.diffusion.conditions, e.diffusion.covariates,
        n_bins_S=train.n_bins_S, conditions=train.conditions, covariates=train.covariates,
    )  # fmt: skip
    z = {k: np.array(v, np.float32) for k, v in latent_statistics(train).items()}
    return TrainingJob(
        "diffusion", e, data, str(output), N_UNITS, conditioning=conditioning, latent_mean_D=z["mean"],
        latent_std_D=z["std"], level_covariance_DD=z["level_covariance"],
    )  # fmt: skip


def on_workers(one_job, tmp_path, n_workers=2, **options):
    train_on_workers(
        one_job, Hardware(n_workers), run_name="run", storage_path=str(tmp_path / "train"), **options
    )  # fmt: skip


def alone(one_job, draw=None):
    """The same job in this process, without Ray."""
    splits = [load_trialset(one_job.data_uri, s, one_job.columns) for s in ("train", "val")]
    device = torch.device("cpu")
    draws = None if draw is None else draw(one_job, Workers(), device)
    return job.run(one_job, one_job.resident(*splits, Workers()), device, draw=draws)


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
    alone(one, draw_by_trial)
    rows = []
    on_workers(two, tmp_path, draw=draw_by_trial, on_row=rows.append)
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
    started = one.trainer(STEPS_PER_EPOCH, torch.device("cpu"), Workers()).model.state_dict()
    assert any(not torch.equal(got["model"][name], x) for name, x in started.items())


def stops_once(flag, at_step):
    """Draws that end the run at a step, the first time; checkpoints are written after every epoch."""

    def factory(one_job, workers, device):
        from ldns_ray.training import job

        job.CHECKPOINT_SECONDS = 0.0
        draws = draw_by_trial(one_job, workers, device)

        def draw(step, batch):
            if step == at_step and not Path(flag).exists():
                if workers.rank == 0:
                    Path(flag).touch()
                raise OSError("the machine is taken away")
            return draws(step, batch)

        return draw

    return factory


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_resumed_is_uninterrupted(tmp_path, monkeypatch, restarts):
    """The run ends in its third epoch and goes on from its second: restarted by Ray, or by who runs it again."""
    monkeypatch.setattr(distributed, "MAX_FAILURES", restarts)
    data = dataset(tmp_path / "data")
    whole = training_job("diffusion", data, tmp_path / "whole")
    broken = training_job("diffusion", data, tmp_path / "broken")
    alone(whole, draw_by_trial)
    rows = []
    run = {
        "n_workers": 1,
        "draw": stops_once(str(tmp_path / "flag"), 2 * STEPS_PER_EPOCH + 1),
        "on_row": rows.append,
    }
    if not restarts:
        with pytest.raises(Exception, match="the machine is taken away"):
            on_workers(broken, tmp_path, **run)
        assert [row["epoch"] for row in rows] == [1, 2]
        assert not storage.exists(storage.join(broken.output_uri, "weights.safetensors"))
    on_workers(broken, tmp_path, **run)
    assert (tmp_path / "flag").exists()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    expected, got = last_state(whole), last_state(broken)
    assert expected["best_epoch"] == got["best_epoch"]
    for kind in ("model", "averaged", "best"):
        for name, tensor in expected[kind].items():
            # Another number of threads adds in another order; another draw changes the second digit.
            torch.testing.assert_close(got[kind][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    for row, other in zip(got["history"], expected["history"], strict=True):
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)
    assert storage.exists(storage.join(broken.output_uri, "weights.safetensors"))


def noting(folder):
    """Draws that leave a file per worker and step, with the lengths of the trials it had."""

    def factory(one_job, workers, device):
        draws = draw_by_trial(one_job, workers, device)

        def draw(step, batch):
            text = " ".join(map(str, batch.n_bins_B.tolist()))
            (Path(folder) / f"{step}-{workers.rank}").write_text(text)
            return draws(step, batch)

        return draw

    return factory


@pytest.mark.slow
def test_a_streamed_epoch_trains_on_every_trial(tmp_path):
    """Twelve trials over two workers, two each a step: three steps an epoch."""
    lengths = LENGTHS[:12]
    data = dataset(tmp_path / "data", lengths)
    streamed = training_job("diffusion", data, tmp_path / "streamed", epochs=3)
    (tmp_path / "seen").mkdir()
    rows = []
    on_workers(
        streamed, tmp_path, resident=False, draw=noting(str(tmp_path / "seen")), on_row=rows.append
    )
    assert [row["step"] for row in rows] == [3, 6, 9]
    orders = []
    for epoch in range(3):
        seen = {
            (step, rank): (tmp_path / "seen" / f"{step}-{rank}").read_text().split()
            for step in range(3 * epoch, 3 * epoch + 3)
            for rank in range(2)
        }
        assert {len(trials) for trials in seen.values()} == {2}
        assert Counter(int(n) for trials in seen.values() for n in trials) == Counter(lengths)
        orders.append(tuple(tuple(trials) for trials in seen.values()))
    assert len(set(orders)) > 1
    assert len(list((tmp_path / "seen").iterdir())) == 18


def test_streamed_trials_are_prepared_as_resident_ones_are(tmp_path):
    one_job = training_job("diffusion", dataset(tmp_path / "data"), tmp_path / "out")
    clipped = override(one_job.experiment, {"diffusion.latent_clip": 1.0})
    one_job = dataclasses.replace(one_job, experiment=clipped)
    train, val = (load_trialset(one_job.data_uri, s, one_job.columns) for s in ("train", "val"))
    resident = one_job.resident(train.subset([]), val, Workers())
    stream = read_dataset(one_job.data_uri, "train", one_job.columns)
    streamed = StreamedData(one_job, stream, read_card(one_job.data_uri), resident)
    assert streamed.steps_per_epoch == STEPS_PER_EPOCH
    expected = {len(z): z for z in one_job.prepare(train).latents_list()}
    assert max(np.abs(z).max() for z in expected.values()) == 1
    seen = []
    for batch in streamed.train_batches(0):
        for z, n in zip(batch.latents_BTD.numpy(), batch.n_bins_B.tolist(), strict=True):
            np.testing.assert_array_equal(z[:n], expected[n])
            np.testing.assert_array_equal(z[n:], 0)
            seen.append(n)
    assert sorted(seen) == sorted(LENGTHS)
    (batch,) = streamed.validation_batches()
    (wanted,) = one_job.resident(train, val, Workers()).validation_batches()
    torch.testing.assert_close(batch.latents_BTD, wanted.latents_BTD, rtol=0, atol=0)


def test_cpus_left_for_ray_data(monkeypatch):
    for cpus, workers, expected in ((2, 2, 0.5), (16, 4, 1.0), (1, 1, 0.5), (4, 4, 0.75)):
        monkeypatch.setattr(
            distributed.ray, "cluster_resources", lambda cpus=cpus: {"CPU": float(cpus)}
        )
        assert distributed._cpus_per_worker(workers) == expected
