"""Every setting of an experiment: frozen dataclasses, the named experiments, and their fingerprint.

An experiment is a value. Variants derive from it with `dataclasses.replace` or with dotted overrides
(`experiment("speech_small", **{"autoencoder.width": 64})`), and what a stage's output is called on
disk follows from the settings alone. Hardware, paths and worker counts are not settings.

The paper's hyper-parameters are those of Kapoor, Schulz et al., "Latent Diffusion for Neural Spiking
Data", NeurIPS 2024 (arXiv 2407.08751).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from ldns_ray.settings import check_seed, one_of
from ldns_ray.settings import did_you_mean as did_you_mean
from ldns_ray.settings import fingerprint as fingerprint
from ldns_ray.settings import from_dict as from_dict
from ldns_ray.settings import override as override
from ldns_ray.settings import parse_overrides as parse_overrides
from ldns_ray.settings import settings as settings
from ldns_ray.settings import to_dict as to_dict


def _check(condition: bool, name: str, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}.")


SamplerName = Literal["ddpm", "ddim", "dpmpp_2m"]
"""The samplers of `ldns_ray.models.diffusion.SAMPLERS`."""


@dataclass(frozen=True)
class Dataset:
    """Where the trials come from: a dataset on storage, or a simulator."""

    simulator: Literal["", "lorenz", "speech"] = ""
    """Simulate this system when no dataset is given; empty: a dataset must be given."""
    n_trials: int = 0
    """Trials to simulate."""
    n_units: int = 128
    """Units to simulate."""
    min_bins: int = 256
    """Shortest simulated trial, in bins; Lorenz trials all have `max_bins`."""
    max_bins: int = 256
    """Longest simulated trial, in bins."""
    seed: int = 0
    """Seed of the simulation and of its split into train, val and test."""

    def __post_init__(self) -> None:
        _check(
            self.simulator in ("", "lorenz", "speech"),
            "dataset.simulator",
            "lorenz or speech",
            self.simulator,
        )
        check_seed("dataset.seed", self.seed)
        if self.simulator:
            _check(self.n_trials >= 10, "dataset.n_trials", "at least 10", self.n_trials)
            _check(self.n_units >= 1, "dataset.n_units", "at least 1", self.n_units)
            _check(
                1 <= self.min_bins <= self.max_bins,
                "dataset.min_bins",
                f"in [1, max_bins={self.max_bins}]",
                self.min_bins,
            )


@dataclass(frozen=True)
class Optimisation:
    """AdamW with linear warm-up, then cosine; gradient clipping."""

    epochs: int = 200
    """Passes over the training split."""
    batch_size: int = 512
    """Trials per step, over all workers together."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    """AdamW weight decay."""
    warmup_epochs: float = 10
    """Epochs of linear warm-up from zero to the peak rate."""
    cosine_stretch: float = 1.3
    """Length of the cosine as a multiple of the steps trained: 1 ends at zero, 1.3 at about 13 % of the peak."""
    clip_norm: float = 2.0
    """Largest norm of the gradient; longer ones are scaled down."""
    patience: int = 0
    """Stop after this many validations without a better validation loss; 0 trains every epoch."""
    validate_every: int = 1
    """Epochs between validations."""

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _check(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        _check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        _check(self.weight_decay >= 0, "weight_decay", "non-negative", self.weight_decay)
        _check(self.warmup_epochs >= 0, "warmup_epochs", "non-negative", self.warmup_epochs)
        _check(self.cosine_stretch >= 1, "cosine_stretch", "at least 1", self.cosine_stretch)
        _check(self.clip_norm > 0, "clip_norm", "positive", self.clip_norm)
        _check(self.patience >= 0, "patience", "non-negative", self.patience)
        _check(self.validate_every >= 1, "validate_every", "at least 1", self.validate_every)


@dataclass(frozen=True)
class Autoencoder:
    """Spikes to smooth latents and back (paper, section 3.1)."""

    n_latents: int = 8
    """Latent dimensions D."""
    width: int = 256
    """Channels H of the state-space blocks."""
    n_blocks: int = 4
    """Blocks of the encoder."""
    n_decoder_blocks: int = 0
    """Blocks of the decoder; 0 decodes bin by bin."""
    bidirectional: bool = True
    """Whether the state-space layers see the future as well as the past."""
    dropout: float = 0.2
    """Coordinated dropout: probability that an input count is hidden; the loss is counted on hidden entries."""
    latent_penalty: float = 0.01
    """Weight of the squared latents (beta 1 of the paper)."""
    smoothness_penalty: float = 0.01
    """Weight of the squared latent differences up to `smoothness_lags` bins apart (beta 2 of the paper)."""
    smoothness_lags: int = 5
    """Largest lag of the smoothness penalty, in bins."""
    optimisation: Optimisation = Optimisation()
    """How it is trained."""

    def __post_init__(self) -> None:
        for name in ("n_latents", "width", "n_blocks", "smoothness_lags"):
            _check(
                getattr(self, name) >= 1, f"autoencoder.{name}", "at least 1", getattr(self, name)
            )
        _check(
            self.n_decoder_blocks >= 0,
            "autoencoder.n_decoder_blocks",
            "non-negative",
            self.n_decoder_blocks,
        )
        _check(0 < self.dropout < 1, "autoencoder.dropout", "in (0, 1)", self.dropout)
        _check(
            self.latent_penalty >= 0,
            "autoencoder.latent_penalty",
            "non-negative",
            self.latent_penalty,
        )
        _check(
            self.smoothness_penalty >= 0,
            "autoencoder.smoothness_penalty",
            "non-negative",
            self.smoothness_penalty,
        )


@dataclass(frozen=True)
class Diffusion:
    """Denoising diffusion of the standardised latents (paper, section 3.2)."""

    width: int = 64
    """Channels H of the denoiser."""
    n_blocks: int = 4
    """Blocks of the denoiser."""
    n_steps: int = 1000
    """Steps of the noise schedule."""
    beta_start: float = 1e-4
    """Noise variance of the first step."""
    beta_end: float = 0.02
    """Noise variance of the last step."""
    loss: Literal["smooth_l1", "mse"] = "smooth_l1"
    """Loss of the predicted noise."""
    smooth_l1_beta: float = 0.04
    """Where smooth L1 turns from square to linear."""
    ema_decay: float = 0.9999
    """Largest decay of the exponential moving average of the weights."""
    ema_warmup: bool = True
    """Whether the decay grows as 1 - (1 + step)^(-2/3) up to `ema_decay`."""
    head_gain: float = 1.0
    """Factor on the output layer's initial weight and bias."""
    level: bool = True
    """Whether the denoiser sees each trial's mean over time, which its instance norms hide; false: as published."""
    latent_clip: float = 0.0
    """Clip standardised latents to plus or minus this; 0 does not clip."""
    conditions: tuple[str, ...] = ()
    """Per-trial conditions to model; `length` is the log of the trial's bins, others are the dataset's own."""
    covariates: tuple[str, ...] = ()
    """Per-bin covariates of the dataset to condition on."""
    condition_dropout: float = 0.0
    """Probability that a training trial's conditions, but its length, and covariates are dropped; guidance needs some."""
    optimisation: Optimisation = Optimisation(epochs=1000, warmup_epochs=50, clip_norm=1.0)
    """How it is trained."""

    def __post_init__(self) -> None:
        for name in ("width", "n_blocks"):
            _check(getattr(self, name) >= 1, f"diffusion.{name}", "at least 1", getattr(self, name))
        _check(self.width % 4 == 0, "diffusion.width", "a multiple of 4", self.width)
        _check(self.n_steps >= 2, "diffusion.n_steps", "at least 2", self.n_steps)
        _check(
            0 < self.beta_start <= self.beta_end < 1,
            "diffusion.beta_start",
            f"in (0, beta_end={self.beta_end}]",
            self.beta_start,
        )
        _check(self.loss in ("smooth_l1", "mse"), "diffusion.loss", "smooth_l1 or mse", self.loss)
        _check(self.smooth_l1_beta > 0, "diffusion.smooth_l1_beta", "positive", self.smooth_l1_beta)
        _check(0 <= self.ema_decay < 1, "diffusion.ema_decay", "in [0, 1)", self.ema_decay)
        _check(self.head_gain > 0, "diffusion.head_gain", "positive", self.head_gain)
        _check(self.latent_clip >= 0, "diffusion.latent_clip", "non-negative", self.latent_clip)
        _check(
            0 <= self.condition_dropout < 1,
            "diffusion.condition_dropout",
            "in [0, 1)",
            self.condition_dropout,
        )
        for name in ("conditions", "covariates"):
            names = getattr(self, name)
            _check(len(set(names)) == len(names), f"diffusion.{name}", "free of repetitions", names)


