"""A small conditional model, trained end to end within seconds, and whether its samples are what they were asked for."""

from dataclasses import replace

import numpy as np
import pytest

from ldns_ray import storage
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trials, load_trialset, write_dataset
from ldns_ray.evaluation.decoding.conditional import (
    conditional_metrics,
    decode_samples,
    format_conditional,
    sampled_labels,
)
from ldns_ray.evaluation.labels import split_labels
from ldns_ray.logged import evaluation_metrics
from ldns_ray.pipeline import Pipeline
from ldns_ray.settings import override, settings

N_BINS, N_UNITS, N_TARGETS = 20, 16, 4

SETTINGS = {
    "autoencoder.n_latents": 4,
    "autoencoder.smoothness_penalty": 0.05,
    "autoencoder.optimisation.epochs": 20,
    "autoencoder.optimisation.batch_size": 16,
    "autoencoder.optimisation.learning_rate": 8e-3,
    "diffusion.conditions": ("angle",),
    "diffusion.covariates": ("velocity",),
    "diffusion.width": 32,
    "diffusion.n_blocks": 2,
    "diffusion.optimisation.epochs": 50,
    "diffusion.optimisation.batch_size": 32,
    "diffusion.optimisation.learning_rate": 8e-3,
    "diffusion.optimisation.validate_every": 10,
    "diffusion.optimisation.warmup_epochs": 3,
    "sampling.n_trials": 96,
    "sampling.n_steps": 10,
    "evaluation.label": "target",
    "evaluation.decode_from_s": 0.1,
}


def reaches(folder):
    """Units tuned to the target from bin 5 on, and to a velocity that is drawn anew in every trial."""
    rng = np.random.default_rng(0)
    preferred = rng.uniform(0, 2 * np.pi, N_UNITS)
    loading = rng.normal(size=(2, N_UNITS))
    trials, time = [], np.arange(N_BINS)[:, None]
    for i in range(240):
        target = i % N_TARGETS
        angle = 2 * np.pi * target / N_TARGETS
        phase = rng.uniform(0, 2 * np.pi, 2)
        velocity = np.sin(2 * np.pi * time / 12 + phase)
        plan = 1.0 * np.cos(angle - preferred) * (time >= 5)
        rates = np.exp(0.5 + plan + 0.4 * velocity @ loading)
        trials.append(
            Trial(
                spikes=rng.poisson(rates).clip(max=255).astype(np.uint8),
                trial_id=f"{i:04d}",
                session="simulated",
                split="train" if i < 160 else "val" if i < 200 else "test",
                covariates={"velocity": velocity.astype(np.float32)},
                conditions={
                    "angle": np.array([np.cos(angle), np.sin(angle)], np.float32),
                    "target": np.array([target], np.float32),
                },
            )
        )
    uri = str(folder / "reaches")
    write_dataset(trials, uri, name="reaches", bin_width_s=0.02, source="simulated")
    return uri


