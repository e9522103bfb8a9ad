"""Noise schedule, loss and samplers, against Gaussians whose score is known."""

import math
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch

from ldns_ray.config import SamplerName
from ldns_ray.models.diffusion import (
    RENEWAL,
    SAMPLERS,
    Schedule,
    add_noise,
    ddim,
    ddpm,
    diffusion_loss,
    dpmpp_2m,
    linear_schedule,
    sampler_named,
)

SCHEDULE = linear_schedule(1000, 1e-4, 0.02)
MEAN = torch.tensor([0.7, -0.4], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.6, 0.35], [0.35, 0.4]], dtype=torch.float64)


def alpha_bar_at(t, schedule=SCHEDULE):
    """ᾱ at fractional steps: the half log signal-to-noise ratio is linear in between."""
    log_snr = 0.5 * (schedule.alpha_bar.log() - torch.log1p(-schedule.alpha_bar))
    between = np.interp(t, np.arange(len(log_snr)), log_snr.numpy())
    return 1 / (1 + math.exp(-2 * between))


def gaussian_noise(mean, covariance, schedule=SCHEDULE):
    """The exact predictor for Gaussian data: ε = σ (α² Σ + σ²)^-1 (z - α μ)."""

    def predict_noise(z_BTD, t_B):
        a = alpha_bar_at(float(t_B[0]), schedule)
        marginal = a * covariance + (1 - a) * torch.eye(len(covariance), dtype=torch.float64)
        return math.sqrt(1 - a) * (z_BTD - math.sqrt(a) * mean) @ torch.linalg.inv(marginal)

    return predict_noise


