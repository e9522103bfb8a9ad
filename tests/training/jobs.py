"""Jobs of a few steps on trials of unequal length."""

import numpy as np

from ldns_ray.config import experiment
from ldns_ray.data.moments import latent_statistics
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trialset, write_dataset
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.training.courses import course_regression
from ldns_ray.training.job import TrainingJob

N_UNITS, N_LATENTS, N_STEPS = 6, 3, 30
LENGTHS = (21, 9, 15, 30, 12, 27, 18, 24, 11, 20, 14, 29, 17)
"""Bins of the training trials, all different; in batches of four the last has one trial."""
STEPS_PER_EPOCH = 4


def timeless(rows):
    """Rows of a history without what the clock put into them."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "time")} for row in rows]


def dataset(folder, lengths=LENGTHS):
    rng = np.random.default_rng(3)
    lengths = [*lengths, 10, 25, 16]
    trials = [
        Trial(
            spikes=rng.poisson(0.6, (n, N_UNITS)).astype(np.uint8),
            trial_id=f"{i:03d}",
            session="s",
            split="train" if i < len(lengths) - 3 else "val",
            covariates={"velocity": rng.normal(size=(n, 2)).astype(np.float32)},
            conditions={"angle": rng.normal(size=2).astype(np.float32)},
            latents=rng.normal(size=(n, N_LATENTS)).astype(np.float32),
        )
        for i, n in enumerate(lengths)
    ]
    write_dataset(trials, folder, name="ragged", bin_width_s=0.01)
    return str(folder)


def training_job(network, data, output, *, epochs=5, batch_size=4):
    """A job of four steps an epoch. Half of its gradients are clipped: a wrong scale of them shows."""
    optimisation = {"epochs": epochs, "batch_size": batch_size, "warmup_epochs": 1, "validate_every": 1,
                    "learning_rate": 1e-3}  # fmt: skip
    e = experiment(
        "speech_small",
        **{
            "autoencoder.n_latents": N_LATENTS, "autoencoder.width": 8, "autoencoder.n_blocks": 1,
            "diffusion.width": 8, "diffusion.n_blocks": 1, "diffusion.n_steps": N_STEPS,
            "diffusion.conditions": "angle,length", "diffusion.covariates": "velocity",
            "autoencoder.optimisation.clip_norm": 0.025, "diffusion.optimisation.clip_norm": 0.2,
            **{f"{n}.optimisation.{k}": v for n in ("autoencoder", "diffusion") for k, v in optimisation.items()},
        },
    )  # fmt: skip
    if network == "autoencoder":
        return TrainingJob("autoencoder", e, data, str(output), N_UNITS)
    train = load_trialset(data, "train")
    conditioning = Conditioning.fit(
        e.diffusion.conditions, e.diffusion.covariates,
        n_bins_S=train.n_bins_S, conditions=train.conditions, covariates=train.covariates,
    )  # fmt: skip
    z = {k: np.array(v, np.float32) for k, v in latent_statistics([train]).items()}
    return TrainingJob(
        "diffusion", e, data, str(output), N_UNITS, conditioning=conditioning, latent_mean_D=z["mean"],
        latent_std_D=z["std"], level_covariance_DD=z["level_covariance"],
        course_regression=course_regression([train], conditioning, z["mean"], z["std"]),
    )  # fmt: skip
