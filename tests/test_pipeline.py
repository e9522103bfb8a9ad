"""The stages, end to end on tiny recordings: done once, resumed where they stopped, the same everywhere."""

import math
import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from ldns_ray import storage
from ldns_ray.config import Hardware, experiment
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.evaluation.catalogue import METRICS
from ldns_ray.evaluation.rows import Row
from ldns_ray.models.ldns import LDNS
from ldns_ray.pipeline import STAGES, Pipeline
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.settings import override, parse_overrides, to_dict
from tests.pipelines import (
    Interrupted,
    Interrupting,
    copy_of,
    files,
    fresh,
    reaches,
    shard_digests,
    tiny_reach,
    watched,
    weights,
)
from tests.training.jobs import timeless

pytestmark = pytest.mark.usefixtures("one_thread")

PLOTS = (
    "overview", "rasters", "population_counts", "correlations", "isi", "rates", "correlograms", "spectra", "latents",
    "training_curves",
)  # fmt: skip


# -- The whole way


def test_every_stage_leaves_its_output(trained):
    e = trained.experiment
    for stage in STAGES:
        record = trained.record(stage)
        assert record["stage"] == stage
        assert record["fingerprint"] == trained.fingerprints[stage]
        assert record["experiment"] == to_dict(e)
        assert record["dataset"] == trained.card.fingerprint
        assert record["seconds"] >= 0
    for stage, optimisation in (
        ("autoencoder", e.autoencoder.optimisation),
        ("diffusion", e.diffusion.optimisation),
    ):
        rows = trained.history(stage)
        assert [row["epoch"] for row in rows] == list(range(1, optimisation.epochs + 1))
        best = trained.record(stage)["summary"]
        assert best["best_loss"] == min(row["val_loss"] for row in rows)
    assert tuple(trained.record("evaluation")["summary"]["plots"]) == PLOTS
    for name in PLOTS:
        image = storage.read_bytes(trained.uri("evaluation", "plots", f"{name}.png"))
        assert image.startswith(b"\x89PNG")


def test_the_report_and_the_table_of_units_are_beside_the_pictures(trained):
    summary = trained.record("evaluation")["summary"]
    page = storage.read_bytes(trained.uri("evaluation", "report.html")).decode()
    for row in summary["rows"]:
        assert f'value="{row["score"]!r}"' in page
    for told in (trained.model_uri, trained.card.fingerprint, trained.samples_uri):
        assert told in page
    assert page.count('src="data:image/png;base64,') == len(PLOTS)
    assert "autoencoder.width=16" in page
    table = pq.read_table(trained.uri("evaluation", "units.parquet")).to_pydict()
    names = ["real", "LDNS", "PSTH + Poisson", "FA + VAR + Poisson"]
    assert table["trials"] == [name for name in names for _ in trained.card.unit_names]
    assert table["unit"] == list(trained.card.unit_names) * 4
    rates = load_trialset(trained.data_uri, "test").spikes.mean(0) / trained.card.bin_width_s
    np.testing.assert_allclose(table["mean_rate_hz"][: len(rates)], rates)


def test_the_command_does_the_same_experiment(trained):
    words = shlex.split(trained.command())
    assert words[:3] == ["python", "jobs/train.py", "speech_small"]
    assert words[words.index("--data") + 1] == trained.data_uri
    changed = parse_overrides(words[words.index("--root") + 2 :])
    assert experiment("speech_small", **changed) == trained.experiment


def test_samples_are_a_dataset_like_the_training_trials(trained):
    card, real = read_card(trained.samples_uri), trained.card
    assert card.n_trials == real.splits["train"]["n_trials"]
    assert (card.n_units, card.unit_names) == (real.n_units, real.unit_names)
    assert card.bin_width_s == real.bin_width_s
    assert card.n_latents == trained.experiment.autoencoder.n_latents
    lengths = trained.trials("train").n_bins_S
    assert set(load_trialset(trained.samples_uri).n_bins_S) <= set(lengths)


def test_samples_may_come_from_a_worker_with_a_gpu(trained, tmp_path, monkeypatch):
    """What Ray is asked to run there is a function that it takes, and the samples are the same."""
    real, asked = ray.remote, []

    class Here:
        def __init__(self, function):
            self.remote = function

    def remote(**options):
        asked.append(options["num_gpus"])
        return lambda function: real(**options)(function) and Here(function)

    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "get", lambda result: result)
    again, _ = copy_of(trained, tmp_path / "root")
    Path(again.uri("samples", "stage.json")).unlink()
    again.hardware = Hardware(workers=1, gpus_per_worker=0.5)
    again.run("samples")
    assert asked == [0.5]
    assert shard_digests(again.samples_uri) == shard_digests(trained.samples_uri)


