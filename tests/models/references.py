"""The stored parameters, inputs and outputs of the authors' own modules."""

import ast
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parents[1] / "data" / "reference"
AUTOENCODERS = ("autoencoder_bidirectional", "autoencoder_causal", "autoencoder_decoder_blocks")
DENOISERS = ("denoiser", "denoiser_angle", "denoiser_velocity", "denoiser_mask")


def reference(name):
    """The parameters in the authors' naming, and inputs and outputs, channels-first."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {k: file[k] for k in file.files}
    config = ast.literal_eval(str(arrays.pop("config")))
    parameters = {k.removeprefix("param/"): v for k, v in arrays.items() if k.startswith("param/")}
    for key in parameters:
        # The authors' layer rewrites C in place when it meets a longer sequence; these files hold the C
        # after the doubled run, so the length is twice the stored one.
        if name in AUTOENCODERS and key.endswith("l_kernel"):
            parameters[key] = 2 * parameters[key]
    return parameters, arrays, config


def tensors(name):
    """The parameters as a state dict, as the authors' modules give it."""
    return {k: torch.from_numpy(np.array(v)) for k, v in reference(name)[0].items()}
