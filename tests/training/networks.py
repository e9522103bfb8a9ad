"""Small networks, trials and trainers for the tests of the loop."""

import numpy as np
import torch
from torch import nn

from ldns_ray import config
from ldns_ray.config import Optimisation
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.models.autoencoder import Autoencoder, Loss
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.training.loop import ResidentData, Trainer
from ldns_ray.training.tasks import AutoencoderTask, DiffusionTask

N_UNITS, N_LATENTS = 4, 3
RAGGED, DENSE = (9, 20, 14, 20, 11, 6, 17), (12,) * 7
OPTIMISATION = Optimisation(epochs=4, batch_size=3, learning_rate=0.01, warmup_epochs=1)


def trials(n_bins, seed=0):
    rng = np.random.default_rng(seed)
    return TrialSet.from_trials(
        [
            Trial(
                spikes=rng.poisson(0.6, (n, N_UNITS)).astype(np.uint8),
                trial_id=str(i),
                session="s",
                split="train",
                covariates={"velocity": rng.normal(size=(n, 2)).astype(np.float32)},
                conditions={"angle": rng.normal(size=2).astype(np.float32)},
                latents=rng.normal(size=(n, N_LATENTS)).astype(np.float32),
            )
            for i, n in enumerate(n_bins)
        ],
        bin_width_s=0.01,
    )


def data(n_bins=RAGGED, batch_size=3, **worker):
    return ResidentData(trials(n_bins), trials((13, 8), seed=1), batch_size, seed=5, **worker)


def autoencoder_parts():
    torch.manual_seed(0)
    settings = config.Autoencoder(width=8, n_latents=N_LATENTS, n_blocks=1, dropout=0.4)
    model = Autoencoder(
        n_units=N_UNITS, n_latents=N_LATENTS, width=8, n_blocks=1, bidirectional=True
    )
    return model, AutoencoderTask(settings)


def diffusion_parts(condition_dropout=0.0):
    torch.manual_seed(0)
    train = trials(RAGGED)
    settings = config.Diffusion(
        width=8, n_blocks=1, n_steps=30, conditions=("angle", "length"), covariates=("velocity",),
        condition_dropout=condition_dropout,
    )  # fmt: skip
    conditioning = Conditioning.fit(
        settings.conditions,
        settings.covariates,
        n_bins_S=train.n_bins_S,
        conditions=train.conditions,
        covariates=train.covariates,
    )
    model = Denoiser(
        n_latents=N_LATENTS, width=8, n_blocks=1, n_covariates=2, n_conditions=3,
        droppable=condition_dropout > 0,
    )  # fmt: skip
    with torch.no_grad():  # at initialisation the blocks have no gradient
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model, DiffusionTask(settings, conditioning)


PARTS = {
    "autoencoder": autoencoder_parts,
    "diffusion": diffusion_parts,
    "diffusion, conditions dropped": lambda: diffusion_parts(0.3),
}


def trainer(network="autoencoder", optimisation=OPTIMISATION, **settings):
    model, task = PARTS[network]()
    return Trainer(model, task, optimisation, **{"steps_per_epoch": 3, "seed": 5, **settings})


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([4.0]))


class Distance:
    """Training pulls x downwards for ever; validation is best at x = 2."""

    def draw(self, batch, generator):
        return ()

    validation_draw = draw

    def loss(self, model, batch, draws):
        return Loss(model.x.sum(), torch.ones(()))

    def validation_loss(self, model, batch, draws):
        return Loss((model.x - 2).abs().sum(), torch.ones(()))


def by_hand(**changes):
    settings = {
        "epochs": 6, "learning_rate": 1.0, "weight_decay": 0.0, "warmup_epochs": 0, "cosine_stretch": 1e9,
    } | changes  # fmt: skip
    return Trainer(ByHand(), Distance(), Optimisation(**settings), steps_per_epoch=1, seed=0)
