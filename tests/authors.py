"""Checkpoints as the authors' scripts save them, and recordings that fit them."""

import numpy as np
import torch

from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset
from tests.models.references import reference, tensors

PAIRS = {
    "denoiser": ("autoencoder_bidirectional", []),
    "denoiser_angle": ("autoencoder_causal", ["--conditions", "angle:2"]),
    "denoiser_velocity": ("autoencoder_bidirectional", ["--covariates", "velocity:2"]),
    "denoiser_mask": ("autoencoder_bidirectional", ["--covariates", "window:1"]),
}
"""Denoisers with an autoencoder of as many latents, and the names of their inputs."""


def save_checkpoints(folder):
    """Every stored network as its authors' scripts save it, name.pt, and statistics of 4 and of 6 latents."""
    for denoiser, (autoencoder, _) in PAIRS.items():
        torch.save({f"module.{k}": v for k, v in tensors(autoencoder).items()}, folder / f"{autoencoder}.pt")  # fmt: skip
        torch.save({"ema": tensors(denoiser), "epoch": 3}, folder / f"{denoiser}.pt")
    torch.save(tensors("autoencoder_decoder_blocks"), folder / "autoencoder_decoder_blocks.pt")
    np.savez(folder / "z4.npz", mean=np.arange(4.0), std=np.arange(1.0, 5.0))
    np.savez(folder / "z6.npz", mean=np.zeros((1, 6, 1)), std=np.ones((1, 6, 1)), n_bins=[20, 30])
    return folder


def recording(name, folder, velocity_unit="m/s"):
    """The stored counts as training trials of a dataset, with an angle, velocity and mask; longer ones to test."""
    _, arrays, _ = reference(name)
    rng = np.random.default_rng(0)
    trials = []
    for kind, split in (("x", "train"), ("x_short", "train"), ("x_long", "test")):
        for i, x_NT in enumerate(arrays[kind]):
            n_bins = x_NT.shape[1]
            angle = rng.uniform(0, 2 * np.pi)
            covariates = {
                "velocity": rng.normal(0.1, 0.3, (n_bins, 2)).astype(np.float32),
                "window": (np.arange(n_bins) >= 5)[:, None].astype(np.float32),
            }
            conditions = {"angle": np.array([np.cos(angle), np.sin(angle)], np.float32)}
            trials.append(
                Trial(
                    spikes=x_NT.T.astype(np.uint8), trial_id=f"{kind}-{i}", session="a", split=split,
                    covariates=covariates, conditions=conditions,
                )
            )  # fmt: skip
    write_dataset(
        trials, folder, name=name, bin_width_s=0.005, covariate_units={"velocity": velocity_unit},
        unit_names=[f"channel {i}" for i in range(trials[0].spikes.shape[1])],
    )  # fmt: skip
    return folder


def command(checkpoints, denoiser, autoencoder=None):
    own, inputs = PAIRS[denoiser]
    return [
        "import_reference", checkpoints / f"{autoencoder or own}.pt", checkpoints / f"{denoiser}.pt", *inputs,
    ]  # fmt: skip


def recordings_in(folder):
    """A dataset for each autoencoder of `PAIRS`."""
    return {name: recording(name, folder / name) for name in {name for name, _ in PAIRS.values()}}
