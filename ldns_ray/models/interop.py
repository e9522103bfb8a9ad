"""Import the checkpoints of the paper's authors.

Key by key, their modules (https://github.com/mackelab/LDNS) into ours. Direction, groups, widths and
block counts follow from the shapes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.denoiser import Denoiser

Weights = Mapping[str, Tensor | np.ndarray]
Settings = dict[str, Any]


class Imported(NamedTuple):
    """A network of the authors in our form."""

    model: Autoencoder | Denoiser
    settings: Settings
    """The arguments that make it."""
    trained_bins: int
    """Bins of the longest trials that it met: the length for which C is stored; 0 if it never met any."""


def import_reference(state_dict: Weights, *, n_covariates: int = 0) -> Autoencoder | Denoiser:
    """Our model with the weights of an authors' autoencoder or denoiser.

    Args:
        state_dict: their parameters by name (tensors or arrays).
        n_covariates: extra input channels of a denoiser, which the shapes do not tell.

    Raises ValueError if it is neither, or if keys are missing, left over or of the wrong size.
    """
    return import_network(state_dict, n_covariates=n_covariates).model


def denoiser_channels(state_dict: Weights) -> int:
    """Latents and covariate channels of an authors' denoiser together. Raises ValueError if it is none."""
    if "conv_out.weight" not in state_dict or not state_dict["conv_out.weight"].ndim:
        raise ValueError(
            "Expected an LDNS denoiser (conv_out.weight), got "
            f"{'an autoencoder' if 'ae_net.encoder_in.weight' in state_dict else 'something else'}."
        )
    return len(state_dict["conv_out.weight"])


def import_network(state_dict: Weights, *, n_covariates: int = 0) -> Imported:
    """`import_reference`, with what is needed to make the model again."""
    theirs = _Checkpoint(
        (k, torch.as_tensor(np.asarray(v) if not isinstance(v, Tensor) else v))
        for k, v in state_dict.items()
    )
    if not {"ae_net.encoder_in.weight", "conv_in.weight"} & theirs.keys():
        some = ", ".join(list(theirs)[:5])
        raise ValueError(
            "Expected an LDNS autoencoder (ae_net.encoder_in.weight) or denoiser (conv_in.weight), "
            f"got the keys {some}, …"
        )
    model: Autoencoder | Denoiser
    try:
        if "ae_net.encoder_in.weight" in theirs:
            settings, ours = _autoencoder(theirs)
            model = Autoencoder(**settings)
        else:
            settings, ours = _denoiser(theirs, n_covariates)
            model = Denoiser(**settings)
    except (RuntimeError, IndexError, TypeError) as error:
        # Of many parameters the number of axes is only seen when they are computed with.
        raise ValueError(
            f"The checkpoint's parameters do not fit together: {error}. Save the authors' model unchanged."
        ) from error
    for name in sorted(theirs.keys() - theirs.read):
        raise ValueError(f"The checkpoint also has {name}, for which the model has no place.")
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ ours.keys()):
        raise ValueError(f"The checkpoint {'has no' if name in expected else 'also has'} {name}.")
    for name, value in ours.items():
        if value.shape != expected[name].shape:
            raise ValueError(
                f"{name} must be {tuple(expected[name].shape)}, got {tuple(value.shape)}."
            )
    model.load_state_dict(ours)
    lengths = [int(v) for k, v in theirs.items() if k.endswith("kernel.l_kernel")]
    return Imported(model, settings, max(lengths, default=0))


class _Checkpoint(dict[str, Tensor]):
    """Parameters by name, which remembers those that were read."""

    def __init__(self, items: Iterable[tuple[str, Tensor]]) -> None:
        super().__init__(items)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        self.read.add(key)
        return super().__getitem__(key)


def _count(theirs: Mapping[str, Tensor], prefix: str) -> int:
    found = {m[1] for k in theirs if (m := re.match(re.escape(prefix) + r"\.(\d+)\.", k))}
    return len(found)


