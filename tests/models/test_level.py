"""The level of a trial in the denoiser: seen, estimated in closed form, untouched by padding."""

import math

import pytest
import torch

from ldns_ray.models.course import N_POINTS
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
def test_after_a_course_it_is_the_regression_on_what_is_left(t):
    """And on the level itself where the condition was dropped."""
    n, n_bins = 200_000, 25
    torch.manual_seed(1)
    covariances = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[1.0, 0.3], [0.3, 0.4]]])
    level = Level(n_latents=2, n_covariates=0, n_embedding=4, course=True, **NOISE)  # type: ignore[arg-type]
    level.set_covariance(covariances[1])
    level.set_covariance_left(covariances[0])
    dropped = torch.arange(n) % 2 == 0
    roots = torch.linalg.cholesky(covariances)[dropped.long()]
    clean = torch.einsum("bij,bj->bi", roots, torch.randn(n, 2))
    noise = torch.randn(n, 2) / math.sqrt(n_bins)
    alpha_bar = float(linear_schedule(1000, 1e-4, 0.02).alpha_bar[t])
    noisy = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
    _, got = level(
        noisy, None, torch.full((n,), n_bins), torch.full((n,), float(t)), torch.zeros(n, 4), dropped
    )  # fmt: skip
    for where in (~dropped, dropped):
        wanted = noisy[where] @ torch.linalg.lstsq(noisy[where], noise[where]).solution
        assert float((got[where] - wanted).norm() / noise[where].norm()) < 0.01


@torch.no_grad()
@pytest.mark.parametrize("course", [False, True])
def test_padding_changes_nothing(course):
    model = denoiser(n_covariates=2, n_conditions=1, course=course, droppable=True)
    model.level.set_covariance(torch.diag(torch.tensor([0.5, 1.0, 2.0])))
    if course:
        left = torch.tensor([[0.4, 0.1, 0.0], [0.1, 0.3, 0.2], [0.0, 0.2, 0.9]])
        model.set_course(torch.randn(1, N_POINTS, 3), left)
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
