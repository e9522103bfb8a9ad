"""The level of a trial in the denoiser: seen, estimated in closed form, untouched by padding."""

import math

import pytest
import torch

from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.diffusion import dpmpp_2m, linear_schedule
from ldns_ray.models.level import Level

NOISE = {"n_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}


def denoiser(**changes: object) -> Denoiser:
    torch.manual_seed(0)
    settings: dict[str, object] = {"n_latents": 3, "width": 16, "n_blocks": 2, "level": NOISE}
    model = Denoiser(**(settings | changes))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def test_without_level_a_shift_of_the_input_passes_through_one_linear_map_at_all_times():
    model = denoiser(level=None)
    z_BTD, shift_D = torch.randn(2, 40, 3), torch.tensor([1.0, -2.0, 0.5])
    moved = [
        model(z_BTD + shift_D, torch.full((2,), t)) - model(z_BTD, torch.full((2,), t))
        for t in (10.0, 900.0)
    ]
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_with_level_the_answer_to_a_shift_depends_on_the_time():
    model = denoiser()
    z_BTD, shift_D = torch.randn(2, 40, 3), torch.tensor([1.0, -2.0, 0.5])
    moved = [
        (model(z_BTD + shift_D, torch.full((2,), t)) - model(z_BTD, torch.full((2,), t))).mean()
        for t in (10.0, 999.0)
    ]
    assert abs(float(moved[0] - moved[1])) > 0.05


@torch.no_grad()
@pytest.mark.parametrize("t", [5, 300, 900])
def test_the_noise_in_a_level_is_the_regression_of_noise_on_level(t):
    n, n_bins = 200_000, 25
    torch.manual_seed(1)
    covariance = torch.tensor([[1.0, 0.3], [0.3, 0.4]])
    level = Level(n_latents=2, n_covariates=0, n_embedding=4, **NOISE)  # type: ignore[arg-type]
    level.set_covariance(covariance)
    clean = torch.randn(n, 2) @ torch.linalg.cholesky(covariance).T
    noise = torch.randn(n, 2) / math.sqrt(n_bins)
    alpha_bar = float(linear_schedule(1000, 1e-4, 0.02).alpha_bar[t])
    noisy = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
    _, got = level(
        noisy, None, torch.full((n,), n_bins), torch.full((n,), float(t)), torch.zeros(n, 4)
    )
    wanted = noisy @ torch.linalg.lstsq(noisy, noise).solution
    assert float((got - wanted).norm() / noise.norm()) < 0.01


@torch.no_grad()
def test_levels_are_sampled_as_wide_as_they_are():
    """Trials that differ by their level alone, sampled with the closed form and nothing learned."""
    sd_D = torch.tensor([0.6, 0.1, 1.5])
    model = denoiser()
    for parameter in (*model.conv_out.parameters(), *model.level.parameters()):
        parameter.zero_()
    model.level.set_covariance(torch.diag(sd_D**2))
    schedule = linear_schedule(1000, 1e-4, 0.02)
    z_BTD = dpmpp_2m(lambda z, t: model(z, t), schedule, torch.randn(2000, 20, 3), 40)
    torch.testing.assert_close(z_BTD.mean(1).std(0), sd_D, rtol=0.06, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("t", [5, 300, 900])
def test_with_conditions_it_is_the_regression_on_both(t):
    """And on the level alone where the condition was dropped."""
    n, n_bins = 200_000, 25
    torch.manual_seed(1)
    slope = torch.tensor([[0.8, -0.2], [0.0, 0.5], [0.3, 0.3]])
    residual = torch.tensor([[0.3, 0.1], [0.1, 0.2]])
    level = Level(n_latents=2, n_conditions=3, n_covariates=0, n_embedding=4, **NOISE)  # type: ignore[arg-type]
    level.set_covariance(slope.T @ slope + residual)
    level.set_regression(slope, residual)
    condition = torch.randn(n, 3)
    clean = condition @ slope + torch.randn(n, 2) @ torch.linalg.cholesky(residual).T
    noise = torch.randn(n, 2) / math.sqrt(n_bins)
    alpha_bar = float(linear_schedule(1000, 1e-4, 0.02).alpha_bar[t])
    noisy = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
    dropped = torch.arange(n) % 2 == 0
    _, got = level(
        noisy, None, torch.full((n,), n_bins), torch.full((n,), float(t)), torch.zeros(n, 4),
        condition.masked_fill(dropped[:, None], 0.0), dropped,
    )  # fmt: skip
    for known, where in ((torch.cat((noisy, condition), 1), ~dropped), (noisy, dropped)):
        wanted = known @ torch.linalg.lstsq(known, noise).solution
        assert float((got - wanted)[where].norm() / noise[where].norm()) < 0.01


@torch.no_grad()
def test_levels_of_conditions_never_seen_are_sampled_where_the_line_through_the_others_is():
    """With the closed form and nothing learned."""
    slope, condition = torch.tensor([[1.0, -0.5, 0.0]]), torch.full((2000, 1), 3.0)
    model = denoiser(n_conditions=1, level={**NOISE, "by_condition": True})
    for parameter in (*model.conv_out.parameters(), *model.level.parameters()):
        parameter.zero_()
    sd_D = torch.tensor([0.3, 0.2, 0.5])
    model.level.set_regression(slope, torch.diag(sd_D**2))
    schedule = linear_schedule(1000, 1e-4, 0.02)
    z_BTD = dpmpp_2m(
        lambda z, t: model(z, t, condition_BC=condition), schedule, torch.randn(2000, 20, 3), 40
    )
    torch.testing.assert_close(z_BTD.mean((0, 1)), 3 * slope[0], rtol=0.0, atol=0.05)
    torch.testing.assert_close(z_BTD.mean(1).std(0), sd_D, rtol=0.06, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("by_condition", [False, True])
def test_padding_changes_nothing(by_condition):
    model = denoiser(
        n_covariates=2,
        n_conditions=1,
        level={**NOISE, "by_condition": by_condition},
        droppable=True,
    )
    model.level.set_covariance(torch.diag(torch.tensor([0.5, 1.0, 2.0])))
    if by_condition:
        left = torch.tensor([[0.4, 0.1, 0.0], [0.1, 0.3, 0.2], [0.0, 0.2, 0.9]])
        model.level.set_regression(torch.tensor([[0.6, -0.3, 1.0]]), left)
    _padded_beside_alone(model, torch.tensor([False]))
    _padded_beside_alone(model, torch.tensor([True]))


def _padded_beside_alone(model, dropped):
    z, x, c, t = (
        torch.randn(1, 30, 3),
        torch.randn(1, 30, 2),
        torch.randn(1, 1),
        torch.tensor([400.0]),
    )
    alone = model(z, t, x, c, dropped_B=dropped)
    mask = torch.arange(47)[None] < 30
    garbage = 1e3 * torch.randn(1, 17, 5)
    padded = model(
        torch.cat((z, garbage[..., :3]), 1), t, torch.cat((x, garbage[..., 3:]), 1), c, mask,
        dropped_B=dropped,
    )  # fmt: skip
    torch.testing.assert_close(padded[:, :30], alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_constant_covariate_is_seen():
    model = denoiser(n_covariates=1)
    z, t = torch.randn(1, 30, 3), torch.tensor([400.0])
    low, high = (model(z, t, torch.full((1, 30, 1), v)) for v in (-1.0, 1.0))
    assert float((low - high).abs().max()) > 1e-3


@torch.no_grad()
def test_it_is_as_exact_where_the_blocks_are_not():
    """An expected level that is large beside what is left: in bfloat16 the difference would be lost."""
    level = Level(n_latents=1, n_conditions=1, n_covariates=0, n_embedding=4, **NOISE)  # type: ignore[arg-type]
    level.set_regression(torch.tensor([[1.0]]), torch.tensor([[1e-4]]))
    condition = torch.full((1, 1), 3.003)
    arguments = (
        torch.full((1, 1), 3.0), None, torch.tensor([50]), torch.tensor([100.0]), torch.zeros(1, 4), condition,
    )  # fmt: skip
    _, exact = level(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        _, got = level(*arguments)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, exact, rtol=1e-6, atol=0.0)