@dataclass(frozen=True)
class Observation:
    """From rates to spikes (paper, section 3.3 and its spike-history extension)."""

    kind: Literal["poisson", "spike_history"] = "poisson"
    """Independent Poisson counts, or counts that depend on each unit's own recent spikes."""
    history_bins: int = 20
    """Bins of spike history."""
    count_cap: int = 5
    """Largest count in a bin when sampling with spike history."""

    def __post_init__(self) -> None:
        _check(
            self.kind in ("poisson", "spike_history"),
            "observation.kind",
            "poisson or spike_history",
            self.kind,
        )
        _check(self.history_bins >= 1, "observation.history_bins", "at least 1", self.history_bins)
        # Sampled counts are stored in 8 bits.
        _check(1 <= self.count_cap <= 255, "observation.count_cap", "in [1, 255]", self.count_cap)


@dataclass(frozen=True)
class Sampling:
    """How trials are drawn from the trained model."""

    n_trials: int = 0
    """Trials to sample; 0: as many as the training split has."""
    sampler: SamplerName = "dpmpp_2m"
    """Ancestral sampling over every step (`ddpm`), or a deterministic solver: DDIM, or DPM-Solver++ (2M)."""
    n_steps: int = 20
    """Steps of the sampler (`ddpm` takes all of the schedule's)."""
    guidance: float = 1.0
    """Strength of the conditions and covariates (classifier-free guidance); 1: as trained, 0: without them."""
    seed: int = 0
    """Seed; trial i of a seed is the same whoever samples it."""

    def __post_init__(self) -> None:
        _check(self.n_trials >= 0, "sampling.n_trials", "non-negative", self.n_trials)
        _check(
            self.sampler in get_args(SamplerName),
            "sampling.sampler",
            one_of(get_args(SamplerName)),
            self.sampler,
        )
        _check(self.n_steps >= 1, "sampling.n_steps", "at least 1", self.n_steps)
        _check(
            0 <= self.guidance < math.inf,
            "sampling.guidance",
            "finite and non-negative",
            self.guidance,
        )
        check_seed("sampling.seed", self.seed)


