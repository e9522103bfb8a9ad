"""How a pipeline reads its dataset: compared with its checksums, in memory or streamed, told what was chosen."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldns_ray import storage
from ldns_ray.config import Hardware
from ldns_ray.data import residence, shards, streaming
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.pipeline import Pipeline
from ldns_ray.stages import encode_dataset
from tests.pipelines import Recorder, copy_of, fresh, reaches, tiny_reach, watched

pytestmark = pytest.mark.usefixtures("one_thread")
STREAMED = Hardware(workers=0, data="streamed")


class Listening(Recorder):
    """Keeps what is remarked, by stage."""

    def __init__(self):
        super().__init__()
        self.remarks = {}

    def remark(self, stage, text):
        self.remarks[stage] = text


# -- In memory or streamed


def test_small_trials_are_kept_in_memory_and_it_is_told_why(tiny, tmp_path):
    pipeline, observer = watched(fresh(tiny, tmp_path), Listening())
    pipeline.run("diffusion")
    assert re.fullmatch(r"checksums match \(files: 3, 0\.\d s\)", observer.remarks["dataset"])
    for stage in ("autoencoder", "diffusion"):
        assert re.fullmatch(
            r"trials are kept in memory: 0\.\d MB of [\d,.]+ MB that trials may take of the free memory",
            observer.remarks[stage],
        )


def test_without_room_trials_are_streamed(tiny, tmp_path, monkeypatch):
    """A few kilobytes are free: enough for one training's trials, not for those of a hundred at the same time."""
    base = fresh(tiny, tmp_path)
    n_bytes = read_card(base.data_uri).splits["train"]["n_bins"] * 16
    monkeypatch.setattr(residence, "available_memory", lambda: 20 * n_bytes)
    for at_once, expected in ((1, "kept in memory"), (100, "streamed")):
        root = str(tmp_path / str(at_once))
        pipeline, observer = watched(base, Listening(), at_once=at_once, root=root)
        pipeline.run("autoencoder")
        assert observer.remarks["autoencoder"].startswith(f"trials are {expected}: ")


@pytest.mark.parametrize("conditional", [False, True])
def test_a_streamed_pipeline_gives_a_model_like_a_resident_one(tiny, tmp_path, conditional):
    """The same stages, named alike; the first validation differs by what the order of trials makes of an epoch."""
    if conditional:
        experiment, data = tiny_reach(tiny), reaches(tmp_path)
    else:
        experiment, data = tiny, simulated_dataset(tiny, str(tmp_path))
    resident = Pipeline(experiment, data, str(tmp_path / "resident"))
    streamed, observer = watched(resident, Listening(), root=str(tmp_path / "s"), hardware=STREAMED)
    assert streamed.fingerprints == resident.fingerprints
    resident.run("diffusion")
    streamed.run()
    assert "hardware.data=streamed" in observer.remarks["autoencoder"]
    for stage in ("autoencoder", "diffusion"):
        ours, theirs = (p.history(stage) for p in (streamed, resident))
        assert [row["step"] for row in ours] == [row["step"] for row in theirs]
        assert [row["val_loss"] for row in ours] == pytest.approx(
            [row["val_loss"] for row in theirs], rel=0.15
        )
    assert storage.exists(storage.join(streamed.model_uri, "model.safetensors"))


def test_streams_through_ray_where_it_runs(tiny, tmp_path, ray_session, monkeypatch):
    ways = []
    read = streaming.Stream._read

    def noted(self, wanted):
        ways.append((self.split, self.through_ray))
        return read(self, wanted)

    monkeypatch.setattr(streaming.Stream, "_read", noted)
    fresh(tiny, tmp_path)
    pipeline = replace(fresh(tiny, tmp_path), hardware=STREAMED)
    pipeline.run("autoencoder")
    epochs = tiny.autoencoder.optimisation.epochs
    assert ways.count(("train", True)) == epochs
    assert ways.count(("val", True)) == 1


def test_train_is_told_on_the_command_line(job, refuses, tiny, tmp_path, tracking_uri):
    few = [
        f"autoencoder.{k}=1"
        for k in ("n_blocks", "optimisation.epochs", "optimisation.warmup_epochs")
    ]
    common = ("speech_small", "--data", simulated_dataset(tiny, str(tmp_path)), "--root", tmp_path / "root",
              "--tracking-uri", tracking_uri, "--workers", 0, "--until", "autoencoder", *few)  # fmt: skip
    code, out, err = job("train", *common, "hardware.data=streamed")
    assert (code, err) == (0, "")
    assert "autoencoder  trials are streamed: hardware.data=streamed" in out
    assert "must be one of 'auto', 'resident', 'streamed', got 'memory'" in refuses(
        "train", *common, "hardware.data=memory"
    )
    assert "Unknown setting 'hardware.date'. Did you mean hardware.data" in refuses(
        "train", *common, "hardware.date=streamed"
    )
    assert "settings say hardware.data and hardware.checkpoint_s alone" in refuses(
        "sweep_speech", "hardware.workers=2"
    )


# -- Checksums


@pytest.mark.parametrize("change", ["changed", "truncated", "missing"])
def test_a_bad_shard_is_named_before_anything_is_trained(tiny, tmp_path, change):
    pipeline, observer = watched(fresh(tiny, tmp_path), Listening())
    shard = next(Path(pipeline.data_uri).glob("val-*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if change == "missing":
        shard.unlink()
    else:
        shard.write_bytes(bytes(content[:-3]) if change == "truncated" else bytes(content))
    with pytest.raises(
        (ValueError, FileNotFoundError), match=f"{shard.name} .*Write the dataset again"
    ):
        pipeline.run()
    assert observer.started == []


def test_a_trained_pipeline_is_not_compared_again(trained, tmp_path, monkeypatch):
    def compared(uri):
        raise AssertionError(uri)

    monkeypatch.setattr("ldns_ray.pipeline.verify_dataset", compared)
    pipeline, _ = copy_of(trained, tmp_path / "root")
    pipeline.run()
    with pytest.raises(AssertionError):
        replace(pipeline, root=str(tmp_path / "other")).run("autoencoder")
    replace(pipeline, root=str(tmp_path / "other"), verified=True).run("autoencoder")


# -- Encoding


def test_a_dataset_is_encoded_a_few_trials_at_a_time(trained, tiny, tmp_path, monkeypatch):
    """Blocks of five trials in many shards, read a few at a time: latents and statistics of all at once."""
    monkeypatch.setattr("ldns_ray.stages.BLOCK", 5)
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2000)
    many = str(tmp_path / "many")
    card = shards.write_dataset(
        shards.load_trials(trained.data_uri), many, name="x", bin_width_s=0.02, shard_bytes=3000
    )
    assert len(card.shards) > 5
    model = trained.autoencoder()
    got = encode_dataset(model, many, str(tmp_path / "z"), rates=True)
    wanted = json.loads(storage.read_bytes(trained.uri("latents", "stage.json")))["summary"]
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    here, there = (
        load_trialset(str(tmp_path / "z")),
        load_trialset(trained.uri("latents", "dataset")),
    )
    assert here.trial_ids == there.trial_ids
    np.testing.assert_allclose(here.latents, there.latents, atol=1e-5)
    assert here.rates.shape == here.spikes.shape
    train = load_trialset(str(tmp_path / "z"), "train").latents.astype(np.float64)
    np.testing.assert_allclose(got["mean"], train.mean(0), rtol=1e-6)
    np.testing.assert_allclose(got["std"], train.std(0), rtol=1e-6)
