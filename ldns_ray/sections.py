"""The sections of an experiment: frozen, documented and checked dataclasses.

Beside them `Hardware`, which is no part of an experiment. `ldns_ray.config` offers all of it by name.
"""

import math
from dataclasses import dataclass
from typing import Literal

from ldns_ray.checks import BELOW_ONE, DISTINCT, NON_NEGATIVE, POSITIVE, SEED, Rule, at_least, check

SamplerName = Literal["ddpm", "ddim", "dpmpp_2m", "dpmpp_2m_sde"]
Reading = Literal["auto", "resident", "streamed"]
"""The samplers of `ldns_ray.models.diffusion.SAMPLERS`."""


@dataclass(frozen=True)
class Dataset:
    """Where the trials come from: a dataset on storage, or a simulator."""

    simulator: Literal["", "lorenz", "speech", "reach"] = ""
    """Simulate this system when no dataset is given; empty: a dataset must be given."""
    n_trials: int = 0
    """Trials to simulate."""
    n_units: int = 128
    """Units to simulate."""
    min_bins: int = 256
    """Shortest simulated trial, in bins; Lorenz trials and reaches all have `max_bins`."""
    max_bins: int = 256
    """Longest simulated trial, in bins."""
    seed: int = 0
    """Seed of the simulation and of its split into train, val and test."""

    def __post_init__(self) -> None:
        check(self, "dataset.", seed=SEED)
        if self.simulator:
            bins = Rule(f"in [1, max_bins={self.max_bins}]", lambda n: 1 <= n <= self.max_bins)
            check(self, "dataset.", n_trials=at_least(10), n_units=at_least(1), min_bins=bins)


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
    bf16: bool = False
    """Whether linear layers run in bfloat16 where there is a GPU; ignored on CPUs."""

    def __post_init__(self) -> None:
        check(
            self,
            "",
            epochs=at_least(1),
            batch_size=at_least(1),
            learning_rate=POSITIVE,
            weight_decay=NON_NEGATIVE,
            warmup_epochs=NON_NEGATIVE,
            cosine_stretch=at_least(1),
            clip_norm=POSITIVE,
            patience=NON_NEGATIVE,
            validate_every=at_least(1),
        )


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
        check(
            self,
            "autoencoder.",
            n_latents=at_least(1),
            width=at_least(1),
            n_blocks=at_least(1),
            n_decoder_blocks=NON_NEGATIVE,
            dropout=Rule("in (0, 1)", lambda p: 0 < p < 1),
            latent_penalty=NON_NEGATIVE,
            smoothness_penalty=NON_NEGATIVE,
            smoothness_lags=at_least(1),
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
        check(
            self,
            "diffusion.",
            width=(at_least(1), Rule("a multiple of 4", lambda n: n % 4 == 0)),
            n_blocks=at_least(1),
            n_steps=at_least(2),
            beta_start=Rule(f"in (0, beta_end={self.beta_end}]", lambda b: 0 < b <= self.beta_end < 1),
            smooth_l1_beta=POSITIVE,
            ema_decay=BELOW_ONE,
            head_gain=POSITIVE,
            latent_clip=NON_NEGATIVE,
            conditions=DISTINCT,
            covariates=DISTINCT,
            condition_dropout=BELOW_ONE,
        )  # fmt: skip


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
        # Sampled counts are stored in 8 bits.
        in_8_bits = Rule("in [1, 255]", lambda n: 1 <= n <= 255)
        check(self, "observation.", history_bins=at_least(1), count_cap=in_8_bits)


@dataclass(frozen=True)
class Sampling:
    """How trials are drawn from the trained model."""

    n_trials: int = 0
    """Trials to sample; 0: as many as the training split has."""
    sampler: SamplerName = "dpmpp_2m_sde"
    """Ancestral sampling over every step (`ddpm`), or a solver in few steps: DPM-Solver++ (2M) with some noise
    (`dpmpp_2m_sde`), or of the deterministic flow (`dpmpp_2m`), or DDIM."""
    n_steps: int = 20
    """Steps of the sampler (`ddpm` takes all of the schedule's)."""
    guidance: float = 1.0
    """Strength of the conditions and covariates (classifier-free guidance); 1: as trained, 0: without them."""
    seed: int = 0
    """Seed; trial i of a seed is the same whoever samples it."""

    def __post_init__(self) -> None:
        check(
            self,
            "sampling.",
            n_trials=NON_NEGATIVE,
            n_steps=at_least(1),
            guidance=Rule("finite and non-negative", lambda g: 0 <= g < math.inf),
            seed=SEED,
        )


@dataclass(frozen=True)
class Evaluation:
    """What sampled spikes are compared with."""

    split: Literal["train", "val", "test"] = "test"
    """Reference split of the score."""
    n_splits: int = 20
    """Random halvings of the reference split in the score."""
    n_resamples: int = 100
    """Bootstrap resamples of the trials for the intervals of all metrics; 0 for none."""
    label: str = ""
    """Per-trial condition whose values are the classes of the PSTH and of the decoder; empty: all that have few."""
    decode_from_s: float = 0.0
    """Conditions are decoded from the spikes of a trial after this many seconds: after a target's onset, say."""
    seed: int = 0
    """Seed of the halvings and of the held-out entries."""

    def __post_init__(self) -> None:
        check(
            self,
            "evaluation.",
            n_splits=at_least(1),
            n_resamples=at_least(0),
            decode_from_s=NON_NEGATIVE,
            seed=SEED,
        )


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
        check(self, "", seed=SEED)
        d = self.diffusion
        named = [*d.covariates, *(name for name in d.conditions if name != "length")]
        # Told before hours of training, not after them.
        if self.sampling.guidance != 1 and not (d.condition_dropout > 0 and named):
            raise ValueError(
                "sampling.guidance must be 1 without diffusion.condition_dropout and a condition or "
                f"covariate besides length, got {self.sampling.guidance!r}."
            )


@dataclass(frozen=True)
class Hardware:
    """What a stage runs on. Never part of a fingerprint."""

    workers: int = 1
    """Ray Train workers; 0 trains in the calling process, without Ray Train."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker."""
    cpus_per_worker: float = 0.0
    """CPUs that each worker reserves; 0: one, or less where that would leave none for Ray Data."""
    data: Reading = "auto"
    """Training trials are kept in memory (`resident`), read anew for every epoch (`streamed`), or as they fit."""
    checkpoint_s: float = 30.0
    """Least seconds between two checkpoints of a training; what a fault costs at most."""

    def __post_init__(self) -> None:
        check(
            self,
            "hardware.",
            workers=NON_NEGATIVE,
            gpus_per_worker=NON_NEGATIVE,
            cpus_per_worker=NON_NEGATIVE,
            checkpoint_s=NON_NEGATIVE,
        )
