"""Every setting of an experiment: its sections, and the named experiments.

An experiment is a value. Variants derive from it with `dataclasses.replace` or with dotted overrides
(`experiment("speech_small", **{"autoencoder.width": 64})`), and what a stage's output is called on
disk follows from the settings alone. Hardware, paths and worker counts are not settings.

The paper's hyper-parameters are those of Kapoor, Schulz et al., "Latent Diffusion for Neural Spiking
Data", NeurIPS 2024 (arXiv 2407.08751).
"""

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ldns_ray.sections import (
    Autoencoder,
    Dataset,
    Diffusion,
    Evaluation,
    Experiment,
    Hardware,
    Observation,
    Optimisation,
    Reading,
    SamplerName,
    Sampling,
)
from ldns_ray.settings import as_word, did_you_mean, override, settings

__all__ = [
    "EXPERIMENTS",
    "Autoencoder",
    "Dataset",
    "Diffusion",
    "Evaluation",
    "Experiment",
    "Hardware",
    "Observation",
    "Optimisation",
    "Reading",
    "SamplerName",
    "Sampling",
    "changes",
    "command",
    "experiment",
]


def lorenz() -> Experiment:
    """The paper's Lorenz system: 128 units driven by a three-dimensional chaotic attractor."""
    return Experiment(
        name="lorenz",
        dataset=Dataset("lorenz", n_trials=5000, n_units=128, min_bins=256, max_bins=256),
        autoencoder=Autoencoder(n_latents=8, width=256, n_blocks=4, bidirectional=True, dropout=0.2,
                                latent_penalty=0.01, smoothness_penalty=0.01,
                                optimisation=Optimisation(epochs=200, batch_size=512, warmup_epochs=10)),
        diffusion=Diffusion(width=64, n_blocks=4, loss="mse", latent_clip=5.0,
                            optimisation=Optimisation(epochs=1000, batch_size=512, warmup_epochs=50, clip_norm=1.0)),
    )  # fmt: skip


def speech() -> Experiment:
    """Variable-length human speech recordings (or their simulation): the paper's settings."""
    return Experiment(
        name="speech",
        dataset=Dataset("speech", n_trials=9270, n_units=128, min_bins=100, max_bins=512),
        autoencoder=Autoencoder(n_latents=32, width=256, n_blocks=6, bidirectional=False, dropout=0.2,
                                latent_penalty=0.001, smoothness_penalty=0.02,
                                optimisation=Optimisation(epochs=400, batch_size=256, warmup_epochs=20, cosine_stretch=1.5)),
        diffusion=Diffusion(width=384, n_blocks=6, loss="smooth_l1", smooth_l1_beta=0.04, ema_warmup=False,
                            head_gain=0.1, conditions=("length",),
                            optimisation=Optimisation(epochs=2000, batch_size=256, warmup_epochs=100, clip_norm=1.0)),
    )  # fmt: skip


def reach() -> Experiment:
    """Monkey reaches, unconditional: the paper's settings with spike history."""
    return Experiment(
        name="reach",
        autoencoder=Autoencoder(n_latents=16, width=256, n_blocks=4, bidirectional=False, dropout=0.5,
                                latent_penalty=0.001, smoothness_penalty=0.2,
                                optimisation=Optimisation(epochs=260, batch_size=64, warmup_epochs=10, cosine_stretch=1.1)),
        diffusion=Diffusion(width=256, n_blocks=6, loss="smooth_l1", smooth_l1_beta=0.04, head_gain=0.1,
                            optimisation=Optimisation(epochs=2000, batch_size=512, warmup_epochs=50, clip_norm=1.0)),
        observation=Observation("spike_history"),
    )  # fmt: skip


def reach_angle() -> Experiment:
    """Monkey reaches given the reach angle, as the condition `angle` = (cos, sin).

    The paper drops no conditions; here a tenth is, so that samples can be guided.
    """
    base = reach()
    diffusion = replace(
        base.diffusion, smooth_l1_beta=0.05, conditions=("angle",), condition_dropout=0.1
    )
    return replace(base, name="reach_angle", diffusion=diffusion)


def reach_velocity() -> Experiment:
    """Monkey reaches given the hand velocity, as the per-bin covariate `velocity`.

    The paper drops no covariates; here a tenth is, so that samples can be guided.
    """
    base = reach()
    diffusion = replace(
        base.diffusion, smooth_l1_beta=0.05, covariates=("velocity",), condition_dropout=0.1
    )
    return replace(base, name="reach_velocity", diffusion=diffusion)


