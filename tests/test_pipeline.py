"""The stages, end to end on tiny recordings: done once, resumed where they stopped, the same everywhere."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs import ingest
from ldns_ray import storage
from ldns_ray.config import Hardware, experiment
from ldns_ray.data.shards import load_trials, load_trialset, read_card, write_dataset
from ldns_ray.models.ldns import LDNS
from ldns_ray.pipeline import STAGES, Observer, Pipeline
from ldns_ray.settings import override, to_dict
from ldns_ray.stages import encode_dataset, sample_dataset, simulated_dataset
from ldns_ray.training import job

PLOTS = ("rasters", "population_counts", "correlations", "isi", "training_curves", "latents")

pytestmark = pytest.mark.usefixtures("one_thread")


class Recorder(Observer):
    """What was started, what was found, and the epochs that were trained."""

    def __init__(self):
        self.started, self.done, self.reused, self.epochs = [], [], [], []

    def stage_started(self, stage, uri):
        self.started.append(stage)

    def epoch(self, stage, row, n_epochs):
        self.epochs.append((stage, int(row["epoch"])))

    def stage_finished(self, stage, uri, record, *, reused):
        (self.reused if reused else self.done).append(stage)


class Interrupted(Exception):
    pass


class Interrupting(Recorder):
    """Ends a training after its second epoch, as if the process had died."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def epoch(self, stage, row, n_epochs):
        super().epoch(stage, row, n_epochs)
        if (stage, row["epoch"]) == (self.stage, 2):
            raise Interrupted


def watched(pipeline, observer=None, **changes):
    """The same pipeline, changed, with an observer of its own."""
    observer = observer or Recorder()
    return replace(pipeline, observer=observer, **changes), observer


def fresh(experiment, root):
    return Pipeline(experiment, simulated_dataset(experiment, str(root)), str(root))


def files(root):
    return {p: p.stat().st_mtime_ns for p in Path(root).rglob("*") if p.is_file()}


def weights(pipeline, stage):
    return storage.read_bytes(pipeline.uri(stage, "weights.safetensors"))


def shard_digests(uri):
    return [shard["sha256"] for shard in read_card(uri).shards]


def copy_of(pipeline, root):
    shutil.copytree(pipeline.root, root)
    return watched(pipeline, root=str(root))


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
    for name in PLOTS:
        image = storage.read_bytes(trained.uri("evaluation", "plots", f"{name}.png"))
        assert image.startswith(b"\x89PNG")


def test_samples_are_a_dataset_like_the_training_trials(trained):
    card, real = read_card(trained.samples_uri), trained.card
    assert card.n_trials == real.splits["train"]["n_trials"]
    assert (card.n_units, card.unit_names) == (real.n_units, real.unit_names)
    assert card.bin_width_s == real.bin_width_s
    assert card.n_latents == trained.experiment.autoencoder.n_latents
    lengths = trained.trials("train").n_bins_S
    assert set(load_trialset(trained.samples_uri).n_bins_S) <= set(lengths)


def test_the_score_is_that_of_the_reference_split(trained):
    summary = trained.record("evaluation")["summary"]
    assert summary["split"] == "test"
    ldns, baseline = summary["rows"]
    assert (ldns["name"], baseline["name"]) == ("LDNS", "PSTH + Poisson")
    for row in (ldns, baseline):
        numbers = [row["score"], *row["distances"].values(), *row["floors"].values()]
        assert all(math.isfinite(x) and x > 0 for x in numbers)
    assert ldns["floors"] == baseline["floors"]
    assert all(math.isfinite(x) for x in summary["likelihood"].values())


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


def test_interrupted_trainings_go_on_and_end_the_same(trained, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0)
    pipeline = fresh(tiny, tmp_path)
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
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in pipeline.history(stage)]
        assert rows == [
            {k: v for k, v in row.items() if k != "seconds"} for row in trained.history(stage)
        ]
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
    (latents / "incoming-123").mkdir()
    pipeline.run("samples")
    assert observer.done == ["autoencoder", "latents", "samples"]
    assert observer.reused == ["diffusion", "observation"]
    assert observer.epochs == []
    assert weights(pipeline, "autoencoder") == weights(trained, "autoencoder")
    for stage in ("latents", "samples"):
        ours, theirs = pipeline.uri(stage, "dataset"), trained.uri(stage, "dataset")
        assert shard_digests(ours) == shard_digests(theirs)
    assert sorted(p.name for p in latents.iterdir()) == ["dataset.json", "shard-00000.parquet"]


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


# -- Fingerprints


