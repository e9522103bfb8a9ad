"""What is trained, sampled and evaluated for a result, once."""

import contextlib

import numpy as np
import pytest

from ldns_ray.config import Hardware
from ldns_ray.data.conditions import TrialConditions
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.plots.style import new_figure
from ldns_ray.reproduction.maker import Maker, asked_of, picture, save_picture
from ldns_ray.reproduction.steps import Steps
from tests.pipelines import Recorder, copy_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def maker(trained, tmp_path):
    copy, _ = copy_of(trained, tmp_path / "root")
    recorder = Recorder()

    @contextlib.contextmanager
    def watch(pipeline, name):
        yield recorder

    maker = Maker(copy.root, Hardware(workers=0), Steps(copy.root, print), watch, "command")
    return maker, recorder


def test_what_is_trained_is_found(maker, trained):
    maker, recorder = maker
    pipeline = maker.trained(trained.experiment, trained.data_uri, "speech")
    assert recorder.started == []
    assert len(recorder.reused) == 6
    assert maker.durations().keys() == set(recorder.reused)
    assert pipeline.fingerprints == trained.fingerprints


def test_samples_are_as_they_were_asked_for(maker, trained, capsys):
    maker, _ = maker
    pipeline = maker.trained(trained.experiment, trained.data_uri, "speech")
    lengths = np.array([20, 35, 50])
    asked = TrialConditions(lengths, {}, {})
    uri = maker.sampled(pipeline, "three", 3, asked, seed=4)
    assert load_trialset(uri).n_bins_S.tolist() == [20, 35, 50]
    card = read_card(uri)
    assert (card.provenance["seed"], card.provenance["n_steps"]) == (4, 4)
    assert maker.sampled(pipeline, "three", 3, asked, seed=4) == uri
    assert "samples, three: already done" in capsys.readouterr().out
    others = [
        maker.sampled(pipeline, "three", 3, TrialConditions(lengths + 1, {}, {}), seed=4),
        maker.sampled(pipeline, "three", 3, asked, seed=5),
        maker.sampled(pipeline, "three", 3, seed=4),
    ]
    assert len({uri, *others}) == 4
    assert set(maker.durations()) >= {"samples", "autoencoder"}


def test_evaluations_are_those_of_their_samples(maker, trained):
    maker, _ = maker
    pipeline = maker.trained(trained.experiment, trained.data_uri, "speech")
    other = maker.sampled(pipeline, "others", 9, seed=1)
    found = maker.evaluated(pipeline, {"LDNS": pipeline.samples_uri, "others": other})
    assert found.summary["rows"][0] == trained.record("evaluation")["summary"]["rows"][0]
    assert maker.evaluated(pipeline, {"others": other}).uri != found.uri


def test_trials_ask_for_what_they_had(trained):
    asked = asked_of(trained, "test")
    real = load_trialset(trained.data_uri, "test")
    assert asked.n_bins.tolist() == real.n_bins_S.tolist()
    assert (asked.conditions, asked.covariates) == ({}, {})
    some = asked_of(trained, "test", np.array([1]))
    assert some.n_bins.tolist() == [real.n_bins_S[1]]


def test_pictures_are_found_by_their_names(tmp_path):
    save_picture(str(tmp_path), "a", new_figure(1, 1, (1, 1))[0])
    (where,) = picture(str(tmp_path), "a").values()
    with open(where, "rb") as file:
        assert file.read(4) == b"\x89PNG"
