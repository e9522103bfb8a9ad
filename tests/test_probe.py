"""Scores of samples while the diffusion model trains: the evaluation's score of the network as it is, with Poisson spikes."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from ldns_ray import parts as parts_module
from ldns_ray import probe as probe_module
from ldns_ray.config import Hardware
from ldns_ray.data.shards import load_trialset
from ldns_ray.evaluation.score import realism
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.ldns import LDNS
from ldns_ray.parts import trained_denoiser
from ldns_ray.pipeline import Pipeline
from ldns_ray.probe import Probe, SampleScore
from ldns_ray.settings import override
from tests.pipelines import (
    Interrupted,
    Interrupting,
    copy_of,
    fresh,
    reaches,
    tiny_reach,
    watched,
    weights,
)
from tests.training.jobs import timeless

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = Probe((1, 3), n_trials=8, n_steps=3)


def denoiser_of(pipeline):
    """The trained denoiser, in evaluation mode."""
    return trained_denoiser(pipeline.uri("diffusion"))[0].eval()


def by_definition(pipeline, probe):
    """The score of the saved model's samples beside the validation trials."""
    model = LDNS.load(pipeline.model_uri)
    model.observation = None
    seed = pipeline.experiment.seed
    sampled = model.sample(probe.n_trials, sampler=probe.sampler, n_steps=probe.n_steps, seed=seed)
    real = load_trialset(pipeline.data_uri, "val").spikes_list()
    return realism(real, sampled.spikes, model.bin_width_s, seed=seed).score


@pytest.mark.parametrize(
    "probe", [FEW, replace(FEW, sampler="ddim", n_steps=4), replace(FEW, n_trials=3)]
)
def test_it_is_the_score_of_the_model_s_samples(trained, probe):
    assert SampleScore(probe, trained.parts)(denoiser_of(trained)) == by_definition(trained, probe)


def test_it_is_the_score_of_a_conditional_model_s_samples(tiny, tmp_path):
    pipeline = Pipeline(tiny_reach(tiny), reaches(tmp_path), str(tmp_path / "root"), probe=FEW)
    pipeline.run("observation")
    assert pipeline.experiment.observation.kind == "spike_history"
    score = SampleScore(FEW, pipeline.parts)(denoiser_of(pipeline))
    assert score == by_definition(pipeline, FEW)


def test_it_follows_from_what_the_diffusion_stage_is_made_of(trained):
    """Not from the settings of later stages, which other experiments with the same networks may differ in."""
    score = SampleScore(FEW, trained.parts)(denoiser_of(trained))
    later = override(trained.experiment, {
        "observation.kind": "spike_history", "sampling.seed": 3, "sampling.n_steps": 7, "sampling.n_trials": 5,
        "evaluation.seed": 4, "evaluation.n_splits": 3, "evaluation.split": "val",
    })  # fmt: skip
    other = replace(trained, experiment=later)
    assert other.fingerprints["diffusion"] == trained.fingerprints["diffusion"]
    assert SampleScore(FEW, other.parts)(denoiser_of(other)) == score
    untrained = Denoiser(**trained_denoiser(trained.uri("diffusion"))[1]).eval()
    assert SampleScore(FEW, trained.parts)(untrained) != score


def test_it_reads_where_it_is_called_and_once(trained, monkeypatch):
    """What travels are the settings and places; called again, it has the trials and the autoencoder."""
    sent = pickle.dumps(SampleScore(FEW, trained.parts))
    assert len(sent) < 5000
    score, denoiser = pickle.loads(sent), denoiser_of(trained)
    reads = []
    for module, name in ((probe_module, "load_trialset"), (parts_module, "read_weights")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, real=real, name=name: reads.append(name) or real(*args)
        )
    assert score(denoiser) == score(denoiser)
    assert reads == ["read_weights", "load_trialset"]


def test_the_network_stays_as_it_is(trained):
    denoiser = denoiser_of(trained)
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    SampleScore(FEW, trained.parts)(denoiser)
    for name, value in denoiser.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(p.grad is not None for p in denoiser.parameters())