def test_several_sets_of_samples_are_evaluated_together(trained, tmp_path):
    """The first is judged as the stage judges it, the others have rows of their own."""
    other = str(tmp_path / "other")
    sample_dataset(trained.model_uri, other, 9, sampler="ddim", n_steps=3, seed=1)
    summary = trained.evaluate({"LDNS": trained.samples_uri, "other": other}).summary
    alone = trained.record("evaluation")["summary"]
    assert [row["name"] for row in summary["rows"][:2]] == ["LDNS", "other"]
    assert summary["rows"][0] == alone["rows"][0]
    assert set(summary["novelty"]) == {"LDNS", "other"}
    assert summary["likelihood"] == alone["likelihood"]


def test_the_score_is_that_of_the_reference_split(trained):
    summary = trained.record("evaluation")["summary"]
    assert summary["split"] == "test"
    ldns, *baselines = rows = [Row.from_dict(row) for row in summary["rows"]]
    assert [row.name for row in rows] == [
        "LDNS",
        "PSTH + Poisson",
        "FA + VAR + Poisson",
        "Training trials",
    ]
    assert [row.kind for row in rows] == ["sampled", "baseline", "baseline", "real"]
    for row in rows:
        numbers = [row.score, *(x for m in row.metrics.values() for x in (m.distance, m.floor))]
        assert all(math.isfinite(x) and x > 0 for x in numbers)
    for baseline in baselines:
        for name, measured in baseline.metrics.items():
            assert measured.floor == ldns.metrics[name].floor
    assert set(ldns.metrics) == set(METRICS)
    assert summary["novelty"]["LDNS"]["in"] == "latents"
    assert np.isfinite(np.hstack(list(summary["likelihood"].values()))).all()


