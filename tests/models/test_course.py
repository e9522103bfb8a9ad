"""The course that a condition makes one expect: where it is, what the denoiser makes of it, and how exactly."""

import pytest
import torch

from ldns_ray.data.resampling import resampled
from ldns_ray.models.course import N_POINTS, Course
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.diffusion import dpmpp_2m, linear_schedule

NOISE = {"n_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
POINTS_P = (torch.arange(N_POINTS) + 0.5) / N_POINTS


def course(slope_CPD):
    made = Course(n_latents=slope_CPD.shape[2], n_conditions=len(slope_CPD))
    made.slope_CPD.copy_(slope_CPD)
    return made


def waves(time):
    """Two latents over relative time."""
    return torch.stack((torch.sin(3 * time), torch.cos(2 * time)), -1)


def test_it_is_over_the_length_of_each_trial():
    condition, lengths = torch.tensor([[2.0], [-1.0]]), torch.tensor([200, 90])
    got = course(waves(POINTS_P)[None])(condition, lengths, 200)
    for i, n in enumerate(lengths.tolist()):
        wanted = condition[i] * waves((torch.arange(n) + 0.5) / n)
        torch.testing.assert_close(got[i, 3 : n - 3], wanted[3:-3], rtol=0.0, atol=2e-3)
        torch.testing.assert_close(got[i, :n], wanted, rtol=0.0, atol=0.05)
    torch.testing.assert_close(got[1, 90:], got[1, 89].expand(110, -1), rtol=0.0, atol=0.05)


@pytest.mark.parametrize("n", [1, 2, 17, N_POINTS, 300])
def test_points_of_a_trial_are_where_its_course_is(n):
    straight = torch.stack((torch.arange(n) + 0.5, torch.full((n,), 4.0)), -1) / n
    found = torch.from_numpy(resampled(straight.numpy(), N_POINTS)).float()
    inside = POINTS_P.clamp(0.5 / n, 1 - 0.5 / n)
    torch.testing.assert_close(found[:, 0], inside)
    torch.testing.assert_close(found[:, 1], torch.full((N_POINTS,), 4.0 / n))
    back = course(found[None])(torch.ones(1, 1), torch.tensor([n]), n)[0]
    torch.testing.assert_close(back, straight, rtol=0.0, atol=0.5 / N_POINTS + 1e-6)


def denoiser(slope_CPD, covariance_left, **settings):
    """With the closed form and nothing learned."""
    model = Denoiser(
        n_latents=slope_CPD.shape[2], width=16, n_blocks=1, n_conditions=len(slope_CPD), level=NOISE, course=True,
        droppable=True, **settings,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in (*model.conv_out.parameters(), *model.level.parameters()):
            parameter.zero_()
    model.set_course(slope_CPD, covariance_left)
    return model.eval()


@torch.no_grad()
def test_of_noisy_latents_the_course_in_them_is_taken():
    """The answer to a course with noise is that to the noise alone; not where the condition was dropped."""
    torch.manual_seed(0)
    slope, condition, t = torch.randn(2, N_POINTS, 3), torch.randn(4, 2), torch.full((4,), 300.0)
    model = denoiser(slope, torch.eye(3))
    model.conv_out.weight.normal_()
    shares = linear_schedule(1000, 1e-4, 0.02).alpha_bar[300].sqrt()
    noise = torch.randn(4, 50, 3)
    noisy = noise + shares * model.course(condition, torch.full((4,), 50), 50)
    model.course.slope_CPD.zero_()
    wanted = model(noise, t, condition_BC=condition)
    model.course.slope_CPD.copy_(slope)
    torch.testing.assert_close(
        model(noisy, t, condition_BC=condition), wanted, rtol=1e-4, atol=1e-4
    )
    dropped = torch.ones(4, dtype=torch.bool)
    without = model(noisy, t, condition_BC=condition, dropped_B=dropped)
    model.course.slope_CPD.zero_()
    torch.testing.assert_close(
        model(noisy, t, condition_BC=condition, dropped_B=dropped), without, rtol=0.0, atol=0.0
    )


@torch.no_grad()
def test_conditions_never_seen_are_sampled_on_the_line_through_the_others():
    sd_D, slope = torch.tensor([0.3, 0.5]), waves(POINTS_P)[None]
    model, condition = denoiser(slope, torch.diag(sd_D**2)), torch.full((2000, 1), 3.0)
    schedule = linear_schedule(1000, 1e-4, 0.02)
    z_BTD = dpmpp_2m(
        lambda z, t: model(z, t, condition_BC=condition), schedule, torch.randn(2000, 20, 2), 40
    )
    wanted = 3 * waves((torch.arange(20) + 0.5) / 20).mean(0)
    torch.testing.assert_close(z_BTD.mean((0, 1)), wanted, rtol=0.0, atol=0.05)
    torch.testing.assert_close(z_BTD.mean(1).std(0), sd_D, rtol=0.06, atol=0.0)


@torch.no_grad()
def test_it_is_as_exact_where_the_blocks_are_not():
    """A course that is large beside what is left: in bfloat16 the difference would be lost."""
    model = denoiser(torch.ones(1, N_POINTS, 1), torch.tensor([[1e-4]]))
    arguments = torch.full((1, 50, 1), 3.0), torch.tensor([100.0])
    condition = torch.full((1, 1), 3.003)
    exact = model(*arguments, condition_BC=condition)
    with torch.autocast("cpu", torch.bfloat16):
        got = model(*arguments, condition_BC=condition)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, exact, rtol=1e-6, atol=0.0)


def test_it_needs_conditions_and_levels():
    for settings in ({"n_conditions": 1}, {"level": NOISE}):
        with pytest.raises(ValueError, match=r"Leave course out\."):
            Denoiser(n_latents=2, width=16, n_blocks=1, course=True, **settings)
