"""The networks of an experiment: what their constructors are given.

It knows neither Ray nor where anything is stored.
"""

from dataclasses import asdict
from typing import Any

from ldns_ray.config import Autoencoder, Diffusion
from ldns_ray.models.conditioning import LENGTH, Conditioning
from ldns_ray.models.ldns import Noise


def noise(diffusion: Diffusion) -> Noise:
    """The noise schedule of the settings."""
    return Noise(diffusion.n_steps, diffusion.beta_start, diffusion.beta_end)


def autoencoder_settings(a: Autoencoder, n_units: int) -> dict[str, Any]:
    """Arguments of `ldns_ray.models.autoencoder.Autoencoder`."""
    return {
        "n_units": n_units, "n_latents": a.n_latents, "width": a.width, "n_blocks": a.n_blocks,
        "n_decoder_blocks": a.n_decoder_blocks, "bidirectional": a.bidirectional,
    }  # fmt: skip


def expects_course(d: Diffusion) -> bool:
    """Whether the course of a trial's latents is expected of its conditions: where there is one beside the length."""
    return d.level and any(name != LENGTH for name in d.conditions)


def denoiser_settings(d: Diffusion, n_latents: int, conditioning: Conditioning) -> dict[str, Any]:
    """Arguments of `ldns_ray.models.denoiser.Denoiser`."""
    return {
        "level": asdict(noise(d)) if d.level else None, "course": expects_course(d),
        "n_latents": n_latents, "width": d.width, "n_blocks": d.n_blocks, "head_gain": d.head_gain,
        "n_covariates": conditioning.n_covariates, "n_conditions": conditioning.n_conditions,
        "droppable": d.condition_dropout > 0 and conditioning.droppable,
    }  # fmt: skip
