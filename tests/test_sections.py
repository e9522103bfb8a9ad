"""What settings may be: ranges, and the message that tells of each."""

import dataclasses
import math
from pathlib import Path

import pytest

from ldns_ray.config import (
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
from ldns_ray.settings import settings

RANGES = [
    (Dataset, {"simulator": "rossler"}, "dataset.simulator must be lorenz, speech or reach, got 'rossler'"),
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
    (Sampling, {"sampler": "euler"}, "sampling.sampler must be ddpm, ddim, dpmpp_2m or dpmpp_2m_sde, got 'euler'"),
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