def noise(n_trials, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw():
        return torch.randn(n_trials, 1, 2, generator=generator, dtype=torch.float64)

    return draw


def assert_recovered(z_B1D, bias):
    """Mean and covariance within 5 standard errors and the sampler's own bias."""
    z_BD, n = z_B1D[:, 0], len(z_B1D)
    error = 5 * (COVARIANCE.diagonal() / n).sqrt()
    assert ((z_BD.mean(0) - MEAN).abs() < error + bias).all()
    variance = COVARIANCE.diagonal()
    error = 5 * ((torch.outer(variance, variance) + COVARIANCE.square()) / n).sqrt()
    assert ((z_BD.T.cov() - COVARIANCE).abs() < error + bias).all()


def test_schedule_by_hand():
    schedule = linear_schedule(3, 0.1, 0.3)
    assert schedule.beta.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert schedule.alpha_bar.tolist() == pytest.approx([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7])
    assert schedule.beta.dtype == torch.float64
    assert float(SCHEDULE.alpha_bar[-1]) == pytest.approx(4.04e-5, rel=1e-2)


def test_add_noise():
    z = torch.full((2, 50_000, 1), 3.0)
    eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    noisy = add_noise(z, eps, torch.tensor([0.25, 1.0], dtype=torch.float64))
    assert noisy.dtype == torch.float32
    assert float(noisy[0].mean()) == pytest.approx(1.5, abs=0.02)
    assert float(noisy[0].var()) == pytest.approx(0.75, rel=0.03)
    assert torch.equal(noisy[1], z[1])


def test_loss_by_hand():
    predicted = torch.tensor([[[0.0, 1.0], [3.0, 9.0]]])
    eps = torch.tensor([[[0.0, 0.5], [1.0, 0.0]]])
    mask = torch.tensor([[True, False]])
    loss = diffusion_loss(predicted, eps, None, loss="mse", smooth_l1_beta=1.0)
    assert float(loss.mean) == pytest.approx((0 + 0.25 + 4 + 81) / 4)
    loss = diffusion_loss(predicted, eps, mask, loss="mse", smooth_l1_beta=1.0)
    assert float(loss.mean) == pytest.approx(0.25 / 2)
    # 0.5 is below beta: square / (2 beta); 2 and 9 are above: |.| - beta / 2.
    loss = diffusion_loss(predicted, eps, None, loss="smooth_l1", smooth_l1_beta=0.8)
    assert float(loss.mean) == pytest.approx((0.25 / 1.6 + (2 - 0.4) + (9 - 0.4)) / 4)


def test_ddpm_samples_the_gaussian():
    draw = noise(20_000)
    z = ddpm(gaussian_noise(MEAN, COVARIANCE), SCHEDULE, draw(), draw)
    assert_recovered(z, bias=0.005)


def test_dpmpp_samples_the_gaussian():
    z = dpmpp_2m(gaussian_noise(MEAN, COVARIANCE), SCHEDULE, noise(20_000)(), 50)
    assert_recovered(z, bias=0.02)


@pytest.mark.parametrize("renewal", [0.25, 1.0])
def test_dpmpp_with_noise_samples_the_gaussian(renewal):
    draw = noise(20_000)
    z = dpmpp_2m(gaussian_noise(MEAN, COVARIANCE), SCHEDULE, draw(), 50, None, draw, renewal)
    assert_recovered(z, bias=0.02)


@pytest.mark.parametrize("renewal", [0.25, 1.0])
def test_noise_is_put_in_the_place_of_noise_by_hand(renewal):
    """Two steps with no noise predicted, so that the clean latents are the noisy ones over their α."""
    schedule = linear_schedule(2, 0.1, 0.3)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    drawn = iter([3 * one])
    z = dpmpp_2m(
        lambda z, t: torch.zeros_like(z), schedule, 2 * one, 2, None, lambda: next(drawn), renewal
    )
    (a0, a1) = schedule.alpha_bar.tolist()
    # The half log signal-to-noise ratio grows by h: e^-h is the ratio of σ/α.
    e_h = math.sqrt(((1 - a0) / a0) / ((1 - a1) / a1))
    kept, clean = e_h**renewal, 2 / math.sqrt(a1)
    second = (
        math.sqrt((1 - a0) / (1 - a1)) * kept * 2
        + math.sqrt(a0) * (1 - e_h * kept) * clean
        + math.sqrt((1 - a0) * (1 - kept**2)) * 3
    )
    assert float(z) == pytest.approx(second / math.sqrt(a0))
    assert next(drawn, None) is None, "the last step draws none"


def test_ddim_samples_the_gaussian():
    z = ddim(gaussian_noise(MEAN, COVARIANCE), SCHEDULE, noise(20_000)(), 200)
    assert_recovered(z, bias=0.02)


def test_samplers_by_name():
    assert tuple(SAMPLERS) == get_args(SamplerName)
    predict_noise, z = gaussian_noise(MEAN, COVARIANCE), noise(5)()
    for name, solver in (("ddim", ddim), ("dpmpp_2m", dpmpp_2m)):
        got = sampler_named(name)(predict_noise, SCHEDULE, lambda: z, 7, None)
        assert torch.equal(got, solver(predict_noise, SCHEDULE, z, 7))
    got, flow = (
        SAMPLERS[name](predict_noise, SCHEDULE, noise(5), 7, None)
        for name in ("dpmpp_2m_sde", "dpmpp_2m")
    )
    draw = noise(5)
    assert torch.equal(got, dpmpp_2m(predict_noise, SCHEDULE, draw(), 7, None, draw, RENEWAL))
    assert not torch.allclose(got, flow)
    draw = noise(5)
    expected = ddpm(predict_noise, SCHEDULE, draw(), draw)
    assert torch.equal(SAMPLERS["ddpm"](predict_noise, SCHEDULE, noise(5), 7, None), expected)
    with pytest.raises(
        ValueError, match="sampler must be ddpm, ddim, dpmpp_2m or dpmpp_2m_sde, got 'euler'"
    ):
        sampler_named("euler")


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_stay_within_the_bound(name):
    bound_D = torch.tensor([0.5, 2.0], dtype=torch.float64)
    z = SAMPLERS[name](gaussian_noise(MEAN, COVARIANCE), SCHEDULE, noise(200), 30, bound_D)
    assert (z.abs() <= bound_D).all()
    assert (z[..., 0].abs() == 0.5).any()


def test_ddpm_takes_every_step_once_downwards():
    asked = []

    def predict_noise(z_BTD, t_B):
        asked.append(t_B.tolist())
        return torch.zeros_like(z_BTD)

    ddpm(predict_noise, linear_schedule(4, 0.1, 0.2), torch.zeros(2, 1, 1), lambda: torch.zeros(1))
    assert asked == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]]


def test_ddpm_adds_no_noise_in_the_last_step():
    drawn = []

    def draw():
        drawn.append(1)
        return torch.zeros(1, 1, 1)

    ddpm(lambda z, t: torch.zeros_like(z), linear_schedule(5, 0.1, 0.2), torch.ones(1, 1, 1), draw)
    assert len(drawn) == 4


