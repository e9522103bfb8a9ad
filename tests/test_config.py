"""Settings: named experiments, overrides, messages, and fingerprints that follow the values alone."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldns_ray.config import (
    EXPERIMENTS,
    Autoencoder,
    Dataset,
    Diffusion,
    Evaluation,
    Experiment,
    Hardware,
    Observation,
    Optimisation,
    Sampling,
    experiment,
)
from ldns_ray.settings import (
    did_you_mean,
    fingerprint,
    from_dict,
    override,
    parse_overrides,
    settings,
    to_dict,
)

every_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


# -- Experiments


@every_experiment
def test_experiments_carry_their_name_and_survive_json(name):
    made = experiment(name)
    assert made.name == name
    plain = json.loads(json.dumps(to_dict(made)))
    assert from_dict(Experiment, plain) == made
    assert fingerprint(from_dict(Experiment, plain)) == fingerprint(made)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lorenz", (256, 4, 8, True, 0.2, 0.01, 0.01, 200, 512, 64, 4, 1000, 512)),
        ("speech", (256, 6, 32, False, 0.2, 0.001, 0.02, 400, 256, 384, 6, 2000, 256)),
        ("reach", (256, 4, 16, False, 0.5, 0.001, 0.2, 260, 64, 256, 6, 2000, 512)),
    ],
)
def test_settings_of_the_paper(name, expected):
    e = experiment(name)
    a, d = e.autoencoder, e.diffusion
    got = (
        a.width, a.n_blocks, a.n_latents, a.bidirectional, a.dropout, a.latent_penalty, a.smoothness_penalty,
        a.optimisation.epochs, a.optimisation.batch_size, d.width, d.n_blocks, d.optimisation.epochs,
        d.optimisation.batch_size,
    )  # fmt: skip
    assert got == expected
    assert (a.optimisation.clip_norm, d.optimisation.clip_norm) == (2.0, 1.0)
    assert (d.n_steps, d.beta_start, d.beta_end, e.seed) == (1000, 1e-4, 0.02, 42)


def test_variants_differ_from_their_base_where_they_say():
    reach, angle, velocity = (experiment(f"reach{v}") for v in ("", "_angle", "_velocity"))
    for variant in (angle, velocity):
        assert variant.autoencoder == reach.autoencoder
        assert variant.observation == reach.observation
    assert (angle.diffusion.conditions, angle.diffusion.covariates) == (("angle",), ())
    assert (velocity.diffusion.conditions, velocity.diffusion.covariates) == ((), ("velocity",))


def test_unknown_experiment_names_close_ones():
    with pytest.raises(ValueError, match=r"Unknown experiment 'speach'. Did you mean speech"):
        experiment("speach")
    with pytest.raises(
        ValueError, match=r"Unknown experiment 'zzz'. Known: lorenz, lorenz_small, "
    ):
        experiment("zzz")


# -- Overrides


def test_overrides_reach_every_level_and_leave_the_rest():
    base = experiment("speech_small")
    changes = {
        "autoencoder.width": 128,
        "diffusion.optimisation.epochs": "7",
        "seed": "1e3",
        "autoencoder.bidirectional": "yes",
        "diffusion.conditions": "angle, length",
        "sampling.sampler": "ddpm",
        "diffusion.ema_decay": "0.5",
    }
    got = override(base, changes)
    flat, before = settings(got), settings(base)
    expected = before | {
        "autoencoder.width": 128,
        "diffusion.optimisation.epochs": 7,
        "seed": 1000,
        "autoencoder.bidirectional": True,
        "diffusion.conditions": ("angle", "length"),
        "sampling.sampler": "ddpm",
        "diffusion.ema_decay": 0.5,
    }
    assert flat == expected
    assert {type(flat[k]) for k in ("autoencoder.width", "seed")} == {int}
    assert experiment("speech_small", **changes) == got
    assert override(base, {}) == base
    assert before == settings(base)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("autoencoder.bidirectional", "False", False),
        ("autoencoder.bidirectional", 0, False),
        ("diffusion.conditions", "", ()),
        ("diffusion.conditions", ["length"], ("length",)),
        ("diffusion.optimisation.warmup_epochs", 3, 3.0),
        ("autoencoder.n_latents", 4.0, 4),
        # Beyond 2^53 floats skip integers.
        ("seed", str(2**47 + 1), 2**47 + 1),
        ("name", "mine", "mine"),
    ],
)
def test_values_become_the_type_of_the_setting(name, value, expected):
    got = settings(experiment("speech", **{name: value}))[name]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("autoencoder.width", "wide", "autoencoder.width must be of type int, got 'wide'"),
        ("autoencoder.width", 1.5, "autoencoder.width must be of type int, got 1.5"),
        ("autoencoder.width", True, "autoencoder.width must be of type int, got True"),
        ("autoencoder.width", "inf", "autoencoder.width must be of type int, got 'inf'"),
        ("autoencoder.width", "nan", "autoencoder.width must be of type int, got 'nan'"),
        ("autoencoder.width", None, "autoencoder.width must be of type int, got None"),
        ("autoencoder.dropout", "x", "autoencoder.dropout must be of type float, got 'x'"),
        ("autoencoder.dropout", False, "autoencoder.dropout must be of type float, got False"),
        ("autoencoder.dropout", "nan", r"autoencoder.dropout must be in \(0, 1\), got nan"),
        ("autoencoder.bidirectional", "maybe", "must be of type bool, got 'maybe'"),
        ("autoencoder.bidirectional", 2, "must be of type bool, got 2"),
        ("diffusion.loss", "l3", "diffusion.loss must be one of 'smooth_l1', 'mse', got 'l3'"),
        (
            "diffusion.conditions",
            5,
            "diffusion.conditions must be names separated by commas, got 5",
        ),
        (
            "autoencoder.widht",
            5,
            "Unknown setting 'autoencoder.widht'. Did you mean autoencoder.width",
        ),
        ("epochs", 5, r"Did you mean .*autoencoder.optimisation.epochs"),
        ("autoencoder", 5, "Unknown setting 'autoencoder'"),
        ("zzz", 5, "Known: autoencoder.bidirectional, "),
    ],
)
def test_refused_overrides(name, value, message):
    with pytest.raises(ValueError, match=message):
        experiment("speech", **{name: value})


def test_words_of_a_command_line():
    words = ["autoencoder.width=64", "--name=a=b", "diffusion.conditions="]
    assert parse_overrides(words) == {
        "autoencoder.width": "64",
        "name": "a=b",
        "diffusion.conditions": "",
    }
    for word in ("autoencoder.width", "=3", ""):
        with pytest.raises(ValueError, match=r"name=value, got .*Example: autoencoder.width=64"):
            parse_overrides([word])


def test_close_names():
    assert did_you_mean("widht", ["width", "depth"]) == "Did you mean width?"
    assert did_you_mean("q", ["b", "a"]) == "Known: a, b."
    # By the last word alone.
    assert "model.encoder.epochs" in did_you_mean("epochs", ["model.encoder.epochs", "seed"])


# -- Ranges


RANGES = [
    (Dataset, {"simulator": "rossler"}, "dataset.simulator must be lorenz or speech, got 'rossler'"),
    (Dataset, {"simulator": "lorenz", "n_trials": 9}, "dataset.n_trials must be at least 10, got 9"),
    (Dataset, {"simulator": "lorenz", "n_trials": 10, "n_units": 0}, "dataset.n_units must be at least 1"),
    (
        Dataset,
        {"simulator": "lorenz", "n_trials": 10, "min_bins": 9, "max_bins": 8},
        r"dataset.min_bins must be in \[1, max_bins=8\], got 9",
    ),
    (Dataset, {"seed": -1}, r"dataset.seed must be in \[0, 2\^48\), got -1"),
    (Optimisation, {"epochs": 0}, "epochs must be at least 1, got 0"),
    (Optimisation, {"batch_size": 0}, "batch_size must be at least 1"),
    (Optimisation, {"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
    (Optimisation, {"weight_decay": -0.1}, "weight_decay must be non-negative"),
    (Optimisation, {"warmup_epochs": -1}, "warmup_epochs must be non-negative"),
    (Optimisation, {"cosine_stretch": 0.9}, "cosine_stretch must be at least 1, got 0.9"),
    (Optimisation, {"clip_norm": 0}, "clip_norm must be positive"),
    (Optimisation, {"patience": -1}, "patience must be non-negative"),
    (Optimisation, {"validate_every": 0}, "validate_every must be at least 1"),
    (Autoencoder, {"n_latents": 0}, "autoencoder.n_latents must be at least 1"),
    (Autoencoder, {"width": 0}, "autoencoder.width must be at least 1"),
    (Autoencoder, {"n_blocks": 0}, "autoencoder.n_blocks must be at least 1"),
    (Autoencoder, {"smoothness_lags": 0}, "autoencoder.smoothness_lags must be at least 1"),
    (Autoencoder, {"n_decoder_blocks": -1}, "autoencoder.n_decoder_blocks must be non-negative"),
    (Autoencoder, {"dropout": 0.0}, r"autoencoder.dropout must be in \(0, 1\), got 0.0"),
    (Autoencoder, {"dropout": 1.0}, r"autoencoder.dropout must be in \(0, 1\), got 1.0"),
    (Autoencoder, {"latent_penalty": -1}, "autoencoder.latent_penalty must be non-negative"),
    (Autoencoder, {"smoothness_penalty": -1}, "autoencoder.smoothness_penalty must be non-negative"),
    (Diffusion, {"width": 6}, "diffusion.width must be a multiple of 4, got 6"),
    (Diffusion, {"n_blocks": 0}, "diffusion.n_blocks must be at least 1"),
    (Diffusion, {"n_steps": 1}, "diffusion.n_steps must be at least 2"),
    (Diffusion, {"beta_start": 0.03}, r"diffusion.beta_start must be in \(0, beta_end=0.02\], got 0.03"),
    (Diffusion, {"beta_end": 1.0}, "diffusion.beta_start must be"),
    (Diffusion, {"loss": "l3"}, "diffusion.loss must be smooth_l1 or mse"),
    (Diffusion, {"smooth_l1_beta": 0}, "diffusion.smooth_l1_beta must be positive"),
    (Diffusion, {"ema_decay": 1.0}, r"diffusion.ema_decay must be in \[0, 1\)"),
    (Diffusion, {"head_gain": 0}, "diffusion.head_gain must be positive"),
    (Diffusion, {"latent_clip": -1}, "diffusion.latent_clip must be non-negative"),
    (Diffusion, {"condition_dropout": -0.1}, r"diffusion.condition_dropout must be in \[0, 1\), got -0.1"),
    (Diffusion, {"condition_dropout": 1.0}, r"diffusion.condition_dropout must be in \[0, 1\), got 1.0"),
    (Diffusion, {"condition_dropout": math.nan}, "diffusion.condition_dropout must be"),
    (Diffusion, {"conditions": ("a", "a")}, "diffusion.conditions must be free of repetitions"),
    (Diffusion, {"covariates": ("a", "a")}, "diffusion.covariates must be free of repetitions"),
    (Observation, {"kind": "gaussian"}, "observation.kind must be poisson or spike_history"),
    (Observation, {"history_bins": 0}, "observation.history_bins must be at least 1"),
    (Observation, {"count_cap": 0}, r"observation.count_cap must be in \[1, 255\], got 0"),
    (Observation, {"count_cap": 256}, r"observation.count_cap must be in \[1, 255\], got 256"),
    (Sampling, {"n_trials": -1}, "sampling.n_trials must be non-negative"),
    (Sampling, {"sampler": "euler"}, "sampling.sampler must be ddpm, ddim or dpmpp_2m, got 'euler'"),
    (Sampling, {"guidance": -1.0}, "sampling.guidance must be finite and non-negative, got -1.0"),
    (Sampling, {"guidance": math.inf}, "sampling.guidance must be finite"),
    (Sampling, {"guidance": math.nan}, "sampling.guidance must be finite"),
    (Sampling, {"n_steps": 0}, "sampling.n_steps must be at least 1"),
    (Sampling, {"seed": -1}, r"sampling.seed must be in \[0, 2\^48\)"),
    (Evaluation, {"split": "all"}, "evaluation.split must be train, val or test, got 'all'"),
    (Evaluation, {"n_splits": 0}, "evaluation.n_splits must be at least 1"),
    (Evaluation, {"seed": 2**48}, r"evaluation.seed must be in \[0, 2\^48\)"),
    (Experiment, {"name": "x", "seed": -1}, r"seed must be in \[0, 2\^48\), got -1"),
    (Hardware, {"workers": -1}, "hardware.workers must be non-negative, got -1"),
    (Hardware, {"gpus_per_worker": -1}, "hardware.gpus_per_worker must be non-negative"),
    (Hardware, {"cpus_per_worker": -1}, "hardware.cpus_per_worker must be non-negative"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "message"), RANGES)
def test_ranges(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"diffusion.condition_dropout": 0.1},
        {"diffusion.condition_dropout": 0.1, "diffusion.conditions": "length"},
        {"diffusion.conditions": "angle"},
    ],
    ids=str,
)
def test_guidance_needs_dropped_conditions(changes):
    with pytest.raises(
        ValueError,
        match=r"sampling.guidance must be 1 without diffusion.condition_dropout .*got 2.0",
    ):
        experiment("speech", **{"diffusion.conditions": "", "sampling.guidance": 2, **changes})
    experiment("speech", **{"diffusion.conditions": "", **changes})


@pytest.mark.parametrize("name", ["reach_angle", "reach_velocity"])
def test_conditional_experiments_can_be_guided(name):
    for variant in (name, f"{name}_small"):
        assert experiment(variant).diffusion.condition_dropout == 0.1
        assert experiment(variant, **{"sampling.guidance": 2}).sampling.guidance == 2
    assert experiment("reach").diffusion.condition_dropout == 0


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment("speech").seed = 3


@pytest.mark.parametrize("name", ["speech", "reach_angle_small"])
def test_every_setting_is_documented(name):
    source = (Path(__file__).parents[1] / "ldns_ray" / "sections.py").read_text()
    lines = [line.strip() for line in source.splitlines()]
    for setting in settings(experiment(name)):
        field = setting.rpartition(".")[2]
        starts = [i for i, line in enumerate(lines) if line.startswith(f"{field}: ")]
        assert starts, setting
        assert all(lines[i + 1].startswith('"""') for i in starts), setting


