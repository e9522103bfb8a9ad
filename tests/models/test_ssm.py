"""The state-space layer against its definition: dense recurrence, HiPPO matrix, derivatives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ldns_ray.models.ssm import (
    N_PAIRS,
    S4,
    _LongConvolution,
    _Woodbury,
    fast_length,
    geometric_sums,
    hippo_legs,
    ssm_kernel,
)
from tests.models.dense import dense_recurrence

WIDTH, BATCH = 3, 2


def layer(bidirectional, seed=0, width=WIDTH):
    """A layer away from its initialisation, where P and B of all channels are alike."""
    torch.manual_seed(seed)
    s4 = S4(width, bidirectional=bidirectional)
    with torch.no_grad():
        for parameter in (s4.log_neg_re, s4.neg_im, s4.p, s4.b):
            parameter += 0.1 * torch.randn_like(parameter)
    return s4


def relative(got, expected):
    return float((got.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("n_bins", [1, 7, 64, 140, 513, 4096])
def test_equals_the_dense_recurrence(n_bins, bidirectional):
    s4 = layer(bidirectional)
    x_HBT = torch.randn(WIDTH, BATCH, n_bins)
    with torch.no_grad():
        expected = dense_recurrence(s4, x_HBT)
        assert relative(s4(x_HBT), expected) < 1e-4
        assert s4(x_HBT).dtype == torch.float32


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
def test_double_precision_is_kept(bidirectional):
    s4 = layer(bidirectional).double()
    x_HBT = torch.randn(WIDTH, BATCH, 90, dtype=torch.float64)
    with torch.no_grad():
        assert relative(s4(x_HBT), dense_recurrence(s4, x_HBT)) < 1e-6


def test_kernel_does_not_depend_on_the_length_asked_for():
    s4 = layer(True)
    torch.testing.assert_close(s4.kernel(300)[..., :40], s4.kernel(40), rtol=1e-4, atol=1e-6)


def test_kernel_outlasting_the_sequence_does_not_fold_back():
    """Slow channels: the response has hardly decayed where the sequence ends."""
    s4 = layer(False)
    with torch.no_grad():
        s4.log_dt.fill_(-9.0)
    x_HBT = torch.zeros(WIDTH, 1, 20)
    x_HBT[..., 0] = 1
    with torch.no_grad():
        assert relative(s4(x_HBT), dense_recurrence(s4, x_HBT)) < 1e-4


def test_causal_layer_does_not_look_ahead_and_bidirectional_does():
    x_HBT = torch.randn(WIDTH, BATCH, 50)
    changed = x_HBT.clone()
    changed[..., 30:] += 1
    for bidirectional in (False, True):
        s4 = layer(bidirectional)
        with torch.no_grad():
            difference_T = (s4(changed) - s4(x_HBT)).abs().amax((0, 1))
        assert difference_T[30:].min() > 1e-3
        if bidirectional:
            assert difference_T[29] > 1e-3
        else:
            assert difference_T[:30].max() < 1e-5


def test_precomputed_taps_give_the_same():
    x_HBT = torch.randn(WIDTH, BATCH, 77)
    for bidirectional in (False, True):
        s4 = layer(bidirectional)
        with torch.no_grad():
            torch.testing.assert_close(s4(x_HBT, s4.taps_fft(77)), s4(x_HBT), rtol=1e-5, atol=1e-5)


def test_half_precision_is_computed_in_single():
    s4 = layer(True)
    x_HBT = torch.randn(WIDTH, BATCH, 40).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = s4(x_HBT)
    assert out.dtype == torch.float32
    with torch.no_grad():
        assert relative(out, dense_recurrence(s4, x_HBT.float())) < 1e-4


def test_gradient_of_the_kernel():
    generator = torch.Generator().manual_seed(0)
    n_channels, n = 2, 3

    def random(*shape):
        x = torch.randn(*shape, generator=generator, dtype=torch.complex128)
        return x.requires_grad_()

    with torch.no_grad():
        imaginary = 3 * torch.randn(n_channels, n, generator=generator, dtype=torch.float64)
        lam = torch.complex(torch.full_like(imaginary, -0.5), imaginary)
    log_dt = torch.tensor([-1.0, -0.3], dtype=torch.float64, requires_grad=True)
    inputs = (
        lam.requires_grad_(),
        random(n_channels, n),
        random(n_channels, n),
        random(2, n_channels, n),
        log_dt,
    )
    assert torch.autograd.gradcheck(lambda *x: ssm_kernel(*x, 6), inputs, atol=1e-6, rtol=1e-4)


def test_gradient_of_the_convolution():
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(2, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_LongConvolution.apply, (x, taps))


def test_training_moves_every_parameter():
    s4 = layer(True)
    s4(torch.randn(WIDTH, BATCH, 30)).square().sum().backward()
    for name, parameter in s4.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().amax() > 0, name


def test_hippo_legs_is_the_matrix_of_its_definition():
    """V (diag Λ - P P*) V* = HiPPO-LegS and V B = its input vector (Gu et al. 2022, Theorem 1)."""
    lam, p, b = (torch.cat((x, x.conj())) for x in hippo_legs())
    size = 2 * N_PAIRS
    k = torch.arange(size, dtype=torch.float64)
    root = (2 * k + 1).sqrt()
    expected = torch.zeros(size, size, dtype=torch.float64)
    for i in range(size):
        expected[i, :i] = -root[i] * root[:i]
        expected[i, i] = -(i + 1)
    vector = (k + 0.5).sqrt()
    # The eigenvectors of the normal part, in the order of Λ, with the phases that P was given.
    order = lam.imag.argsort()
    lam, p, b = lam[order], p[order], b[order]
    hermitian = (expected + torch.outer(vector, vector) + 0.5 * torch.eye(size)) * -1j
    omega, basis = torch.linalg.eigh(hermitian)
    torch.testing.assert_close(omega, lam.imag, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(lam.real, torch.full_like(lam.real, -0.5))
    phase = (p / (basis.mH @ vector.to(basis.dtype))).conj()
    torch.testing.assert_close(phase.abs(), torch.ones_like(phase.abs()), rtol=1e-8, atol=1e-8)
    v = basis * phase
    a = v @ (torch.diag(lam) - torch.outer(p, p.conj())) @ v.mH
    torch.testing.assert_close(a.real, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(a.imag, torch.zeros_like(expected), rtol=0, atol=1e-8)
    torch.testing.assert_close((v @ b).real, root, rtol=1e-8, atol=1e-8)


def test_initialisation_is_hippo_with_steps_over_two_decades():
    torch.manual_seed(0)
    s4 = S4(500, bidirectional=False)
    lam, p, _ = hippo_legs()
    torch.testing.assert_close(-s4.log_neg_re[7].exp(), lam.real.float())
    torch.testing.assert_close(torch.view_as_complex(s4.p[7].detach()), p.to(torch.complex64))
    dt = s4.log_dt.exp()
    assert 1e-3 <= dt.min() < 1.1e-3
    assert 0.09 < dt.max() <= 0.1
    assert abs(float(s4.log_dt.detach().median().exp()) - 0.01) < 2e-3  # log-uniform
    c = torch.view_as_complex(s4.c.detach())
    assert abs(float(c.abs().square().mean()) - 1) < 0.05


@given(st.integers(1, 20_000))
def test_fast_length(n):
    def smooth(m):
        for prime in (2, 3, 5):
            while m % prime == 0:
                m //= prime
        return m == 1

    found = fast_length(n)
    assert found >= n
    assert found % 2 == 0
    assert smooth(found)
    assert not any(smooth(m) for m in range(n + n % 2, found, 2))


@pytest.mark.parametrize("n_terms", [1, 2, 7, 24, 90, 97])
def test_geometric_sums_by_their_definition(n_terms):
    torch.manual_seed(0)
    mu = torch.polar(0.9 + 0.1 * torch.rand(3, 5), 3 * torch.rand(3, 5)).to(torch.complex128)
    weights = torch.randn(3, 4, 5, dtype=torch.complex128)
    powers = mu[..., None] ** torch.arange(n_terms)
    expected = 2 * (weights @ powers).real
    torch.testing.assert_close(geometric_sums(mu.log(), weights, n_terms), expected)


def test_gradient_of_the_geometric_sums():
    torch.manual_seed(0)
    log_mu = torch.complex(-0.1 * torch.rand(2, 3), torch.randn(2, 3)).to(torch.complex128)
    weights = torch.randn(2, 4, 3, dtype=torch.complex128)
    inputs = (log_mu.requires_grad_(), weights.requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: geometric_sums(*x, 12), inputs)


@pytest.mark.parametrize("n_q", [1, 2])
def test_woodbury_and_its_gradient(n_q):
    torch.manual_seed(0)
    sums = torch.randn(3, 2 * n_q + 2, 10, dtype=torch.float64, requires_grad=True)
    one_z = 2 + 0.1 * torch.randn(6, dtype=torch.complex128)
    one_z[[0, -1]] = one_z[[0, -1]].real.to(one_z.dtype)  # of a real sequence
    cb, pb, cp, pp = torch.fft.rfft(sums.detach()).split((n_q, 1, n_q, 1), 1)
    expected = torch.fft.irfft(cb - cp * pb / (1 / one_z + pp), n=10)
    torch.testing.assert_close(_Woodbury.apply(sums, one_z, n_q), expected)
    assert torch.autograd.gradcheck(lambda x: _Woodbury.apply(x, one_z, n_q), (sums,))
