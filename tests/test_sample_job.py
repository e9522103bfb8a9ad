"""Sampling for what a file or a dataset asks for, as it is typed."""

import json
import re

import numpy as np
import pytest

from jobs import sample
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.stages import model_fingerprint
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.model import log_model
from tests.models import untrained

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def conditional(tmp_path_factory):
    """A model of random weights that was told angle, speed and velocity, and can be guided."""
    folder = tmp_path_factory.mktemp("conditional")
    untrained.model(
        conditions=("angle", "length", "speed"), covariates=("velocity",), droppable=True
    ).save(folder)
    return folder


@pytest.fixture(scope="session")
def of_angle(tmp_path_factory):
    """A model of random weights that was told the angle alone."""
    folder = tmp_path_factory.mktemp("of_angle")
    untrained.model(conditions=("angle",), droppable=True).save(folder)
    return folder


def asked_for(uri):
    trials = load_trialset(uri)
    angles = trials.conditions["angle"].tolist() if "angle" in trials.conditions else None
    return trials.n_bins_S.tolist(), angles


@pytest.fixture
def sampled(job, tracking_uri):
    """Runs the job, which must succeed quietly, with a store; returns what it printed."""

    def run(*arguments):
        code, out, err = job("sample", *arguments, "--tracking-uri", tracking_uri)
        assert (code, err) == (0, "")
        return out

    return run


def test_sample_for_a_table(sampled, of_angle, tmp_path):
    (tmp_path / "a.csv").write_text("angle.0,angle.1,n_bins\n1,0,20\n0,1,12\n")
    command = [of_angle, "--n-steps", "2", "--conditions", tmp_path / "a.csv"]
    out = sampled(*command, "--out", tmp_path / "a")
    assert out.splitlines()[0] == "2 trials of 5 units."
    assert asked_for(tmp_path / "a") == ([20, 12], [[1, 0], [0, 1]])
    sampled(*command, "--out", tmp_path / "b", "--n", "3", "--lengths", "15,16")
    assert asked_for(tmp_path / "b") == ([15, 16, 15], [[1, 0], [0, 1], [1, 0]])
    # Without lengths, those of training trials.
    (tmp_path / "c.csv").write_text("angle.0,angle.1\n" + "1,0\n" * 30)
    sampled(
        of_angle,
        "--n-steps",
        "2",
        "--conditions",
        tmp_path / "c.csv",
        "--out",
        tmp_path / "c",
    )
    assert set(asked_for(tmp_path / "c")[0]) == set(untrained.TRAINING_BINS)


def test_sample_for_arrays(sampled, conditional, tmp_path):
    n_bins = np.array([20, 12, 40])
    velocity = np.random.default_rng(0).normal(size=(n_bins.sum(), 2)).astype(np.float32)
    arrays = {"angle": np.eye(3)[:, :2], "speed": np.ones(3)}
    np.savez(tmp_path / "v.npz", velocity=velocity, n_bins=n_bins, **arrays)
    command = [conditional, "--n-steps", "2", "--conditions", tmp_path / "v.npz"]
    sampled(*command, "--out", tmp_path / "a")
    trials = load_trialset(tmp_path / "a")
    assert trials.n_bins_S.tolist() == n_bins.tolist()
    np.testing.assert_array_equal(trials.covariates["velocity"], velocity)
    np.testing.assert_array_equal(trials.conditions["angle"], arrays["angle"])
    sampled(*command, "--out", tmp_path / "b", "--guidance", "3", "--sampler", "ddim")
    guided = load_trialset(tmp_path / "b")
    assert guided.n_bins_S.tolist() == n_bins.tolist()
    assert np.abs(guided.latents - trials.latents).max() > 1e-3
    assert read_card(tmp_path / "b").provenance["guidance"] == 3
    assert read_card(tmp_path / "b").provenance["sampler"] == "ddim"


def test_a_dataset_and_lengths(sampled, trained, tmp_path):
    """As many trials as the dataset has, of the lengths that were asked for."""
    sampled(
        trained.model_uri, "--n-steps", "2", "--conditions", trained.data_uri,
        "--lengths", "20,30", "--out", tmp_path / "a",
    )  # fmt: skip
    n = trained.card.splits["test"]["n_trials"]
    assert load_trialset(tmp_path / "a").n_bins_S.tolist() == ([20, 30] * n)[:n]


def test_a_run_leads_from_the_samples_to_their_model(sampled, of_angle, tracking_uri, tmp_path):
    models = connect(tracking_uri, "of_angle")
    prints = model_fingerprint(str(of_angle))
    with models.run("train") as run:
        address = log_model(run, of_angle, fingerprint=prints, what="A model.")
    command = [of_angle, "--n", "3", "--n-steps", "2", "--out", tmp_path / "a"]
    url = sampled(*command).splitlines()[-1].partition(" and run ")[2]
    assert sampled(*command).splitlines()[-1].partition(" and run ")[2] == url, "the same run"
    tracking = connect(tracking_uri, "sample")
    (found,) = tracking.client.search_runs(
        [tracking.experiment_id], filter_string=f"tags.`ldns.samples` = '{tmp_path / 'a'}'"
    )
    assert found.info.run_id in url
    run = tracking.client.get_run(found.info.run_id)  # a search tells of no models
    assert run.info.status == "FINISHED"
    assert [f"models:/{m.model_id}" for m in run.inputs.model_inputs] == [address]
    assert run.data.tags["ldns.model"] == str(of_angle)
    assert run.data.tags["ldns.model_fingerprint"] == prints
    assert run.data.params["sampling.n"] == "3"
    card = read_card(tmp_path / "a")
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == (card.name, card.fingerprint)
    assert json.loads(entry.dataset.source) == {"uri": str(tmp_path / "a")}
    assert json.loads(entry.dataset.profile) == {"trials": 3, **card.provenance}
    assert f"fingerprint `{card.fingerprint}`" in run.data.tags["mlflow.note.content"]


def test_how_far_it_has_come_is_told_now_and_then(sampled, of_angle, monkeypatch, tmp_path):
    monkeypatch.setattr(sample, "SECONDS_BETWEEN_LINES", 0.0)
    out = sampled(of_angle, "--n", "1_300", "--n-steps", "1", "--out", tmp_path / "a")
    lines = [line for line in out.splitlines() if line.startswith("samples")]
    assert lines[0] == "samples      64 of 1,300 trials"
    assert re.fullmatch(r"samples      1,280 of 1,300 trials  [\d,]+/s  0 s left", lines[-2])
    assert lines[-1].startswith("samples      1,300 of 1,300 trials  ")


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("a.csv", "angle.0,angle.2\n1,2\n", [], "column 'angle.2' is not known"),
        ("a.csv", "angle.0,angle.1\n1,up\n", [], "line 2, column 'angle.1' must be a finite number, got 'up'"),
        ("a.csv", "angle.0,angle.1\n1,0\n", ["--split", "val"], "--split is for datasets"),
        ("a.csv", "angle.0,angle.1\n1,0\n", ["--lengths", "0"], "n_bins must be at least 1, got 0"),
        ("a.npz", "no archive", [], "not a .npz file"),
    ],
)  # fmt: skip
def test_bad_files_of_conditions_are_refused(
    refuses, of_angle, tmp_path, name, content, options, expected
):
    (tmp_path / name).write_text(content)
    command = ["sample", of_angle, "--out", tmp_path / "s", "--conditions", tmp_path / name]
    line = refuses(*command, *options)
    assert expected in line
    assert name in line or "n_bins" in line
    assert not (tmp_path / "s").exists()
    assert "No file" in refuses(*command[:-1], tmp_path / f"no-{name}")