@pytest.mark.parametrize(
    ("setting", "value", "first"),
    [
        ("name", "other", None),
        ("autoencoder.width", 32, "autoencoder"),
        ("autoencoder.optimisation.epochs", 4, "autoencoder"),
        ("seed", 1, "autoencoder"),
        ("diffusion.width", 32, "diffusion"),
        ("diffusion.conditions", "", "diffusion"),
        ("observation.kind", "spike_history", "observation"),
        ("sampling.n_steps", 5, "samples"),
        ("sampling.seed", 1, "samples"),
        ("evaluation.split", "val", "evaluation"),
    ],
)
def test_a_setting_changes_its_stage_and_all_after_it(trained, setting, value, first):
    changed = replace(trained, experiment=override(trained.experiment, {setting: value}))
    differ = [s for s in STAGES if changed.fingerprints[s] != trained.fingerprints[s]]
    assert differ == ([] if first is None else list(STAGES[STAGES.index(first) :]))


def test_hardware_and_place_are_no_part_of_a_fingerprint(trained):
    for changes in (
        {"hardware": Hardware(workers=4, gpus_per_worker=1, cpus_per_worker=2)},
        {"root": "/elsewhere"},
    ):
        assert replace(trained, **changes).fingerprints == trained.fingerprints


def test_the_dataset_is_part_of_a_fingerprint(trained, tmp_path):
    """By content: not where it is, but what is in it."""
    moved = tmp_path / "moved"
    shutil.copytree(trained.data_uri, moved)
    assert replace(trained, data_uri=str(moved)).fingerprints == trained.fingerprints
    trials = load_trials(trained.data_uri)
    trials[0] = replace(trials[0], spikes=trials[0].spikes + np.uint8(1))
    write_dataset(trials, tmp_path / "other", name="speech", bin_width_s=0.02)
    other = replace(trained, data_uri=str(tmp_path / "other"))
    assert not set(other.fingerprints.values()) & set(trained.fingerprints.values())


def test_what_comes_before_a_changed_setting_is_reused(trained):
    changed = override(trained.experiment, {"observation.kind": "spike_history"})
    pipeline, observer = watched(trained, experiment=changed)
    pipeline.run("samples")
    assert observer.reused == ["autoencoder", "latents", "diffusion"]
    assert observer.done == ["observation", "samples"]
    assert LDNS.load(pipeline.model_uri).observation is not None
    assert LDNS.load(trained.model_uri).observation is None


# -- Conditions, covariates, spike history


def reaches(folder, n_trials=30, n_bins=24, n_units=10, val=True):
    """A recording of reaches in eight directions as a NumPy file, ingested."""
    rng = np.random.default_rng(1)
    target = np.arange(n_trials) % 8
    velocity = rng.normal(size=(n_trials, n_bins, 2)).astype(np.float32)
    rates = 0.3 + 0.2 * np.cos(target[:, None] * np.pi / 4 + np.arange(n_units))
    spikes = rng.poisson(np.repeat(rates[:, None], n_bins, 1))
    names = np.array(["train"] * 18 + ["val" if val else "train"] * 6 + ["test"] * 6)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "reach.npz", spikes=spikes, target=target, velocity=velocity, split=names)
    out = str(folder / "reach")
    ingest.main(
        ["npz", str(folder / "reach.npz"), "--out", out, "--spikes-axes", "trial,time,unit",
         "--bin-ms", "5", "--sample-ms", "5", "--angle", "angle=target*45",
         "--covariate", "velocity=velocity:m/s", "--split", "split"]
    )  # fmt: skip
    return out


def tiny_reach(tiny, **changes):
    base = experiment("reach_angle")
    small = replace(
        base,
        autoencoder=tiny.autoencoder,
        diffusion=replace(tiny.diffusion, conditions=("angle", "length"), covariates=("velocity",)),
        sampling=replace(tiny.sampling, n_trials=70),
        evaluation=replace(tiny.evaluation, label="target"),
    )
    return override(small, changes)