def test_a_broken_network_has_no_score(trained):
    denoiser = denoiser_of(trained)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.fill_(np.nan)
    with pytest.raises(ValueError, match="lam"):
        SampleScore(FEW, trained.parts)(denoiser)


# -- In a pipeline


def test_training_is_the_same_with_and_without_scores(trained, tiny, tmp_path):
    pipeline, observer = watched(fresh(tiny, tmp_path), probe=FEW)
    pipeline.run("diffusion")
    assert pipeline.fingerprints == trained.fingerprints
    assert weights(pipeline, "diffusion") == weights(trained, "diffusion")
    rows = pipeline.history("diffusion")
    assert ["score" in row for row in rows] == [True, False, True]
    assert [{k: v for k, v in row.items() if k != "score"} for row in timeless(rows)] == timeless(
        trained.history("diffusion")
    )
    assert not any("score" in row for row in pipeline.history("autoencoder"))
    assert [(stage, [row["epoch"] for row in told]) for stage, told in observer.saved_rows] == [
        ("autoencoder", [1, 2, 3]),
        ("diffusion", [1]),
        ("diffusion", [2, 3]),
    ]
    assert [
        row for stage, told in observer.saved_rows if stage == "diffusion" for row in told
    ] == rows


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_workers_score_as_this_process_does(trained, tmp_path):
    here, there = (copy_of(trained, tmp_path / name)[0] for name in ("here", "there"))
    for pipeline in (here, there):
        shutil.rmtree(pipeline.uri("diffusion"))
    replace(here, probe=FEW).run("diffusion")
    on_workers, observer = watched(there, probe=FEW, hardware=Hardware(workers=1))
    on_workers.run("diffusion")
    expected = here.history("diffusion")
    told = [row for stage, rows in observer.saved_rows for row in rows]
    assert told == there.history("diffusion")
    assert ["score" in row for row in told] == [True, False, True]
    for row, other in zip(told, expected, strict=True):
        # The worker may add on several threads: another spike in a thousand, at most.
        assert row.get("score", 0) == pytest.approx(other.get("score", 0), rel=0.01)


def test_scores_outlive_an_interruption(tiny, tmp_path):
    """The score of an epoch before it is told again, the same, and the next is that of an uninterrupted training."""
    rarely = Hardware(workers=0, checkpoint_s=1e9)
    pipeline, first = watched(
        fresh(tiny, tmp_path), Interrupting("diffusion"), probe=FEW, hardware=rarely
    )
    with pytest.raises(Interrupted):
        pipeline.run("diffusion")
    again, second = watched(pipeline)
    again.run("diffusion")
    told = [rows for stage, rows in first.saved_rows + second.saved_rows if stage == "diffusion"]
    assert [[row["epoch"] for row in rows] for rows in told] == [[1], [1], [2, 3]]
    assert told[0] == told[1]
    assert again.history("diffusion") == told[1] + told[2]
    assert second.epochs == [("diffusion", 2), ("diffusion", 3)]


def test_no_score_without_two_validation_trials(trained):
    pipeline = replace(trained, probe=FEW)
    pipeline.check()
    pipeline.card = replace(
        trained.card, splits={**trained.card.splits, "val": {"n_trials": 1, "n_bins": 40}}
    )
    with pytest.raises(ValueError, match="need at least 2 val trials, got 1"):
        pipeline.check()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": (0, 5)}, r"probe\.epochs must be numbers of epochs, counted from 1, got \(0, 5\)"),
        ({"epochs": (5, 5)}, r"probe\.epochs must be free of repetitions"),
        ({"n_trials": 0}, r"probe\.n_trials must be at least 1, got 0"),
        ({"n_steps": 0}, r"probe\.n_steps must be at least 1"),
        ({"sampler": "heun"}, r"probe\.sampler must be ddpm, ddim, dpmpp_2m or dpmpp_2m_sde, got 'heun'"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Probe(**{"epochs": (1,), **wrong})
