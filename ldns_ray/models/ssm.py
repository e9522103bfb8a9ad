"""Structured state-space layer (S4): one single-input single-output linear system per channel.

Shapes: H channels, B trials, T bins, n = 32 conjugate pairs of states, V products of two state
vectors, F frequencies. Inside the networks the channel is the first axis (`x_HBT`): time is then
contiguous for norms and FFTs, and every linear layer is one matrix product.

Gu, Goel, Ré, "Efficiently modeling long sequences with structured state spaces", ICLR 2022.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

N_PAIRS = 32
"""Conjugate pairs of states per channel: state size 64."""

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
    R = 1/(g² + a g + q) is shared by all v, so each sum is a matrix product with real coefficients.

    forward(a_Hn, q_Hn, coef_HVn, g_F): returns the real and imaginary parts of Σ_n coef R, (H, V, F).
    """

    @staticmethod
    def forward(
        ctx: Any, a_Hn: Tensor, q_Hn: Tensor, coef_HVn: Tensor, g_F: Tensor
    ) -> tuple[Tensor, Tensor]:
        g_2F = torch.stack((g_F.real, g_F.imag))
        g2_F = g_F * g_F
        # The denominator is linear in (a, q): two small matrix products instead of passes over (H, n, F).
        aq_Hn2 = torch.stack((a_Hn, q_Hn), -1)
        real = torch.stack((g_2F[0], torch.ones_like(g_2F[0])))
        re_HnF = (aq_Hn2 @ real).add_(g2_F.real)
        im_HnF = (a_Hn[..., None] * g_2F[1]).add_(g2_F.imag)
        scale = (re_HnF * re_HnF).addcmul_(im_HnF, im_HnF).reciprocal_()
        re_HnF.mul_(scale)
        im_HnF.mul_(scale).neg_()
        ctx.save_for_backward(coef_HVn, g_2F, re_HnF, im_HnF)
        return coef_HVn @ re_HnF, coef_HVn @ im_HnF

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        coef_HVn, g_2F, re, im = ctx.saved_tensors
        dre, dim = grads
        dcoef = dre @ re.mT + dim @ im.mT
        dre, dim = coef_HVn.mT @ dre, coef_HVn.mT @ dim
        # dR = -R² d(denominator)
        sq_re = (re * re).addcmul_(im, im, value=-1)
        sq_im = (re * im).mul_(2)
        dden_re = (sq_re * dre).addcmul_(sq_im, dim).neg_()
        dden_im = (sq_im * dre).addcmul_(sq_re, dim, value=-1)
        da = dden_re @ g_2F[0] + dden_im @ g_2F[1]
        return da, dden_re.sum(-1), dcoef, None


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
    right = torch.stack((b_Hn, p_Hn))
    left = torch.cat((c_QHn, p_Hn.conj()[None]))
    v = (left[:, None] * right).flatten(0, 1).movedim(0, 1)  # (H, 2Q+2, n): CB, CP, …, P*B, P*P
    coef = torch.cat((2 * v.real, -2 * (v * lam_Hn.conj()[:, None]).real), 1)
    re, im = _PairSums.apply(-2 * lam_Hn.real, lam_Hn.real**2 + lam_Hn.imag**2, coef, g_F)
    slope, level = torch.complex(re, im).chunk(2, dim=1)
    sums = (g_F * slope + level).unflatten(1, (len(left), 2)) * dt_H1[..., None, None]
    cb_HQF, cp_HQF = sums[:, :-1, 0], sums[:, :-1, 1]
    pb_H1F, pp_H1F = sums[:, -1:, 0], sums[:, -1:, 1]
    k_HQF = 2 / (1 + z_F) * (cb_HQF - cp_HQF * pb_H1F / (1 + pp_H1F))
    k_HQT = torch.fft.irfft(k_HQF, n=n_fft)[..., :n_bins]
    lags_T = torch.arange(n_bins, device=lam_Hn.device, dtype=torch.float64)
    return (k_HQT * radius**-lags_T).movedim(1, 0)


class _LongConvolution(torch.autograd.Function):
    """Circular convolution along time by real FFTs, also in the backward pass.

    forward(x_HBT, taps_HL): L ≥ 2T - 1 taps, negative lags at the end. Returns (H, B, T).
    """

    @staticmethod
    def forward(ctx: Any, x_HBT: Tensor, taps_HL: Tensor) -> Tensor:
        n_bins, n_fft = x_HBT.shape[-1], taps_HL.shape[-1]
        x_f = torch.fft.rfft(x_HBT, n=n_fft)
        taps_f = torch.fft.rfft(taps_HL)
        ctx.save_for_backward(x_f, taps_f)
        ctx.n_bins, ctx.n_fft = n_bins, n_fft
        return torch.fft.irfft(x_f * taps_f[:, None], n=n_fft)[..., :n_bins]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x_f, taps_f = ctx.saved_tensors
        dy_f = torch.fft.rfft(grads[0], n=ctx.n_fft)
        dtaps = torch.fft.irfft((dy_f * x_f.conj()).sum(1), n=ctx.n_fft)
        dx = torch.fft.irfft(dy_f.mul_(taps_f.conj()[:, None]), n=ctx.n_fft)[..., : ctx.n_bins]
        return dx, dtaps


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
    def taps_fft(self, n_bins: int) -> tuple[Tensor, int]:
        """FFT (H, F) of `taps` and its number of points: all that `forward` needs when weights stand still."""
        taps_HL = self.taps(n_bins)
        return torch.fft.rfft(taps_HL), taps_HL.shape[-1]

    def forward(self, x_HBT: Tensor, kernel: tuple[Tensor, int] | None = None) -> Tensor:
        """Filter `x_HBT`, in float32 at least; `kernel` is what `taps_fft` returned, for reuse over calls."""
        with torch.autocast(x_HBT.device.type, enabled=False):
            x = x_HBT if x_HBT.dtype == torch.float64 else x_HBT.float()
            n_bins = x.shape[-1]
            if kernel is None:
                return _LongConvolution.apply(x, self.taps(n_bins))
            taps_f, n_fft = kernel
            return torch.fft.irfft(torch.fft.rfft(x, n=n_fft) * taps_f[:, None], n=n_fft)[
                ..., :n_bins
            ]
