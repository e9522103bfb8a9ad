"""Settings by name: overrides, plain form, and fingerprints that follow the values alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldns_ray.config import EXPERIMENTS, Autoencoder, Experiment, Optimisation, experiment
from ldns_ray.settings import (
    did_you_mean,
    fingerprint,
    from_dict,
    override,
    parse_overrides,
    settings,
    to_dict,
)

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
        "dpmpp_2m_sde": "ddpm",
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
