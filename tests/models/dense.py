"""The state-space layer as its definition says, bin by bin in double precision: slow, and exact."""

import torch
from torch import Tensor, nn

from ldns_ray.models.ssm import S4


def dense_recurrence(layer: S4, x_HBT: Tensor) -> Tensor:
    """What `layer` should compute for (H, B, T), by running its 64 states."""
    lam = torch.complex(-layer.log_neg_re.double().exp(), -layer.neg_im.double())
    p, b, c = (torch.view_as_complex(v.double()) for v in (layer.p, layer.b, layer.c))
    lam, p, b, c = (torch.cat((v, v.conj()), -1) for v in (lam, p, b, c))
    dt = layer.log_dt.double().exp()[:, None, None]
    a_Hnn = torch.diag_embed(lam) - p[:, :, None] * p.conj()[:, None]
    eye = torch.eye(a_Hnn.shape[-1], dtype=a_Hnn.dtype)
    inverse = torch.linalg.inv(eye - dt / 2 * a_Hnn)
    a_bar, b_bar = inverse @ (eye + dt / 2 * a_Hnn), (inverse @ (dt * b[..., None]))[..., 0]
    x = x_HBT.to(a_bar.dtype)

    def run(x_HBT: Tensor, c_Hn: Tensor) -> Tensor:
        state, out = torch.zeros(*x_HBT.shape[:2], a_bar.shape[-1], dtype=a_bar.dtype), []
        for t in range(x_HBT.shape[-1]):
            state = (
                torch.einsum("hij,hbj->hbi", a_bar, state) + b_bar[:, None] * x_HBT[..., t, None]
            )
            out.append(torch.einsum("hi,hbi->hb", c_Hn, state))
        return torch.stack(out, -1).real

    y = run(x, c[0]) + layer.skip.double()[:, None, None] * x.real
    if len(c) == 2:
        # Σ_{j≥t} K1[j-t] x[j]; wanted is K1[j-t-1]: one bin on.
        later = run(x.flip(-1), c[1]).flip(-1)
        y = y + nn.functional.pad(later[..., 1:], (0, 1))
    return y