def test_guided_samples(tiny, tmp_path):
    """The stage samples as its setting says, from a model that was trained for it."""
    settings = {"diffusion.condition_dropout": 0.3, "sampling.guidance": 2, "sampling.n_trials": 5}
    guided = Pipeline(tiny_reach(tiny, **settings), reaches(tmp_path), str(tmp_path / "root"))
    guided.run("samples")
    model = LDNS.load(guided.model_uri)
    assert model.denoiser.null_E.any()
    expected = model.sample(5, n_steps=4, seed=0, guidance=2.0)
    for got, wanted in zip(
        load_trialset(guided.samples_uri).latents_list(), expected.latents, strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    assert np.abs(model.sample(5, n_steps=4, seed=0).latents[0] - expected.latents[0]).max() > 1e-4


def test_conditions_covariates_and_spike_history(tiny, tmp_path):
    data = reaches(tmp_path)
    pipeline = Pipeline(tiny_reach(tiny), data, str(tmp_path / "root"))
    assert math.isfinite(pipeline.run()["evaluation"]["summary"]["score"])
    model = LDNS.load(pipeline.model_uri)
    assert model.conditioning.conditions == {"angle": 2, "length": 1}
    assert model.conditioning.covariates == {"velocity": 2}
    assert model.observation is not None

    # Conditions and covariates of a sample are together those of one training trial.
    train, sampled = load_trialset(data, "train"), load_trialset(pipeline.samples_uri)
    assert len(sampled) == 70
    traces = [v.tobytes() for v in train.covariates_list("velocity")]
    for trace, angle in zip(
        sampled.covariates_list("velocity"), sampled.conditions["angle"], strict=True
    ):
        np.testing.assert_array_equal(
            train.conditions["angle"][traces.index(trace.tobytes())], angle
        )

    # Sampled for the trials of a split, in its order.
    test = load_trialset(data, "test")
    sample_dataset(
        pipeline.model_uri, str(tmp_path / "asked"), len(test), sampler="dpmpp_2m", n_steps=3, seed=0,
        condition={"angle": test.conditions["angle"]}, covariates={"velocity": test.covariates_list("velocity")},
    )  # fmt: skip
    asked = load_trialset(str(tmp_path / "asked"))
    np.testing.assert_array_equal(asked.conditions["angle"], test.conditions["angle"])
    np.testing.assert_array_equal(asked.covariates["velocity"], test.covariates["velocity"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("diffusion.conditions", r"no condition 'direction'; it has: length.* Set diffusion"),
        ("diffusion.covariates", r"no covariate 'direction'; it has: none\. Set diffusion"),
    ],
)
def test_a_condition_that_the_dataset_lacks_is_named(trained, setting, message):
    changed = override(trained.experiment, {setting: "direction"})
    pipeline, _ = watched(trained, experiment=changed)
    with pytest.raises(ValueError, match=message):
        pipeline.run()


# -- Bad input


def test_a_missing_split_is_named(tiny, tmp_path):
    data = reaches(tmp_path, val=False)
    pipeline, observer = watched(Pipeline(tiny_reach(tiny), data, str(tmp_path / "root")))
    with pytest.raises(ValueError, match=r"has no val trials; it has: train, test\. Ingest"):
        pipeline.run()
    assert observer.started == []


def test_an_experiment_without_a_simulator_needs_a_dataset(tmp_path):
    with pytest.raises(ValueError, match=r"reach needs a dataset\. .*then pass --data"):
        simulated_dataset(experiment("reach"), str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"No dataset.json under .*jobs/ingest.py"):
        Pipeline(experiment("reach"), str(tmp_path / "no"), str(tmp_path)).run()


@pytest.mark.parametrize("simulator", ["lorenz", "speech"])
def test_simulated_datasets_follow_their_settings(tiny, tmp_path, simulator):
    e = override(tiny, {"dataset.simulator": simulator, "dataset.min_bins": 60})
    uri = simulated_dataset(e, str(tmp_path))
    card = read_card(uri)
    assert (card.n_trials, card.n_units, card.min_bins, card.max_bins) == (24, 16, 60, 60)
    before = files(tmp_path)
    assert simulated_dataset(e, str(tmp_path)) == uri
    assert files(tmp_path) == before
    assert simulated_dataset(override(e, {"dataset.seed": 1}), str(tmp_path)) != uri


# -- Recordings that the model never saw


def test_a_recording_never_seen_is_encoded(trained, tiny, tmp_path):
    other = simulated_dataset(override(tiny, {"dataset.seed": 5}), str(tmp_path))
    out = str(tmp_path / "out")
    encode_dataset(trained.autoencoder(), other, out, rates=True)
    card = read_card(out)
    assert card.n_latents == 4
    assert card.has_rates
    assert card.splits == read_card(other).splits
    model = LDNS.load(trained.model_uri)
    given, got = load_trialset(other), load_trialset(out)
    assert got.trial_ids == given.trial_ids
    np.testing.assert_array_equal(got.spikes, given.spikes)
    for z, expected in zip(got.latents_list(), model.encode(given.spikes_list()), strict=True):
        np.testing.assert_allclose(z, expected, atol=1e-5)
    for rates, expected in zip(got.rates_list(), model.decode(got.latents_list()), strict=True):
        np.testing.assert_allclose(rates, expected, rtol=1e-4, atol=1e-6)


def test_a_recording_of_other_units_is_refused(trained, tiny, tmp_path):
    other = simulated_dataset(override(tiny, {"dataset.n_units": 9}), str(tmp_path))
    with pytest.raises(ValueError, match=r"has 9 units, the model was trained on 16"):
        encode_dataset(trained.autoencoder(), other, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
