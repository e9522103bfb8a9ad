"""Whether an autoencoder has found the latents and rates that a simulation was made of.

Legend: S trials, T bins, D latents of the model, K latents of the simulation, N units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ldns_ray.data.shards import load_trialset
from ldns_ray.evaluation.decoding.decoders import (
    RSquared,
    TracePairs,
    Traces,
    fit_ridge,
    r_squared,
)
from ldns_ray.models.blocks import decode
from ldns_ray.pipeline import Pipeline

ALPHA = 1e-9
"""Ridge penalty that leaves a regression what it is, and lets latents be collinear."""


def affine_r2(train: TracePairs, held_out: TracePairs) -> RSquared:
    """R² on held-out trials of the affine map from one set of traces to another that fits the training trials best.

    Latents are identified up to an affine map at most: the network after them may turn, stretch and shift them.
    """
    return r_squared(held_out.asked, fit_ridge(train, alpha=ALPHA).decode(held_out.inputs))


def recovery(pipeline: Pipeline, split: str) -> dict[str, Any]:
    """R² of true latents and true rates of a simulation, from those of the trained autoencoder, on a held-out split.

    `latents`: R² over all true latents of the best affine map (`affine_r2`), `per_latent` of each. `rates`: R² of the
    decoded rates as they are, over all units together, `rates_median_unit` of the median unit.
    Raises ValueError for a dataset that has no true latents or rates.
    """
    check_truth(pipeline)
    pairs = []
    truth = {name: load_trialset(pipeline.data_uri, name, ["latents", "rates"]) for name in ("train", split)}  # fmt: skip
    for name, trials in truth.items():
        found = pipeline.latent_trials(name, ["latents"])
        assert found.trial_ids == trials.trial_ids
        pairs.append(TracePairs(found.latents_list(), trials.latents_list()))
    latents = affine_r2(*pairs)
    decoded: Traces = decode(pipeline.autoencoder(), list(pairs[1].inputs))
    rates = r_squared(truth[split].rates_list(), decoded)
    return {
        "latents": latents.total,
        "per_latent": list(latents.per_channel),
        "rates": rates.total,
        "rates_median_unit": float(np.median(rates.per_channel)),
        "n_trials": len(truth[split]),
    }


def check_truth(pipeline: Pipeline) -> None:
    """Raise ValueError for a dataset without true latents and rates."""
    card = pipeline.card
    if not (card.n_latents and card.has_rates):
        raise ValueError(
            f"{pipeline.data_uri} has no true latents and rates, which only simulations have. "
            "Leave --data out to simulate."
        )