def lorenz_small() -> Experiment:
    """Lorenz in minutes on two CPU cores."""
    base = lorenz()
    return replace(
        base,
        name="lorenz_small",
        dataset=replace(base.dataset, n_trials=400, n_units=64, min_bins=128, max_bins=128),
        autoencoder=replace(base.autoencoder, width=64, n_blocks=2,
                            optimisation=Optimisation(epochs=80, batch_size=32, warmup_epochs=5, learning_rate=4e-3)),
        diffusion=replace(base.diffusion, n_blocks=3,
                          optimisation=Optimisation(epochs=300, batch_size=64, warmup_epochs=10, learning_rate=4e-3, clip_norm=1.0, validate_every=10)),
    )  # fmt: skip


def speech_small() -> Experiment:
    """Simulated speech in minutes on two CPU cores."""
    base = speech()
    return replace(
        base,
        name="speech_small",
        dataset=replace(base.dataset, n_trials=160),
        autoencoder=replace(base.autoencoder, n_latents=16, width=64, n_blocks=2,
                            optimisation=Optimisation(epochs=30, batch_size=16, warmup_epochs=2, learning_rate=4e-3)),
        diffusion=replace(base.diffusion, width=64, n_blocks=3, ema_warmup=True,
                          optimisation=Optimisation(epochs=120, batch_size=32, warmup_epochs=5, learning_rate=4e-3, clip_norm=1.0, validate_every=10)),
    )  # fmt: skip


def reach_small() -> Experiment:
    """Monkey reaches in half an hour on two CPU cores."""
    base = reach()
    return replace(
        base,
        name="reach_small",
        autoencoder=replace(base.autoencoder, width=64,
                            optimisation=Optimisation(epochs=100, batch_size=32, warmup_epochs=5, learning_rate=4e-3, cosine_stretch=1.1)),
        diffusion=replace(base.diffusion, width=64, n_blocks=4,
                          optimisation=Optimisation(epochs=400, batch_size=64, warmup_epochs=5, learning_rate=4e-3, clip_norm=1.0, validate_every=10)),
    )  # fmt: skip


def reach_angle_small() -> Experiment:
    """Reaches given the angle, a tenth of them dropped, in half an hour on two CPU cores."""
    base = reach_small()
    diffusion = replace(
        base.diffusion, smooth_l1_beta=0.05, conditions=("angle",), condition_dropout=0.1
    )
    return replace(base, name="reach_angle_small", diffusion=diffusion)


def reach_velocity_small() -> Experiment:
    """Reaches given the hand velocity, a tenth of them dropped, in half an hour on two CPU cores."""
    base = reach_small()
    diffusion = replace(
        base.diffusion, smooth_l1_beta=0.05, covariates=("velocity",), condition_dropout=0.1
    )
    return replace(base, name="reach_velocity_small", diffusion=diffusion)


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    f.__name__: f
    for f in (lorenz, speech, reach, reach_angle, reach_velocity,
              lorenz_small, speech_small, reach_small, reach_angle_small, reach_velocity_small)
}  # fmt: skip


def experiment(name: str, /, **overrides: Any) -> Experiment:
    """The experiment of this name, with dotted settings overridden.

    `experiment("speech_small", **{"autoencoder.width": 128, "seed": 1})`. Raises ValueError for an
    unknown experiment or setting, naming the close ones, and for a value of the wrong type or range.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"Unknown experiment {name!r}. {did_you_mean(name, EXPERIMENTS)}")
    return override(EXPERIMENTS[name](), overrides)


def changes(experiment: Experiment) -> dict[str, Any]:
    """The settings in which an experiment differs from the one of its name, dotted name → value; none if none has it."""
    if experiment.name not in EXPERIMENTS:
        return {}
    named = settings(EXPERIMENTS[experiment.name]())
    return {k: v for k, v in settings(experiment).items() if v != named[k]}


def command(experiment: Experiment, data_uri: str, root: str) -> str:
    """A shell command that trains an experiment on a dataset; empty for one of a name that none has."""
    if experiment.name not in EXPERIMENTS:
        return ""
    words = ["python", "jobs/train.py", experiment.name, "--data", data_uri, "--root", root]
    return shlex.join([*words, *(f"{k}={as_word(v)}" for k, v in changes(experiment).items())])