def test_latents_are_standardised_with_training_statistics(trained):
    known = trained.latent_statistics()
    trials = trained.latent_trials("train", ["latents"])
    z = trials.latents
    np.testing.assert_allclose(z.mean(0), known["mean"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(z.std(0), known["std"], rtol=1e-4)
    z = (z - known["mean"]) / known["std"]
    np.testing.assert_allclose(np.abs(z).max(0), known["bound"], rtol=1e-3)
    levels_SD = np.stack([trial.mean(0) for trial in trials.per_trial(z)])
    covariance_DD = levels_SD.T @ levels_SD / len(levels_SD)
    np.testing.assert_allclose(covariance_DD, known["level_covariance"], rtol=1e-3, atol=1e-4)


def test_the_saved_model_is_the_trained_one(trained):
    model = LDNS.load(trained.model_uri)
    spikes = load_trialset(trained.data_uri, "test").spikes_list()
    stored = trained.latent_trials("test", ["latents"]).latents_list()
    for got, expected in zip(model.encode(spikes), stored, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert model.provenance["dataset"] == trained.card.fingerprint


# -- Done once


def test_nothing_is_done_twice(trained):
    again, observer = watched(trained)
    before = files(trained.root)
    records = again.run()
    assert observer.started == []
    assert observer.epochs == []
    assert observer.reused == list(STAGES)
    assert {p: t for p, t in files(trained.root).items() if p in before} == before
    assert records == {stage: trained.record(stage) for stage in STAGES}


def test_until_a_stage(trained, tmp_path):
    pipeline, observer = copy_of(trained, tmp_path / "root")
    assert list(pipeline.run("latents")) == ["autoencoder", "latents"]
    assert observer.reused == ["autoencoder", "latents"]
    with pytest.raises(ValueError, match=r"Unknown stage 'latent'\. Stages: autoencoder, latents"):
        pipeline.run("latent")


def test_the_same_seed_gives_the_same_bytes_elsewhere(trained, tiny, tmp_path):
    elsewhere = fresh(tiny, tmp_path)
    elsewhere.run("samples")
    assert elsewhere.fingerprints == trained.fingerprints
    assert weights(elsewhere, "autoencoder") == weights(trained, "autoencoder")
    assert weights(elsewhere, "diffusion") == weights(trained, "diffusion")
    assert shard_digests(elsewhere.samples_uri) == shard_digests(trained.samples_uri)
    assert (
        read_card(elsewhere.samples_uri).fingerprint == read_card(trained.samples_uri).fingerprint
    )


@pytest.mark.parametrize(
    ("setting", "retrained"),
    [("sampling.seed", []), ("seed", ["autoencoder", "latents", "diffusion", "observation"])],
)
def test_another_seed_gives_other_samples(trained, setting, retrained):
    changed = override(trained.experiment, {setting: 7})
    pipeline, observer = watched(trained, experiment=changed)
    pipeline.run("samples")
    assert observer.started == [*retrained, "samples"]
    assert read_card(pipeline.samples_uri).fingerprint != read_card(trained.samples_uri).fingerprint


# -- Interrupted


def test_interrupted_trainings_go_on_and_end_the_same(trained, tiny, tmp_path):
    pipeline = replace(fresh(tiny, tmp_path), hardware=Hardware(workers=0, checkpoint_s=0))
    for stage in ("autoencoder", "diffusion"):
        pipeline, observer = watched(pipeline, Interrupting(stage))
        with pytest.raises(Interrupted):
            pipeline.run("samples")
        assert observer.started[-1] == stage
        assert pipeline.record(stage) is None
        assert storage.exists(pipeline.uri(stage, "checkpoint.pt"))
    pipeline, observer = watched(pipeline)
    pipeline.run("samples")
    assert observer.reused == ["autoencoder", "latents"]
    assert observer.epochs == [("diffusion", 3)]
    for stage in ("autoencoder", "diffusion"):
        assert weights(pipeline, stage) == weights(trained, stage)
        assert timeless(pipeline.history(stage)) == timeless(trained.history(stage))
    assert shard_digests(pipeline.samples_uri) == shard_digests(trained.samples_uri)


def test_half_written_stages_are_done_again(trained, tmp_path):
    """Of the latents only rubbish is there; of the samples all but the last file; of the trained all."""
    pipeline, observer = copy_of(trained, tmp_path / "root")
    for stage in ("autoencoder", "latents", "samples"):
        Path(pipeline.uri(stage, "stage.json")).unlink()
    latents = Path(pipeline.uri("latents", "dataset"))
    (latents / "dataset.json").unlink()
    for shard in latents.glob("*.parquet"):
        shard.write_bytes(shard.read_bytes()[:100])
    leftover = latents / "train-00000-0123456789abcdef.parquet"
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    pipeline.run("samples")
    assert observer.done == ["autoencoder", "latents", "samples"]
    assert observer.reused == ["diffusion", "observation"]
    assert observer.epochs == []
    assert weights(pipeline, "autoencoder") == weights(trained, "autoencoder")
    for stage in ("latents", "samples"):
        ours, theirs = pipeline.uri(stage, "dataset"), trained.uri(stage, "dataset")
        assert shard_digests(ours) == shard_digests(theirs)
    shards = [shard["file"] for shard in read_card(str(latents)).shards]
    assert sorted(p.name for p in latents.iterdir()) == sorted(["dataset.json", *shards])


def test_a_failed_stage_is_not_taken_for_done(trained, tmp_path, monkeypatch):
    pipeline, observer = copy_of(trained, tmp_path / "root")
    Path(pipeline.uri("evaluation", "stage.json")).unlink()

    def full(uri, content):
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            pipeline.run()
    assert observer.done == []
    assert pipeline.record("evaluation") is None
    assert pipeline.run()["evaluation"]["summary"] == trained.record("evaluation")["summary"]


# -- Bad input


def test_a_missing_split_is_named(tiny, tmp_path):
    data = reaches(tmp_path, val=False)
    pipeline, observer = watched(Pipeline(tiny_reach(tiny), data, str(tmp_path / "root")))
    with pytest.raises(ValueError, match=r"has no val trials; it has: train, test\. Ingest"):
        pipeline.run()
    assert observer.started == []


def test_a_history_longer_than_a_trial_is_told_before_anything_is_trained(tiny, tmp_path):
    data = reaches(tmp_path)
    longer = {"observation.kind": "spike_history", "observation.history_bins": 24}
    pipeline, observer = watched(Pipeline(tiny_reach(tiny, **longer), data, str(tmp_path / "root")))
    with pytest.raises(ValueError, match=r"history_bins must be below the 24 bins of the shortest"):
        pipeline.run()
    assert observer.started == []


def test_an_experiment_without_a_simulator_needs_a_dataset(tmp_path):
    with pytest.raises(ValueError, match=r"reach needs a dataset\. .*then pass --data"):
        simulated_dataset(experiment("reach"), str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"No dataset.json under .*jobs/ingest.py"):
        Pipeline(experiment("reach"), str(tmp_path / "no"), str(tmp_path)).run()
