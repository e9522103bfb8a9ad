"""Weights from files that others wrote: torch's, NumPy's and safetensors', of which nothing is ever run."""

import io
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ldns_ray.archives import read_npz

MODELS = ("ae_net.encoder_in.weight", "conv_in.weight")
"""A parameter that the authors' autoencoder has, and one that their denoiser has."""
AVERAGED = ("ema", "ema_state_dict", "ema_model", "averaged_model", "model_ema")
NESTS = (*AVERAGED, "state_dict", "model_state_dict", "model", "net", "module", "weights")
"""Entries under which training scripts keep weights; moving averages, which are what is sampled from, first."""
PREFIXES = ("", *(f"{name}." for name in (*AVERAGED, "model", "net")))
COUNTERS = ("n_averaged",)
"""What `torch.optim.swa_utils.AveragedModel` keeps beside the weights."""
MAX_DEPTH = 3
FORMATS = ".pt, .pth, .ckpt, .npz, .safetensors"


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The parameters by name of an autoencoder or a denoiser of the paper's authors, on the CPU.

    Args:
        path: a `.pt`, `.pth` or `.ckpt` file of `torch.save`, a `.npz` file of arrays or a `.safetensors` file, each
            by the authors' names; local or a URI. The weights may be nested, as under `state_dict`, `model` or
            `ema` (the first of `NESTS` that holds them), and their names may begin with `module.`, `_orig_mod.`
            or one of `PREFIXES`: both are undone.

    Half-precision weights come as float32. Nothing in the file is run. Raises FileNotFoundError, and ValueError
    for a file that is damaged, holds Python objects, no such model, or numbers that are not finite.
    """
    from ldns_ray import storage

    name = os.fspath(path)
    readers = {".pt": _torch, ".pth": _torch, ".ckpt": _torch, ".npz": _npz, ".safetensors": _safe}
    reader = readers.get(os.path.splitext(name)[1].lower())
    if reader is None:
        raise ValueError(f"A checkpoint must be a file of {FORMATS}, got {name}.")
    if not storage.exists(name):
        raise FileNotFoundError(f"No checkpoint {name}. Give a file of {FORMATS}.")
    if os.path.isdir(name):
        raise ValueError(f"{name} is a folder. Give a file of {FORMATS}.")
    content = reader(storage.read_bytes(name), name)
    found = _find(content, name, "", 0)
    if found is None:
        raise ValueError(
            f"{name} holds neither an LDNS autoencoder ({MODELS[0]}) nor a denoiser ({MODELS[1]}), at the top or "
            f"under {', '.join(NESTS)}; it holds {_described(content)}. Save the model's state_dict()."
        )
    for key, value in found.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{name}: {key} must be finite, got {int((~torch.isfinite(value)).sum())} numbers that are not. "
                "Take a checkpoint from before the training diverged."
            )
    return found


def _torch(content: bytes, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what it warns of, other pickle protocols, it then refuses or reads
            return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        called = re.search(r"(?:GLOBAL|global:?) ([\w.]+\.\w+)", str(error))
        problem = (
            f"is refused: to read it, Python code would have to be run ({called[1]})"
            if called
            else "is damaged, no file of torch.save, or one of another pickle protocol than its own"
        )
        raise ValueError(
            f"{name} {problem}. Save tensors alone, where the model is at home: torch.save(model.state_dict(), PATH)."
        ) from error
    except Exception as error:  # torch's readers raise what the bytes make them raise
        raise ValueError(
            f"{name} is damaged or no file of torch.save: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def _npz(content: bytes, name: str) -> Any:
    try:
        arrays = read_npz(content)
        return {k: torch.from_numpy(v) for k, v in arrays.items() if v.dtype.kind in "biuf"}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} is damaged, no file of numpy.savez, or holds Python objects, which are refused: {error}. "
            "Save arrays of numbers, one per parameter."
        ) from error


def _safe(content: bytes, name: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{name} is damaged or no .safetensors file: {error}.") from error


def _find(content: Any, name: str, place: str, depth: int) -> dict[str, Tensor] | None:
    """The weights at the top of `content` or nested in it, or None."""
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return None
    weights = _renamed(content)
    if weights is not None:
        return weights
    for nest in NESTS:
        inside = content.get(nest)
        found = _find(inside, name, f"{place}{nest}.", depth + 1)
        if found is not None:
            return found
        if nest in AVERAGED and isinstance(inside, Mapping) and inside:
            raise ValueError(
                f"{name} has a moving average under {place}{nest} that cannot be read: it holds "
                f"{_described(inside)}. Save the averaged model's state_dict() by itself."
            )
    return None


def _renamed(content: Mapping[Any, Any]) -> dict[str, Tensor] | None:
    """The tensors of `content` by the authors' names, if they are one of their models."""
    tensors = {
        re.sub(r"(^|\.)(?:(?:module|_orig_mod)\.)+", r"\1", key): value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    for prefix in PREFIXES:
        if any(prefix + model in tensors for model in MODELS):
            return {
                key.removeprefix(prefix): value.float()
                if value.dtype in (torch.float16, torch.bfloat16)
                else value
                for key, value in tensors.items()
                if key.startswith(prefix) and key not in COUNTERS
            }
    return None


def _described(content: Any) -> str:
    """The first entries of what was read, for an error."""
    if not isinstance(content, Mapping):
        return f"one {type(content).__name__}"
    some = [
        f"{key} ({len(value)} entries)" if isinstance(value, Mapping | list | tuple) else str(key)
        for key, value in list(content.items())[:6]
    ]
    return (", ".join(some) or "nothing") + (", …" if len(content) > len(some) else "")