# -- Plain form


def test_unknown_field_of_a_plain_form():
    plain = to_dict(experiment("speech"))
    plain["autoencoder"]["widht"] = 3
    with pytest.raises(
        ValueError, match="Unknown field 'widht' of Autoencoder. Did you mean width"
    ):
        from_dict(Experiment, plain)


def test_plain_form_without_a_field_takes_its_default():
    plain = to_dict(experiment("speech"))
    del plain["autoencoder"]["optimisation"]
    assert from_dict(Experiment, plain).autoencoder.optimisation == Autoencoder().optimisation


# -- Fingerprint


def changed(value):
    """Another value of the same type, in the range of every setting."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 4
    if isinstance(value, float):
        return value * 0.75 + 0.004 if value < 1 else value * 1.5
    if isinstance(value, tuple):
        return (*value, "more")
    others = {
        "lorenz": "speech",
        "speech": "lorenz",
        "smooth_l1": "mse",
        "mse": "smooth_l1",
        "poisson": "spike_history",
        "dpmpp_2m": "ddpm",
        "test": "val",
    }
    return others.get(value, value + "x")


def test_every_setting_changes_the_fingerprint():
    # With what guidance needs.
    needed = {"diffusion.conditions": "angle", "diffusion.condition_dropout": 0.1}
    base = override(experiment("lorenz_small"), {"name": "base", **needed})
    prints = {fingerprint(base)}
    flat = settings(base)
    for name, value in flat.items():
        value = 300 if name == "dataset.max_bins" else changed(value)
        value = 100 if name == "dataset.min_bins" else value
        prints.add(fingerprint(override(base, {name: value})))
    assert len(prints) == len(flat) + 1


def test_fingerprint_is_the_same_in_another_process():
    """Whatever the seed of hashing there."""
    here = [fingerprint(experiment(name)) for name in EXPERIMENTS]
    program = (
        "from ldns_ray.config import EXPERIMENTS, experiment\n"
        "from ldns_ray.settings import fingerprint\n"
        "print(*(fingerprint(experiment(name)) for name in EXPERIMENTS))"
    )
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.split() == here
    assert len(set(here)) == len(here)
    assert all(len(digits) == 16 and int(digits, 16) >= 0 for digits in here)


def test_fingerprint_of_several_parts():
    e = experiment("lorenz")
    assert fingerprint(e.autoencoder, 1) != fingerprint(e.autoencoder, 2)
    assert fingerprint(e.autoencoder, 1) != fingerprint(1, e.autoencoder)
    assert fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    assert fingerprint(1) != fingerprint("1")
    assert fingerprint(1) != fingerprint(True)


def test_equal_configs_have_equal_fingerprints():
    """`warmup_epochs` is a float that is mostly written, and overridden, as an integer."""
    written = Optimisation(warmup_epochs=10)
    read = from_dict(Optimisation, {"warmup_epochs": "10"})
    assert isinstance(read.warmup_epochs, float)
    assert written == read
    assert fingerprint(written) == fingerprint(read)
    base = experiment("lorenz")
    same = override(base, {name: value for name, value in settings(base).items()})
    assert fingerprint(same) == fingerprint(base)


@given(st.integers(0, 2**48 - 1))
def test_seeds_survive_the_command_line(seed):
    assert experiment("lorenz", seed=str(seed)).seed == seed
