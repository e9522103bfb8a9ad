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

PIECE_BYTES = 1 << 23
"""Largest tensor in `ssm_kernel` on a CPU: small ones stay in its cache, and their memory with the process (see
`ldns_ray.memory`). At 9000 bins, transforms of large ones take four times as long."""

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


def geometric_sums(log_mu_Hn: Tensor, weights_HVn: Tensor, n_terms: int) -> Tensor:
    """2 Re Σ_n w_n μ_n^l for l = 0 … n_terms - 1: (H, V, n_terms), real.

    With l = i m + j, μ^l = μ^{i m} μ^j: a matrix product of two small tables of powers. The table of all
    powers, n times as large as the result, is never made.
    """
    n_v = weights_HVn.shape[1]
    m = _divisor_near(n_terms, math.sqrt(n_v * n_terms))  # tables of equal size
    rows_Hin = _powers(m * log_mu_Hn, n_terms // m)
    columns_Hmn = _powers(log_mu_Hn.conj(), m)
    left_HVin = (2 * weights_HVn)[:, :, None] * rows_Hin[:, None]
    # Re(x y) is the product of (Re x, Im x) with those of the conjugate of y.
    left, right = (torch.view_as_real(x).flatten(-2) for x in (left_HVin, columns_Hmn))
    return torch.bmm(left.flatten(1, 2), right.mT).view(-1, n_v, n_terms)


def _powers(log_mu_Hn: Tensor, n: int) -> Tensor:
    """μ^j for j = 0 … n - 1, (H, n, n_states): products of two tables, where exponentials would take longer."""

    def table(log: Tensor, size: int) -> Tensor:
        exponents = torch.arange(size, device=log.device, dtype=torch.float64)
        return torch.exp(log[:, None] * exponents[:, None])

    k = math.isqrt(n - 1) + 1
    coarse, fine = table(k * log_mu_Hn, -(-n // k)), table(log_mu_Hn, k)
    return (coarse[:, :, None] * fine[:, None]).flatten(1, 2)[:, :n]


def _divisor_near(n: int, wanted: float) -> int:
    """The divisor of n nearest to a number, as a ratio."""
    divisors = (d for k in range(1, math.isqrt(n) + 1) if n % k == 0 for d in (k, n // k))
    return min(divisors, key=lambda d: abs(math.log(d / wanted)))


class _Woodbury(torch.autograd.Function):
    """From the diagonal's sums in time to the response: FFT, Woodbury's identity, inverse FFT.

    forward(sums_HVM, one_z_F, n_q): V = 2 n_q + 2 sums CB, PB, CP, PP; M even. Returns the M terms of
    CB - CP PB / (1/(1+z) + PP), (H, n_q, M).
    """

    @staticmethod
    def forward(ctx: Any, sums_HVM: Tensor, one_z_F: Tensor, n_q: int) -> Tensor:
        sums_HVF = torch.fft.rfft(sums_HVM)
        cb, pb, cp, pp = sums_HVF.split((n_q, 1, n_q, 1), 1)
        inverse_H1F = (pp + 1 / one_z_F).reciprocal_()
        ratio_H1F = pb * inverse_H1F
        k_HQF = torch.addcmul(cb, cp, ratio_H1F, value=-1)
        ctx.save_for_backward(sums_HVF, inverse_H1F, ratio_H1F)
        ctx.n_q = n_q
        return torch.fft.irfft(k_HQF, n=sums_HVM.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        # The transform's adjoint is M times its inverse, and the other way round: the M cancel.
        sums_HVF, inverse_H1F, ratio_H1F = ctx.saved_tensors
        n_q = ctx.n_q
        out_HVF = torch.empty_like(sums_HVF)
        d_cb, d_pb, d_cp, d_pp = out_HVF.split((n_q, 1, n_q, 1), 1)
        cp = sums_HVF[:, n_q + 1 : -1]
        torch.fft.rfft(grads[0], out=d_cb)
        torch.mul(d_cb, ratio_H1F.conj(), out=d_cp).neg_()
        torch.mul(torch.sum(d_cb * cp.conj(), 1, keepdim=True), inverse_H1F.conj(), out=d_pb).neg_()
        torch.mul(d_pb, ratio_H1F.conj(), out=d_pp).neg_()
        return torch.fft.irfft(out_HVF, n=grads[0].shape[-1]), None, None


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

    The sums over the diagonal that Woodbury's identity asks for, Σ_n v_n / (g - λ_n), are geometric series in z,
    Δ (1+z) Σ_l z^l Σ_n v_n / (2 - Δλ_n) μ_n^l with μ = (2 + Δλ)/(2 - Δλ): FFTs of `geometric_sums`, with r in
    μ. M terms of such a series, over 1 - r^M μ^M, are all of it at the M nodes.
    """
    n_fft = fast_length(max(n_bins, 16))
    step = len(lam_Hn)
    if lam_Hn.device.type == "cpu":
        step = max(1, PIECE_BYTES // (8 * n_fft * (2 * len(c_QHn) + 2)))
    c_HQn = c_QHn.movedim(1, 0)
    inputs = (x.split(step) for x in (lam_Hn, p_Hn, b_Hn, c_HQn, log_dt_H))
    pieces = [
        _response(lam, p, b, c, log_dt, n_bins, n_fft)
        for lam, p, b, c, log_dt in zip(*inputs, strict=True)
    ]
    return torch.cat(pieces).movedim(1, 0)


def _response(
    lam_Hn: Tensor, p_Hn: Tensor, b_Hn: Tensor, c_HQn: Tensor, log_dt_H: Tensor, n_bins: int, n_fft: int
) -> Tensor:  # fmt: skip
    """`ssm_kernel` of some channels, with M = n_fft: (H, Q, n_bins)."""
    lam_Hn, p_Hn, b_Hn, c_HQn = (x.to(torch.complex128) for x in (lam_Hn, p_Hn, b_Hn, c_HQn))
    dt_H1 = log_dt_H.double().exp()[:, None]
    lam_Hn = lam_Hn * dt_H1
    log_radius = math.log(_ALIASING) / n_fft
    log_mu_Hn = ((2 + lam_Hn) / (2 - lam_Hn)).log() + log_radius
    series_Hn = dt_H1 / ((2 - lam_Hn) * (1 - torch.exp(log_mu_Hn * n_fft)))
    # Products of a right vector, B or P, with each read-out and with P*: (H, 2, Q+1, n).
    right_H2n = torch.stack((b_Hn, p_Hn), 1) * series_Hn[:, None]
    left_HLn = torch.cat((c_HQn, p_Hn.conj()[:, None]), 1)
    v_HVn = (right_H2n[:, :, None] * left_HLn[:, None]).flatten(1, 2)
    nodes = torch.arange(n_fft // 2 + 1, device=lam_Hn.device, dtype=torch.float64)
    nodes = nodes * (-2 * math.pi / n_fft)
    one_z_F = 1 + torch.polar(torch.full_like(nodes, math.exp(log_radius)), nodes)
    sums_HVM = geometric_sums(log_mu_Hn, v_HVn, n_fft)
    k_HQT = _Woodbury.apply(sums_HVM, one_z_F, c_HQn.shape[1])[..., :n_bins]
    lags_T = torch.arange(n_bins, device=lam_Hn.device, dtype=torch.float64)
    return k_HQT * (2 * torch.exp(-log_radius * lags_T))


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
    """`long_convolution` with real taps, in both passes by transforms of real numbers."""

    @staticmethod
    def forward(ctx: Any, x_HBT: Tensor, taps_HL: Tensor) -> Tensor:
        n_bins, n_fft = x_HBT.shape[-1], taps_HL.shape[-1]
        x_f = torch.fft.rfft(x_HBT, n=n_fft)
        taps_f = torch.fft.rfft(taps_HL)[:, None]
        ctx.save_for_backward(x_f, taps_f)
        ctx.n_bins, ctx.n_fft = n_bins, n_fft
        # What follows reads a contiguous tensor several times faster, and keeps half the memory.
        return torch.fft.irfft(x_f * taps_f, n=n_fft)[..., :n_bins].contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x_f, taps_f = ctx.saved_tensors
        dy_f = torch.fft.rfft(grads[0], n=ctx.n_fft)
        dtaps = torch.fft.irfft((dy_f * x_f.conj()).sum(1), n=ctx.n_fft)
        dx = torch.fft.irfft(dy_f.mul_(taps_f.conj()), n=ctx.n_fft)
        return dx[..., : ctx.n_bins].contiguous(), dtaps


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