def _get(theirs: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in theirs:
        raise ValueError(f"The checkpoint has no {key}.")
    return theirs[key]


def _autoencoder(theirs: Mapping[str, Tensor]) -> tuple[Settings, dict[str, Tensor]]:
    weight = _get(theirs, "ae_net.encoder_in.weight")
    if weight.ndim != 3:
        raise ValueError(
            f"ae_net.encoder_in.weight must be (width, units, 1), got {tuple(weight.shape)}."
        )
    width, n_units, _ = weight.shape
    bidirectional = len(_get(theirs, "ae_net.encoder.0.time_mixer.kernel.C")) == 2
    settings = {
        "n_units": n_units,
        "n_latents": len(_get(theirs, "ae_net.bottleneck.weight")),
        "width": width,
        "n_blocks": _count(theirs, "ae_net.encoder"),
        "n_decoder_blocks": _count(theirs, "ae_net.decoder"),
        "bidirectional": bidirectional,
    }
    ours: dict[str, Tensor] = {}
    for name in ("encoder_in", "bottleneck", "unbottleneck", "decoder_out"):
        ours[f"{name}.weight"] = _get(theirs, f"ae_net.{name}.weight").squeeze(-1)
        ours[f"{name}.bias"] = _get(theirs, f"ae_net.{name}.bias")
    for stack in ("encoder", "decoder"):
        for i in range(_count(theirs, f"ae_net.{stack}")):
            source, target = f"ae_net.{stack}.{i}.", f"{stack}.{i}."
            shift_1, scale_1, _, shift_2, scale_2, _ = (
                _get(theirs, source + "ada_ln").flatten().chunk(6)
            )
            ours |= {target + "shift_1": shift_1, target + "scale_1": scale_1}
            ours |= {target + "shift_2": shift_2, target + "scale_2": scale_2}
            ours[target + "gain"] = _get(theirs, source + "post_tm_scale.weight").flatten()
            ours[target + "offset"] = _get(theirs, source + "post_tm_scale.bias")
            ours[target + "mlp.0.weight"] = _get(theirs, source + "channel_mixer.1.weight")
            ours[target + "mlp.2.weight"] = _get(theirs, source + "channel_mixer.3.weight")
            ours |= {f"{target}s4.{k}": v for k, v in _s4(theirs, source + "time_mixer.").items()}
    return settings, ours


def _denoiser(
    theirs: Mapping[str, Tensor], n_covariates: int
) -> tuple[Settings, dict[str, Tensor]]:
    n_channels = len(_get(theirs, "conv_out.weight"))
    if not 0 <= n_covariates < n_channels:
        raise ValueError(f"n_covariates must be in [0, {n_channels}), got {n_covariates}.")
    condition = theirs.get("c_emb.0.weight")
    settings = {
        "n_latents": n_channels - n_covariates,
        "width": len(_get(theirs, "conv_in.weight")),
        "n_blocks": _count(theirs, "blocks"),
        "n_covariates": n_covariates,
        "n_conditions": 0 if condition is None else condition.shape[1],
    }
    ours: dict[str, Tensor] = {}
    for name in ("conv_in", "conv_out"):
        ours[f"{name}.weight"] = _get(theirs, f"{name}.weight").squeeze(-1)
        ours[f"{name}.bias"] = _get(theirs, f"{name}.bias")
    embeddings = {"t_emb.mlp": "embed_time"} | (
        {} if condition is None else {"c_emb": "embed_condition"}
    )
    for their_name, our_name in embeddings.items():
        for layer in (0, 2):
            for kind in ("weight", "bias"):
                ours[f"{our_name}.{layer}.{kind}"] = _get(theirs, f"{their_name}.{layer}.{kind}")
    for i in range(_count(theirs, "blocks")):
        source, target = f"blocks.{i}.", f"blocks.{i}."
        for kind in ("weight", "bias"):
            ours[f"{target}modulation.{kind}"] = _get(theirs, f"{source}ada_ln.1.{kind}")
            ours[f"{target}mlp.0.{kind}"] = _get(theirs, f"{source}channel_mixer.1.{kind}")
            ours[f"{target}mlp.2.{kind}"] = _get(theirs, f"{source}channel_mixer.3.{kind}")
        ours |= {f"{target}s4.{k}": v for k, v in _s4(theirs, source + "time_mixer.").items()}
    return settings, ours


def _s4(theirs: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """State-space parameters; their C is stored multiplied by (I - Ā^L), ours is C itself."""

    def get(name: str) -> Tensor:
        return _get(theirs, f"{prefix}{name}")

    log_dt = get("kernel.inv_dt").flatten()
    neg_re, neg_im = get("kernel.A_real"), get("kernel.A_imag")
    p, b = get("kernel.P").squeeze(0), get("kernel.B").squeeze(0)
    c_QHn = torch.view_as_complex(get("kernel.C").double().contiguous())
    length = int(get("kernel.l_kernel"))
    if length > 0:
        c_QHn = _untruncate(c_QHn, neg_re, neg_im, p, log_dt, length)
    return {
        "log_neg_re": neg_re,
        "neg_im": neg_im,
        "p": p,
        "b": b,
        "c": torch.view_as_real(c_QHn).to(p.dtype),
        "log_dt": log_dt,
        "skip": get("D").flatten(),
    }


def _untruncate(
    c_QHn: Tensor,
    log_neg_re_Hn: Tensor,
    neg_im_Hn: Tensor,
    p_Hn2: Tensor,
    log_dt_H: Tensor,
    length: int,
) -> Tensor:
    """C_stored (I - Ā^length)^-1, by the dense 64-state system in double precision."""
    lam = torch.complex(-log_neg_re_Hn.double().exp(), -neg_im_Hn.double())
    p = torch.view_as_complex(p_Hn2.double().contiguous())
    lam, p, c = (torch.cat((v, v.conj()), -1) for v in (lam, p, c_QHn))
    dt = log_dt_H.double().exp()[:, None, None]
    a_Hnn = torch.diag_embed(lam) - p[:, :, None] * p.conj()[:, None]
    eye = torch.eye(a_Hnn.shape[-1], dtype=a_Hnn.dtype)
    a_bar = torch.linalg.solve(eye - dt / 2 * a_Hnn, eye + dt / 2 * a_Hnn)
    removed = eye - torch.linalg.matrix_power(a_bar, length)
    whole = torch.linalg.solve(removed.mT, c.movedim(0, -1)).movedim(
        -1, 0
    )  # x R = c  ⇔  Rᵀ xᵀ = cᵀ
    return whole[..., : c_QHn.shape[-1]]
