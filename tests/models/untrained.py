"""An LDNS that was never trained."""

import numpy as np
import torch

from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.ldns import LDNS, Noise, TrainingDraws
from ldns_ray.models.observation import SpikeHistory

N_UNITS, N_LATENTS = 5, 3
TRAINING_BINS = (12, 30, 25, 18)
SCHEDULE = {"n_steps": 50, "beta_start": 1e-3, "beta_end": 0.3}


def model(conditions=(), covariates=(), history=False, droppable=False, level=None, seed=0):
    """An LDNS of random weights, away from their initialisation."""
    rng = np.random.default_rng(seed)
    n_bins_S = np.array(TRAINING_BINS)
    given = {
        "angle": rng.normal(size=(4, 2)).astype(np.float32),
        "speed": rng.normal(3, 2, size=(4, 1)).astype(np.float32),
    }
    traces = {"velocity": rng.normal(1, 2, size=(n_bins_S.sum(), 2)).astype(np.float32)}
    conditioning = Conditioning.fit(
        conditions, covariates, n_bins_S=n_bins_S, conditions=given, covariates=traces
    )
    autoencoder = {
        "n_units": N_UNITS,
        "n_latents": N_LATENTS,
        "width": 8,
        "n_blocks": 1,
        "bidirectional": True,
    }
    denoiser = {
        "n_latents": N_LATENTS,
        "width": 8,
        "n_blocks": 2,
        "n_conditions": conditioning.n_conditions,
        "n_covariates": conditioning.n_covariates,
        "droppable": droppable,
        "level": level,
    }
    torch.manual_seed(seed)
    networks = Autoencoder(**autoencoder), Denoiser(**denoiser)
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    observation = None
    if history:
        observation = SpikeHistory(
            rng.normal(0, 0.3, (N_UNITS, 4)).astype(np.float32),
            np.ones(N_UNITS, np.float32),
            np.zeros(N_UNITS, np.float32),
            3,
        )
    return LDNS(
        networks[0],
        autoencoder,
        networks[1],
        denoiser,
        Noise(**SCHEDULE),
        rng.normal(size=N_LATENTS).astype(np.float32),
        rng.uniform(0.5, 2, N_LATENTS).astype(np.float32),
        conditioning,
        TrainingDraws(
            n_bins_S,
            {k: v for k, v in given.items() if k in conditions},
            {k: v for k, v in traces.items() if k in covariates},
        ),
        bin_width_s=0.005,
        unit_names=[f"unit {i}" for i in range(N_UNITS)],
        observation=observation,
        provenance={"dataset": "test", "epochs": 3},
    )