@dataclass(frozen=True)
class Evaluation:
    """What sampled spikes are compared with."""

    split: Literal["train", "val", "test"] = "test"
    """Reference split of the score."""
    n_splits: int = 20
    """Random halvings of the reference split in the score."""
    label: str = ""
    """Per-trial condition whose values define the PSTH's classes; empty: one class."""
    seed: int = 0
    """Seed of the halvings and of the held-out entries."""

    def __post_init__(self) -> None:
        _check(
            self.split in ("train", "val", "test"),
            "evaluation.split",
            "train, val or test",
            self.split,
        )
        _check(self.n_splits >= 1, "evaluation.n_splits", "at least 1", self.n_splits)
        check_seed("evaluation.seed", self.seed)


@dataclass(frozen=True)
class Experiment:
    """One LDNS experiment, from dataset to score."""

    name: str
    """Name of the experiment, as in `experiment(name)`."""
    dataset: Dataset = Dataset()
    """Trials."""
    autoencoder: Autoencoder = Autoencoder()
    """Spikes to latents."""
    diffusion: Diffusion = Diffusion()
    """Model of the latents."""
    observation: Observation = Observation()
    """Rates to spikes."""
    sampling: Sampling = Sampling()
    """Sampled trials."""
    evaluation: Evaluation = Evaluation()
    """Score."""
    seed: int = 42
    """Seed of training."""

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)
        d = self.diffusion
        named = [*d.covariates, *(name for name in d.conditions if name != "length")]
        # Told before hours of training, not after them.
        _check(
            self.sampling.guidance == 1 or (d.condition_dropout > 0 and len(named) > 0),
            "sampling.guidance",
            "1 without diffusion.condition_dropout and a condition or covariate besides length",
            self.sampling.guidance,
        )


# ---------------------------------------------------------------------------------------------
# Named experiments


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


@dataclass(frozen=True)
class Hardware:
    """What a stage runs on. Never part of a fingerprint."""

    workers: int = 1
    """Ray Train workers; 0 trains in the calling process, without Ray Train."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker."""
    cpus_per_worker: float = 0.0
    """CPUs that each worker reserves; 0: one, or less where that would leave none for Ray Data."""

    def __post_init__(self) -> None:
        _check(self.workers >= 0, "hardware.workers", "non-negative", self.workers)
        _check(
            self.gpus_per_worker >= 0,
            "hardware.gpus_per_worker",
            "non-negative",
            self.gpus_per_worker,
        )
        _check(
            self.cpus_per_worker >= 0,
            "hardware.cpus_per_worker",
            "non-negative",
            self.cpus_per_worker,
        )
