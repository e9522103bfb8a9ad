"""The jobs as they are typed: what they print, and the one clear line with which they refuse."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jobs import (
    benchmark,
    describe,
    encode,
    evaluate,
    import_reference,
    ingest,
    reproduce,
    sample,
    sweep_lorenz,
    sweep_reach,
    sweep_speech,
    train,
)
from ldns_ray import cli
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.settings import override, settings

ROOT = Path(__file__).resolve().parents[1]
JOBS = {m.__name__.rpartition(".")[2]: m for m in (benchmark, describe, encode, evaluate, import_reference, ingest, reproduce, sample, sweep_lorenz, sweep_reach, sweep_speech, train)}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def other_units(tiny, tmp_path_factory):
    """A recording of nine units."""
    root = str(tmp_path_factory.mktemp("other"))
    return simulated_dataset(override(tiny, {"dataset.n_units": 9}), root)


def npz(folder, **changes):
    """Four trials of two units and six bins."""
    arrays = {
        "spikes": np.ones((4, 6, 2), np.int64),
        "target": np.arange(4),
        "velocity": np.zeros((4, 6, 2), np.float32),
    } | changes
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


NPZ = ("--spikes-axes", "trial,time,unit", "--sample-ms", "5", "--bin-ms", "5")


# -- Help


@pytest.mark.parametrize("name", JOBS)
def test_help_says_what_a_job_does(job, name):
    code, out, err = job(name, "--help")
    assert (code, err) == (0, "")
    assert JOBS[name].__doc__.split()[:5] == out[out.index("\n\n") :].split()[:5]
    assert "usage: " in out
    if name.startswith("sweep_") or name in (
        "benchmark", "import_reference", "ingest", "reproduce", "sample", "train",
    ):  # fmt: skip
        assert "examples:" in out
        assert f"python jobs/{name}.py" in out


@pytest.mark.parametrize(("name", "missing"), [("train", "experiment"), ("sample", "model"), ("reproduce", "result"), ("encode", "data"),
                                               ("evaluate", "real"), ("describe", "dataset"), ("import_reference", "denoiser")])  # fmt: skip
def test_a_missing_argument_is_named(job, name, missing):
    code, _, err = job(name)
    assert code == 2
    assert missing in err.splitlines()[-1]


def test_a_real_process_ends_with_one_line(tmp_path):
    command = [sys.executable, "jobs/train.py", "speech_smal", "--root", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: Unknown experiment 'speech_smal'. Did you mean speech")
    assert ended.stderr.count("\n") == 1


# -- Bad recordings


def spoiled(value):
    spikes = np.ones((4, 6, 2))
    spikes[2, 3, 1] = value
    return spikes


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        ({"spikes": spoiled(-1)}, [], ["a.npz", "trial '000002'", "-1"]),
        ({"spikes": spoiled(0.5)}, [], ["a.npz", "trial '000002'", "0.5"]),
        ({"spikes": spoiled(np.nan)}, [], ["a.npz", "trial '000002'", "nan"]),
        ({"spikes": np.ones((4, 6))}, [], ["a.npz", "axes of 'spikes'", "(4, 6)"]),
        ({"target": np.arange(3)}, ["--condition", "target"], ["'target'", "per trial (4)", "(3,)"]),
        ({"velocity": np.zeros((4, 5, 2))}, ["--covariate", "velocity"], ["'velocity'", "(4, 5, 2)"]),
        ({"velocity": np.full((4, 6, 2), np.nan)}, ["--covariate", "velocity"], ["velocity"]),
        ({}, ["--spikes", "counts"], ["'counts'", "spikes, target, velocity"]),
        ({}, ["--bin-ms", "7"], ["multiple", "7 ms"]),
        ({}, ["--fractions", "0.5", "0.1", "0.1"], ["fractions"]),
        ({}, ["--seed", "-1"], ["--seed must be in"]),
        ({}, ["--shard-mb", "inf"], ["--shard-mb", "inf"]),
        ({}, ["--shard-mb", "nan"], ["--shard-mb", "nan"]),
        ({"none": np.zeros((4, 0))}, ["--condition", "none"], ["a.npz", "'none'", "(4, 0)"]),
        ({"split": np.array(["train", "val", "test", "dev"])}, ["--split", "split"], ["'dev'"]),
    ],
)  # fmt: skip
def test_bad_recordings_are_refused(refuses, tmp_path, changes, options, expected):
    line = refuses(
        "ingest", "npz", npz(tmp_path, **changes), "--out", tmp_path / "d", *NPZ, *options
    )
    for text in expected:
        assert text in line
    assert not (tmp_path / "d" / "dataset.json").exists()


def test_missing_and_foreign_files_are_refused(refuses, tmp_path):
    out = ["--out", tmp_path / "d", *NPZ]
    assert "No file" in refuses("ingest", "npz", tmp_path / "no.npz", *out)
    (tmp_path / "text.npz").write_text("no archive")
    assert "not a .npz file" in refuses("ingest", "npz", tmp_path / "text.npz", *out)


def test_a_dataset_has_a_folder_of_its_own(job, refuses, monkeypatch, tmp_path):
    file = npz(tmp_path)
    assert f"{file} is a file" in refuses("ingest", "npz", file, "--out", file, *NPZ)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "path or URI" in refuses("ingest", "npz", file, "--out", "", *NPZ)
    assert job("ingest", "npz", file, "--out", ".", *NPZ)[1].startswith("here: 4 trials")
    code, out, _ = job("ingest", "npz", file, "--out", "my data", *NPZ)
    assert (code, out.splitlines()[-1].rpartition(": ")[2]) == (
        0,
        "python jobs/describe.py 'my data'",
    )


def test_another_dataset_is_not_replaced_unasked(job, refuses, tmp_path):
    out = ["--out", tmp_path / "d", *NPZ]
    assert job("ingest", "npz", npz(tmp_path), *out)[0] == 0
    assert job("ingest", "npz", npz(tmp_path), *out)[0] == 0
    changed = npz(tmp_path, spikes=np.zeros((4, 6, 2), np.int64))
    assert "--overwrite" in refuses("ingest", "npz", changed, *out)
    assert job("ingest", "npz", changed, *out, "--overwrite")[0] == 0


# -- Bad words


def test_unknown_experiments_and_settings_name_the_close_ones(refuses, tmp_path):
    root = ["--root", tmp_path / "root"]
    assert "Did you mean lorenz_small" in refuses("train", "lorenz_smal", *root)
    line = refuses("train", "speech_small", "autoencoder.latents=4", *root)
    assert "Unknown setting 'autoencoder.latents'. Did you mean autoencoder.n_latents" in line
    assert "autoencoder.width=64" in refuses("train", "speech_small", "width", *root)
    assert "type int" in refuses("train", "speech_small", "diffusion.width=wide", *root)
    assert "multiple of 4" in refuses("train", "speech_small", "diffusion.width=18", *root)
    assert "Did you mean speech" in refuses("sweep_speech", "--experiment", "speach", *root)
    assert "n_latents" in refuses("sweep_speech", "autoencoder.latents=4", *root)
    assert "workers" in refuses("train", "speech_small", "--workers", "-1", *root)
    assert not (tmp_path / "root").exists()


def test_missing_datasets_say_how_to_make_one(refuses, tracking_uri, tmp_path):
    there = ["--root", tmp_path, "--tracking-uri", tracking_uri]
    nowhere = tmp_path / "nowhere"
    for line in (
        refuses("train", "speech_small", "--data", nowhere, *there),
        refuses("describe", nowhere),
        refuses("evaluate", nowhere, nowhere, *there),
    ):
        assert line.startswith(f"No dataset.json under {nowhere}.")
        assert "python jobs/ingest.py" in line
    line = refuses("train", "reach", *there)
    assert "jobs/ingest.py" in line
    assert "--data" in line


def test_an_unreachable_tracking_server_is_told_in_time(refuses, tmp_path):
    start = time.monotonic()
    line = refuses(
        "train", "speech_small", "--root", tmp_path, "--tracking-uri", "http://127.0.0.1:9"
    )
    assert time.monotonic() - start < 15
    assert "Cannot reach the MLflow server at http://127.0.0.1:9" in line
    assert "make ui" in line
    assert "sqlite:///" in refuses(
        "train", "speech_small", "--root", tmp_path, "--tracking-uri", "x:1"
    )


def test_models_that_are_none_are_refused(refuses, trained, tmp_path):
    nowhere = tmp_path / "nowhere"
    for line in (
        refuses("sample", nowhere, "--out", tmp_path / "s"),
        refuses("encode", nowhere, trained.data_uri, "--out", tmp_path / "e"),
    ):
        assert line.startswith(f"No LDNS model under {nowhere}.")
        assert "python jobs/train.py" in line
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "model.safetensors"):
        (broken / name).write_bytes((Path(trained.model_uri) / name).read_bytes()[:50])
    assert "cannot be read" in refuses("sample", broken, "--out", tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--n", "-3"], "--n must be at least 1, or 0"),
        (["--lengths", "long"], "--lengths must be whole numbers, got 'long'"),
        (["--lengths", "30,0"], "at least 1"),
        (["--sampler", "euler"], "ddpm, ddim, dpmpp_2m or dpmpp_2m_sde"),
        (["--guidance", "2"], "could be dropped (it has: length), got 2.0"),
        (["--guidance", "nan"], "guidance must be finite and non-negative, got nan"),
        (["--n-steps", "0"], "n_steps must be at least 1"),
        (["--seed", "-1"], "seed must be in"),
        (["--workers", "-1"], "--workers must be finite and non-negative, got -1"),
        (
            ["--gpus-per-worker", "nan"],
            "--gpus-per-worker must be finite and non-negative, got nan",
        ),
        (["--shard-mb", "0"], "--shard-mb must be positive and finite, got 0"),
    ],
)
def test_bad_requests_for_samples_are_refused(refuses, trained, tmp_path, options, expected):
    line = refuses("sample", trained.model_uri, "--out", tmp_path / "s", *options)
    assert expected in line
    assert not (tmp_path / "s" / "dataset.json").exists()


def test_samples_for_the_trials_of_a_dataset_need_it(refuses, trained, tmp_path):
    out = ["--out", tmp_path / "s", "--conditions"]
    assert "No dataset.json" in refuses("sample", trained.model_uri, *out, tmp_path / "nowhere")
    line = refuses("sample", trained.model_uri, *out, trained.data_uri, "--split", "tset")
    assert "'tset'" in line
    assert "train, val, test" in line


def test_other_units_are_refused(refuses, trained, other_units, tracking_uri, tmp_path):
    line = refuses("encode", trained.model_uri, other_units, "--out", tmp_path / "e")
    assert "has 9 units, the model was trained on 16" in line
    line = refuses("evaluate", trained.data_uri, other_units, "--tracking-uri", tracking_uri)
    assert "9 units" in line
    assert "16 in bins of" in line


# -- What they do


def test_settings_are_listed(job):
    code, out, err = job("train", "speech_small", "--settings", "autoencoder.width=32")
    assert (code, err) == (0, "")
    assert "autoencoder.width = 32" in out.splitlines()
    assert "diffusion.optimisation.epochs = 120" in out.splitlines()


def test_a_reader_that_leaves_is_no_error():
    """As `| head` does: there is nothing to tell, and nobody to tell it."""
    command = [sys.executable, "-c", "import sys; from ldns_ray.cli import run\n"
               "run(lambda argv: print('line\\n' * 100_000) or sys.stdout.flush())"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_sample(job, refuses, trained, tracking_uri, tmp_path):
    command = ["sample", trained.model_uri, "--n-steps", "3", "--tracking-uri", tracking_uri]
    code, out, err = job(*command, "--n", "5", "--out", tmp_path / "a")
    assert (code, err) == (0, "")
    said, results = out.splitlines()
    assert said == "5 trials of 16 units."
    assert results.startswith(f"Results: {tmp_path / 'a'} and run ")
    job(*command, "--n", "5", "--out", tmp_path / "b")
    first, again = read_card(tmp_path / "a"), read_card(tmp_path / "b")
    assert first.fingerprint == again.fingerprint
    assert [s["sha256"] for s in first.shards] == [s["sha256"] for s in again.shards]

    job(*command, "--n", "5", "--out", tmp_path / "c", "--seed", "1")
    assert read_card(tmp_path / "c").fingerprint != first.fingerprint
    # The first trials of a larger sample are those of a smaller one.
    job(*command, "--n", "8", "--out", tmp_path / "d")
    more, few = (
        load_trialset(tmp_path / "d").spikes_list(),
        load_trialset(tmp_path / "a").spikes_list(),
    )
    assert all(np.array_equal(x, y) for x, y in zip(more[:5], few, strict=True))

    assert "--overwrite" in refuses(*command, "--n", "6", "--out", tmp_path / "a")
    assert job(*command, "--n", "6", "--out", tmp_path / "a", "--overwrite")[0] == 0
    assert read_card(tmp_path / "a").n_trials == 6


def test_sample_lengths(job, trained, tracking_uri, tmp_path):
    command = [
        "sample", trained.model_uri, "--n-steps", "3", "--tracking-uri", tracking_uri, "--out"
    ]  # fmt: skip
    job(*command, tmp_path / "a", "--n", "5", "--lengths", "40,25")
    assert load_trialset(tmp_path / "a").n_bins_S.tolist() == [40, 25, 40, 25, 40]
    job(*command, tmp_path / "b", "--conditions", trained.data_uri, "--split", "val")
    wanted = load_trialset(trained.data_uri, "val").n_bins_S
    assert load_trialset(tmp_path / "b").n_bins_S.tolist() == wanted.tolist()
    job(*command, tmp_path / "c")
    assert read_card(tmp_path / "c").n_trials == trained.card.splits["train"]["n_trials"]


def test_encode_a_recording_never_seen(job, trained, tiny, tmp_path):
    data = simulated_dataset(override(tiny, {"dataset.seed": 9}), str(tmp_path))
    code, out, err = job("encode", trained.model_uri, data, "--out", tmp_path / "e")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Results: {tmp_path / 'e'}"
    card = read_card(tmp_path / "e")
    assert (card.n_latents, card.has_rates, card.n_trials) == (4, True, 24)
    assert card.provenance["model"] == trained.model_uri


def words(experiment):
    """All settings of an experiment, as they are typed."""
    plain = {k: ",".join(v) if isinstance(v, tuple) else v for k, v in settings(experiment).items()}
    return [f"{k}={v}" for k, v in plain.items() if k != "name"]


def test_train(job, trained, tracking_uri):
    """What is done is found again, and told once more."""
    changed = words(trained.experiment)
    code, out, err = job(
        "train", "speech_small", *changed, "--workers", "0", "--data", trained.data_uri,
        "--root", trained.root, "--tracking-uri", tracking_uri,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.count("already done") == 6
    assert f"Model: {trained.model_uri}" in out
    assert f"Samples: {trained.samples_uri}" in out
    assert "bits per spike" in out
    assert out.splitlines()[-1].startswith(f"Results: {trained.uri('evaluation')} and run ")


def test_training_that_diverges_says_what_to_change(refuses, trained, tracking_uri, tmp_path):
    changed = words(trained.experiment)
    line = refuses(
        "train", "speech_small", *changed, "autoencoder.optimisation.learning_rate=1e30", "--workers", "0",
        "--data", trained.data_uri, "--root", tmp_path, "--tracking-uri", tracking_uri,
    )  # fmt: skip
    assert "loss became" in line
    assert "Lower the learning rate" in line


def test_everything_goes_below_the_root(job, monkeypatch, tmp_path):
    """LDNS_ROOT where --root is not given, and the tracking store with it."""
    monkeypatch.setenv("LDNS_ROOT", str(tmp_path / "chosen"))
    assert cli.default_root(None) == str(tmp_path / "chosen")
    assert cli.default_root("other") == os.path.abspath("other")
    assert cli.default_root("s3://bucket/x") == "s3://bucket/x"