def test_ddpm_variance_is_the_posterior_variance():
    """With no noise predicted, two steps by hand."""
    schedule = Schedule(
        torch.tensor([0.1, 0.3], dtype=torch.float64),
        torch.tensor([0.9, 0.63], dtype=torch.float64),
    )
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    z = ddpm(lambda z, t: torch.zeros_like(z), schedule, 2 * one, lambda: 3 * one)
    after_first = 2 / math.sqrt(0.7) + 3 * math.sqrt(0.3 * 0.1 / 0.37)
    assert float(z) == pytest.approx(after_first / math.sqrt(0.9))


def exact_flow(z_BTD, variance):
    """Where the probability-flow ODE of N(0, variance) ends, and the mean of clean data given that."""

    def marginal(a):
        return a * variance + 1 - a

    first, last = (float(SCHEDULE.alpha_bar[i]) for i in (-1, 0))
    arrived = z_BTD * math.sqrt(marginal(last) / marginal(first))
    return math.sqrt(last) * variance / marginal(last) * arrived


@pytest.mark.parametrize(
    ("solver", "lowest", "highest", "error"), [(ddim, 0.9, 1.1, 0.15), (dpmpp_2m, 1.8, 2.3, 0.02)]
)
def test_order_of_convergence(solver, lowest, highest, error):
    """DDIM is of first order in the step, DPM-Solver++ (2M) of second; `error`: relative, in 20 steps."""
    variance = 0.3
    predict_noise = gaussian_noise(
        torch.zeros(2, dtype=torch.float64), variance * torch.eye(2, dtype=torch.float64)
    )
    z = torch.ones(1, 1, 2, dtype=torch.float64)
    steps = np.array([20, 40, 80, 160, 320])
    errors = [
        float((solver(predict_noise, SCHEDULE, z, int(n)) - exact_flow(z, variance)).abs().max())
        for n in steps
    ]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert lowest < order < highest, errors
    assert errors[0] < error * float(exact_flow(z, variance).abs().max())


def test_ddim_by_hand():
    """Three steps of a schedule of three, with constant noise predicted: eq. 12 with σ = 0."""
    schedule = linear_schedule(3, 0.1, 0.3)
    a = schedule.alpha_bar.tolist()
    asked = []

    def predict_noise(z_BTD, t_B):
        asked.append(t_B.tolist())
        return torch.full_like(z_BTD, 0.5)

    z = 2.0
    for before, after in ((a[2], a[1]), (a[1], a[0]), (a[0], 1.0)):
        clean = (z - math.sqrt(1 - before) * 0.5) / math.sqrt(before)
        z = math.sqrt(after) * clean + math.sqrt(1 - after) * 0.5
    start = torch.full((1, 1, 1), 2.0, dtype=torch.float64)
    assert float(ddim(predict_noise, schedule, start, 3)) == pytest.approx(z)
    assert asked == [[2.0], [1.0], [0.0]]


@pytest.mark.parametrize("solver", [ddim, dpmpp_2m])
def test_solvers_are_deterministic_and_ask_once_per_step(solver):
    asked = []
    exact = gaussian_noise(MEAN, COVARIANCE)

    def predict_noise(z_BTD, t_B):
        asked.append(float(t_B[0]))
        return exact(z_BTD, t_B)

    z = noise(5)()
    a, b = (solver(predict_noise, SCHEDULE, z, 12) for _ in range(2))
    assert torch.equal(a, b)
    assert len(asked) == 24
    assert asked[:12] == asked[12:]
    assert asked[0] == pytest.approx(999)
    assert asked[11] == pytest.approx(0, abs=1e-9)
    assert all(x > y for x, y in zip(asked[:11], asked[1:12], strict=True))


@pytest.mark.parametrize("solver", [ddim, dpmpp_2m])
def test_one_step_is_the_mean_given_pure_noise(solver):
    z = torch.zeros(1, 1, 2, dtype=torch.float64)
    got = solver(gaussian_noise(MEAN, COVARIANCE), SCHEDULE, z, 1)
    torch.testing.assert_close(got[0, 0], MEAN, rtol=0.01, atol=0)


@pytest.mark.parametrize("solver", [ddim, dpmpp_2m, partial(dpmpp_2m, draw_noise=noise(3))])
@pytest.mark.parametrize("n_steps", [1, 2, 20])
def test_solvers_find_the_only_point_there_is(solver, n_steps):
    """Data without variance: every step points at it, so any number of steps is exact."""
    point = torch.tensor([2.0, -3.0], dtype=torch.float64)
    predict_noise = gaussian_noise(point, torch.zeros(2, 2, dtype=torch.float64))
    got = solver(predict_noise, SCHEDULE, noise(3)(), n_steps)
    torch.testing.assert_close(got, point.expand_as(got), rtol=1e-6, atol=1e-6)
