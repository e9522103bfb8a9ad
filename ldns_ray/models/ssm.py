"""Structured state-space layer (S4): one single-input single-output linear system per channel.

Shapes: H channels, B trials, T bins, n = 32 conjugate pairs of states, V products of two state
vectors, F frequencies. Inside the networks the channel is the first axis (`x_HBT`): time is then
contiguous for norms and FFTs, and every linear layer is one matrix product.

Gu, Goel, Ré, "Efficiently modeling long sequences with structured state spaces", ICLR 2022.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

N_PAIRS = 32
"""Conjugate pairs of states per channel: state size 64."""

CACHE_BYTES = 1 << 20
"""What a few channels' quotients may take on a CPU, to stay in its cache; see `_quotients`."""
DEVICE_BYTES = 1 << 28
"""The same elsewhere, where it bounds memory alone."""

_ALIASING = 1e-8
"""What is left of a kernel tap after one period of the damped FFT, see `ssm_kernel`."""


def fast_length(n: int) -> int:
    """The smallest even number at least `n` whose only prime factors are 2, 3 and 5."""
    best = 1 << max(1, (n - 1).bit_length())
    power5 = 1
    while power5 < best:
        power35 = power5
        while power35 < best:
            quotient = -(-n // power35)
            best = min(best, power35 << max(1, (quotient - 1).bit_length()))
            power35 *= 3
        power5 *= 5
    return best


class _PairSums(torch.autograd.Function):
    """Sum over conjugate pairs of v/(g - λ) + v̄/(g - λ̄), for several v at once, in real arithmetic.

    With q = |λ|² and a = -2 Re λ the pair is (2 Re(v) g - 2 Re(v λ̄)) / (g² + a g + q). The quotient
    R = 1/(g² + a g + q) is shared by all v, so each sum is a matrix product with real coefficients,
    and so are their derivatives: dR/da = -g R², dR/dq = -R².

    R is much larger than what goes in and comes out. It is made for a few channels at a time, which
    fit the cache, and made again in the backward pass.

    forward(a_Hn, q_Hn, coef_HVn, g_F): returns Σ_n coef R, complex (H, V, F).
    """

    @staticmethod
    def forward(ctx: Any, a_Hn: Tensor, q_Hn: Tensor, coef_HVn: Tensor, g_F: Tensor) -> Tensor:
        ctx.save_for_backward(a_Hn, q_Hn, coef_HVn, g_F)
        out = coef_HVn.new_empty(*coef_HVn.shape[:2], 2 * len(g_F))
        for some, r_hn2F in _quotients(a_Hn, q_Hn, g_F):
            torch.bmm(coef_HVn[some], r_hn2F, out=out[some])
        return torch.complex(*out.chunk(2, -1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        a_Hn, q_Hn, coef_HVn, g_F = ctx.saved_tensors
        n_v, n_f = coef_HVn.shape[1], len(g_F)
        # Re Σ_F d* R² x = Σ_2F (Re R², Im R²) · (Re, Im) of d x*, for x = 1 and x = g.
        d_HV2F, dg_HV2F = (
            torch.cat((d.real, d.imag), -1) for d in (grads[0], grads[0] * g_F.conj())
        )
        dcoef_HnV, dq_HnV, da_HnV = coef_HVn.new_empty(3, *a_Hn.shape, n_v)
        for some, r_hn2F in _quotients(a_Hn, q_Hn, g_F):
            torch.bmm(r_hn2F, d_HV2F[some].mT, out=dcoef_HnV[some])
            re, im = r_hn2F[..., :n_f], r_hn2F[..., n_f:]
            cross = re * im
            re.square_().addcmul_(im, im, value=-1)
            torch.add(cross, cross, out=im)
            torch.bmm(r_hn2F, d_HV2F[some].mT, out=dq_HnV[some])
            torch.bmm(r_hn2F, dg_HV2F[some].mT, out=da_HnV[some])
        dq, da = ((d * coef_HVn.mT).sum(-1).neg_() for d in (dq_HnV, da_HnV))
        return da, dq, dcoef_HnV.mT, None


def _quotients(a_Hn: Tensor, q_Hn: Tensor, g_F: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """1/(g² + a g + q) of some channels after another: the channels, and (h, n, 2F) to be overwritten."""
    n_f, g2_F = len(g_F), g_F * g_F
    limit = CACHE_BYTES if a_Hn.device.type == "cpu" else DEVICE_BYTES
    step = max(1, limit // (16 * n_f * a_Hn.shape[1]))
    parts = [x.contiguous() for x in (g_F.real, g_F.imag, g2_F.real, g2_F.imag)]
    for start in range(0, len(a_Hn), step):
        some = slice(start, start + step)
        a, q = a_Hn[some, :, None], q_Hn[some, :, None]
        r = a.new_empty(*a.shape[:2], 2 * n_f)
        re, im = r[..., :n_f], r[..., n_f:]
        torch.mul(a, parts[0], out=re).add_(parts[2]).add_(q)
        torch.mul(a, parts[1], out=im).add_(parts[3])
        scale = (re * re).addcmul_(im, im).reciprocal_()
        re.mul_(scale)
        im.mul_(scale.neg_())
        yield some, r


def ssm_kernel(
    lam_Hn: Tensor, p_Hn: Tensor, b_Hn: Tensor, c_QHn: Tensor, log_dt_H: Tensor, n_bins: int
) -> Tensor:
    """Impulse responses K[l] = [C, C̄] Ā^l B̄, l = 0 … n_bins - 1, of H systems under Q read-outs.

    A = diag(Λ, Λ̄) - [P; P̄][P; P̄]*, discretised bilinearly with step Δ. Inputs are complex, except
    `log_dt_H`. Returns (Q, H, n_bins), real, in double precision.

    The generating function Σ K[l] z^l = 2/(1+z) C (g - A)^-1 B, g = 2/Δ (1-z)/(1+z), is evaluated by
    Woodbury's identity for the rank-1 term (Gu et al. 2022, Algorithm 1) on a circle of radius r < 1
    and inverted by one FFT of M ≥ n_bins points. The part of the response beyond M bins folds
    back multiplied by r^M, here 1e-8, so neither Ā^n_bins nor a fixed training length is needed; undoing
    the damping amplifies rounding by at most 1e8, which double precision has to spare.
    """
    n_fft = fast_length(max(n_bins, 16))
    lam_Hn, p_Hn, b_Hn, c_QHn = (x.to(torch.complex128) for x in (lam_Hn, p_Hn, b_Hn, c_QHn))
    dt_H1 = log_dt_H.double().exp()[:, None]
    radius = _ALIASING ** (1 / n_fft)
    angle_F = torch.arange(n_fft // 2 + 1, device=lam_Hn.device, dtype=torch.float64) * (
        2 * math.pi / n_fft
    )
    z_F = torch.polar(torch.full_like(angle_F, radius), -angle_F)
    # In units of Δ, the nodes are the same for every channel.
    g_F = 2 * (1 - z_F) / (1 + z_F)
    lam_Hn = lam_Hn * dt_H1
    # Products of a right vector, B or P, with each read-out and with P*: (H, 2, Q+1, n).
    right_H2n = torch.stack((b_Hn, p_Hn), 1)
    left_HLn = torch.cat((c_QHn, p_Hn.conj()[None])).movedim(0, 1)
    v = right_H2n[:, :, None] * left_HLn[:, None] * dt_H1[:, None, None]
    coef = 2 * torch.stack((v.real, -(v * lam_Hn.conj()[:, None, None]).real), 1)
    slope, level = (
        _PairSums.apply(-2 * lam_Hn.real, lam_Hn.real**2 + lam_Hn.imag**2, coef.flatten(1, 3), g_F)
        .unflatten(1, coef.shape[1:4])
        .unbind(1)
    )
    for_b, for_p = (slope * g_F + level).unbind(1)
    cb_HQF, pb_H1F = for_b.split(len(c_QHn), 1)
    cp_HQF, pp_H1F = for_p.split(len(c_QHn), 1)
    k_HQF = 2 / (1 + z_F) * (cb_HQF - cp_HQF * (pb_H1F / (1 + pp_H1F)))
    k_HQT = torch.fft.irfft(k_HQF, n=n_fft)[..., :n_bins]
    lags_T = torch.arange(n_bins, device=lam_Hn.device, dtype=torch.float64)
    return (k_HQT * radius**-lags_T).movedim(1, 0)


def long_convolution(x_HBT: Tensor, taps: Tensor) -> Tensor:
    """Filter along time, in float32 at least, by real FFTs: (H, B, T).

    taps: (H, L), L ≥ 2T - 1 and even, negative lags at the end; or their real FFT, complex (H, L/2 + 1).
    """
    with torch.autocast(x_HBT.device.type, enabled=False):
        x = x_HBT if x_HBT.dtype == torch.float64 else x_HBT.float()
        if not taps.is_complex():
            return _LongConvolution.apply(x, taps)
        n_fft = 2 * (taps.shape[-1] - 1)
        return torch.fft.irfft(torch.fft.rfft(x, n=n_fft).mul_(taps[:, None]), n=n_fft)[
            ..., : x.shape[-1]
        ]


class _LongConvolution(torch.autograd.Function):
    """`long_convolution` with real taps; the transform of the input is not kept but made again."""

    @staticmethod
    def forward(ctx: Any, x_HBT: Tensor, taps_HL: Tensor) -> Tensor:
        ctx.save_for_backward(x_HBT, taps_HL)
        n_bins, n_fft = x_HBT.shape[-1], taps_HL.shape[-1]
        y_f = torch.fft.rfft(x_HBT, n=n_fft).mul_(torch.fft.rfft(taps_HL)[:, None])
        return torch.fft.irfft(y_f, n=n_fft)[..., :n_bins]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x_HBT, taps_HL = ctx.saved_tensors
        n_bins, n_fft = x_HBT.shape[-1], taps_HL.shape[-1]
        dy_f = torch.fft.rfft(grads[0], n=n_fft)
        x_f = torch.fft.rfft(x_HBT, n=n_fft)
        dtaps = torch.fft.irfft((x_f.conj_physical_().mul_(dy_f)).sum(1), n=n_fft)
        dy_f.mul_(torch.fft.rfft(taps_HL).conj()[:, None])
        return torch.fft.irfft(dy_f, n=n_fft)[..., :n_bins], dtaps


def hippo_legs() -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS in normal-plus-low-rank form: (Λ, P, B), each (32,) complex, the conjugate half dropped.

    Gu et al. 2022, Theorem 1: A = V (diag Λ - P P*) V*; B is the input vector in the same basis.
    """
    size = 2 * N_PAIRS
    k = torch.arange(size, dtype=torch.float64)
    root = torch.sqrt(2 * k + 1)
    a = -torch.tril(torch.outer(root, root), -1) - torch.diag(k + 1)
    p = torch.sqrt(k + 0.5)
    normal = a + torch.outer(p, p)  # -1/2 I plus a skew-symmetric matrix
    skew = normal + 0.5 * torch.eye(size, dtype=torch.float64)
    omega, basis = torch.linalg.eigh(skew.to(torch.complex128) * -1j)  # skew = i · Hermitian
    keep = omega < 0
    basis = basis[:, keep]
    lam = torch.complex(torch.full((N_PAIRS,), -0.5, dtype=torch.float64), omega[keep])
    return lam, basis.mH @ p.to(torch.complex128), basis.mH @ root.to(torch.complex128)


class S4(nn.Module):
    """State-space layer with diagonal-plus-low-rank transition, and a skip: (H, B, T) → (H, B, T).

    Args:
        width: channels H.
        bidirectional: a second read-out of the same states, run backwards in time, is added:
            y[t] = Σ_{j≤t} K0[t-j] x[j] + Σ_{j>t} K1[j-t-1] x[j] + D x[t]; else the second sum is absent.

    The parameters hold the system itself and not one for a given length: any T gives the same system.
    """

    def __init__(self, width: int, *, bidirectional: bool) -> None:
        super().__init__()
        lam, p, b = (x.to(torch.complex64) for x in hippo_legs())
        n_readouts = 2 if bidirectional else 1

        def per_channel(x: Tensor) -> nn.Parameter:
            return nn.Parameter(x.expand(width, *x.shape).clone())

        self.log_neg_re = per_channel((-lam.real).log())
        self.neg_im = per_channel(-lam.imag)
        self.p = per_channel(torch.view_as_real(p))
        self.b = per_channel(torch.view_as_real(b))
        c = torch.randn(n_readouts, width, N_PAIRS, 2) * math.sqrt(0.5)
        self.c = nn.Parameter(c)
        low, high = math.log(1e-3), math.log(1e-1)
        self.log_dt = nn.Parameter(torch.rand(width) * (high - low) + low)
        self.skip = nn.Parameter(torch.randn(width))

    def kernel(self, n_bins: int) -> Tensor:
        """Impulse responses (Q, H, n_bins): forward in time, then (if bidirectional) backward."""
        lam = torch.complex(-self.log_neg_re.double().exp(), -self.neg_im.double())
        p, b, c = (torch.view_as_complex(x.double()) for x in (self.p, self.b, self.c))
        k_QHT = ssm_kernel(lam, p, b, c, self.log_dt, n_bins)
        return k_QHT.to(self.skip.dtype)

    def taps(self, n_bins: int) -> Tensor:
        """The two-sided kernel with the skip, (H, L), L ≥ 2 n_bins; lag -m sits at L - m."""
        n_fft = fast_length(2 * n_bins)
        k_QHT = self.kernel(n_bins)
        taps = torch.cat((k_QHT[0, :, :1] + self.skip[:, None], k_QHT[0, :, 1:]), 1)
        taps = nn.functional.pad(taps, (0, n_fft - n_bins))
        if len(k_QHT) == 2:
            taps = taps + nn.functional.pad(k_QHT[1].flip(-1), (n_fft - n_bins, 0))
        return taps

    @torch.no_grad()
    def taps_fft(self, n_bins: int) -> Tensor:
        """Real FFT (H, F) of `taps`: all that a convolution needs while the weights stand still."""
        return torch.fft.rfft(self.taps(n_bins))

    def forward(self, x_HBT: Tensor, taps: Tensor | None = None) -> Tensor:
        """Filter `x_HBT`; `taps` is what `taps` or `taps_fft` returned, if it is there already."""
        return long_convolution(x_HBT, self.taps(x_HBT.shape[-1]) if taps is None else taps)