@pytest.fixture(scope="module")
def asked(tiny, tmp_path_factory):
    """The experiment, done."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("conditional")
    e = override(replace(tiny, name="asked"), SETTINGS)
    pipeline = Pipeline(e, reaches(folder), str(folder / "root"))
    pipeline.run()
    torch.set_num_threads(before)
    return pipeline


@pytest.fixture(scope="module")
def sets(asked):
    """Training, held-out and sampled trials."""
    return asked.trials("train"), asked.trials("test"), load_trialset(asked.samples_uri)


def decoded_classes(sets, sampled):
    train, real, _ = sets
    return decode_samples(
        train, real, sampled, conditions=["angle"], label="target", labels=split_labels(train, real, "target"),
    ).classes  # fmt: skip


def test_samples_are_what_they_were_asked_for(asked):
    summary = asked.record("evaluation")["summary"]["conditional"]["LDNS"]
    classes, velocity = summary["classes"], summary["covariates"]["velocity"]
    assert classes["names"] == ["0", "1", "2", "3"]
    assert classes["chance"] == 0.25
    assert min(classes["accuracy_real"], classes["accuracy_sampled"]) > 0.9
    assert classes["ratio"] == classes["accuracy_sampled"] / classes["accuracy_real"]
    assert np.sum(classes["confusion_real"]) == 40
    assert np.sum(classes["confusion_sampled"]) == 96
    assert velocity["real"]["r2"] > 0.2
    assert velocity["ratio"] > 0.7
    angle = summary["angles"]["angle"]
    assert max(angle["error_real"], angle["error_sampled"]) < 20


def test_every_score_lies_in_its_interval(asked):
    """As read back from JSON; 96 sampled trials tell the R² more closely than 40 real ones."""
    summary = asked.record("evaluation")["summary"]["conditional"]["LDNS"]
    velocity, classes = summary["covariates"]["velocity"], summary["classes"]
    angle = summary["angles"]["angle"]
    for scores, name in [
        (velocity["real"], "r2"), (velocity["sampled"], "r2"), (velocity, "ratio"),
        (classes, "accuracy_real"), (classes, "accuracy_sampled"), (classes, "ratio"),
        (angle, "error_real"), (angle, "error_sampled"),
    ]:  # fmt: skip
        low, high = scores[f"{name}_interval"]
        assert low <= scores[name] <= high
    widths = {side: np.ptp(velocity[side]["r2_interval"]) for side in ("real", "sampled")}
    assert 0 < widths["sampled"] < widths["real"] < 0.3


def test_other_requests_are_not_what_was_sampled(sets):
    """The same spikes beside shuffled requests: what is decoded is what the model was told, and nothing else."""
    sampled = sets[2]
    assert decoded_classes(sets, sampled).accuracy_sampled > 0.9
    order = np.random.default_rng(0).permutation(len(sampled))
    shuffled = replace(sampled, conditions={"angle": sampled.conditions["angle"][order]})
    classes = decoded_classes(sets, shuffled)
    assert classes.accuracy_real > 0.9
    assert classes.accuracy_sampled < 0.45


def test_the_class_is_that_of_the_nearest_training_angle(sets):
    train, _, sampled = sets
    labels = train.conditions["target"][:, 0].astype(int)
    angle = np.deg2rad([10, 80, 200, 300, 350])
    between = replace(
        sampled.subset(range(5)),
        conditions={"angle": np.stack([np.cos(angle), np.sin(angle)], 1), "target": np.full((5, 1), 3.0)},
    )  # fmt: skip
    assert sampled_labels(train, labels, between, ["angle"]).tolist() == [0, 1, 2, 3, 0]
    assert sampled_labels(train, labels, between, ["angle", "target"], "target").tolist() == [3] * 5


def test_requests_that_do_not_tell_the_class(sets):
    train, _, sampled = sets
    labels = train.conditions["target"][:, 0].astype(int)
    assert sampled_labels(train, labels, sampled, []) is None
    # Two targets share an angle.
    assert sampled_labels(train, np.arange(len(train)) % 8, sampled, ["angle"]) is None
    strange = replace(sampled, conditions={"target": np.full((96, 1), 7.0)})
    with pytest.raises(ValueError, match=r"asked for target \[7.0\], which no training trial has"):
        sampled_labels(train, labels, strange, ["target"], "target")


def test_nothing_is_decoded_of_an_unconditional_model(sets, trained):
    labels = split_labels(*sets[:2], "target")
    assert not decode_samples(*sets, label="target", labels=labels)
    assert trained.record("evaluation")["summary"]["conditional"] == {}


def test_angles_without_classes(sets):
    """Angles that differ from trial to trial belong to no class."""
    decoded = decode_samples(*sets, conditions=["angle"])
    assert decoded.classes is None
    assert decoded.angles["angle"].error_sampled < 20
    summary = decoded.summary()
    assert format_conditional(summary).startswith("Conditions decoded: angle ")
    assert conditional_metrics(summary) == {}


def test_numbers_are_logged_and_pictures_drawn(asked):
    summary = asked.record("evaluation")["summary"]
    numbers = evaluation_metrics(summary)
    velocity, classes = (summary["conditional"]["LDNS"][k] for k in ("covariates", "classes"))
    assert {k: v for k, v in numbers.items() if k.startswith("conditional/")} == {
        "conditional/r2_real": velocity["velocity"]["real"]["r2"],
        "conditional/r2_sampled": velocity["velocity"]["sampled"]["r2"],
        "conditional/accuracy_real": classes["accuracy_real"],
        "conditional/accuracy_sampled": classes["accuracy_sampled"],
    }
    for name in ("decoded_velocity", "decoded_classes", "decoded_angle"):
        assert name in summary["plots"]
        image = storage.read_bytes(asked.uri("evaluation", "plots", f"{name}.png"))
        assert image.startswith(b"\x89PNG")


def test_counts_begin_inside_the_trial(asked):
    late = replace(asked, experiment=override(asked.experiment, {"evaluation.decode_from_s": 0.4}))
    with pytest.raises(ValueError, match=r"decode_from_s must be below the shortest trial, 0.4 s"):
        late.run()


# -- The jobs


def test_training_says_it(job, asked, tracking_uri):
    settings_ = {**settings(asked.experiment)}
    changed = [
        f"{k}={','.join(v) if isinstance(v, tuple) else v}" for k, v in settings_.items() if k != "name"
    ]  # fmt: skip
    code, out, err = job(
        "train", "speech_small", *changed, "--workers", "0", "--data", asked.data_uri,
        "--root", asked.root, "--tracking-uri", tracking_uri,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.count("already done") == 6
    assert format_conditional(asked.record("evaluation")["summary"]["conditional"]["LDNS"]) in out


@pytest.mark.parametrize(
    ("options", "said", "picture"),
    [
        (["velocity"], "Conditions decoded: velocity R²", "decoded_velocity"),
        (["target", "--decode-from", "0.1"], "Conditions decoded: class of 4", "decoded_classes"),
    ],
)
def test_evaluate_says_it_of_any_dataset(
    job, asked, tracking_uri, tmp_path, options, said, picture
):
    code, out, err = job(
        "evaluate", asked.data_uri, asked.samples_uri, "--splits", "2", "--tracking-uri", tracking_uri,
        "--root", tmp_path, "--resamples", "0", "--decode", *options,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert f"dataset: {said}" in out
    assert ("from smoothed counts" in out) == (options == ["velocity"])
    (folder,) = (tmp_path / "comparisons").iterdir()
    assert (folder / "plots" / f"{picture}.png").is_file()


def test_what_cannot_be_decoded_is_refused(refuses, asked, trained, tracking_uri, tmp_path):
    options = ["--tracking-uri", tracking_uri, "--root", tmp_path, "--decode"]
    command = ["evaluate", asked.data_uri, asked.samples_uri, *options]
    assert "no covariate or condition 'speed'. Known: angle, target, velocity." in refuses(*command, "speed")  # fmt: skip
    assert "needs train trials" in refuses(*command, "target", "--split", "train")
    write_dataset(
        [replace(t, conditions={}, covariates={}) for t in load_trials(asked.samples_uri)],
        str(tmp_path / "bare"), name="bare", bin_width_s=0.02, source="simulated", unit_names=asked.card.unit_names,
    )  # fmt: skip
    command[2] = tmp_path / "bare"
    assert "does not say which target its trials were sampled for" in refuses(*command, "target")
    assert "does not say which velocity its trials were sampled for" in refuses(
        *command, "velocity"
    )
