"""Lengths that no training trial had: a trained toy sampled shorter, and up to 16 times as long."""

import numpy as np
import pytest
import torch

from ldns_ray.models.denoiser import Denoiser
from tests.models.toys import SCHEDULE, oscillations, trained

SHORTEST, LONGEST = 24, 48


@pytest.fixture(scope="module")
def toy():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield trained(
        oscillations(256, (SHORTEST, LONGEST)), epochs=30, settings={"conditions": ("length",)}
    )
    torch.set_num_threads(before)


def moments(trials):
    """Mean of the trials' levels and standard deviation of all bins, per latent."""
    return np.mean([z.mean(0) for z in trials], axis=0), np.concatenate(trials).std(0)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddim"])
def test_longer_trials_look_like_trials_as_long_as_those_of_training(toy, sampler):
    level_D, std_D = moments(toy.sample(64, n_bins=LONGEST, sampler=sampler).latents)
    assert (np.abs(level_D) < 0.15).all()
    for factor, n_trials in ((2, 64), (16, 24)):
        samples = toy.sample(n_trials, n_bins=factor * LONGEST, sampler=sampler)
        assert {len(z) for z in samples.latents} == {factor * LONGEST}
        for array in (*samples.latents, *samples.rates):
            assert np.isfinite(array).all()
        longer_level_D, longer_std_D = moments(samples.latents)
        np.testing.assert_allclose(longer_std_D, std_D, rtol=0.2)
        assert (np.abs(longer_level_D) < 0.25).all()
        # No drift: the last quarter is as wide as the first.
        quarter = factor * LONGEST // 4
        first, last = (
            np.concatenate([z[part] for z in samples.latents]).std(0)
            for part in (slice(quarter), slice(-quarter, None))
        )
        np.testing.assert_allclose(last, first, rtol=0.2)


def test_shorter_trials(toy):
    _, std_D = moments(toy.sample(64, n_bins=SHORTEST).latents)
    for n_bins in (1, 2, 12):
        samples = toy.sample(64, n_bins=n_bins)
        assert {len(z) for z in samples.latents} == {n_bins}
        assert np.isfinite(np.concatenate(samples.latents)).all()
    np.testing.assert_allclose(moments(samples.latents)[1], std_D, rtol=0.3)


def test_the_length_that_is_told_stays_within_those_of_training(toy, monkeypatch):
    told = []
    condition = type(toy.conditioning).condition

    def spy(self, n_bins_B, conditions):
        told.append(n_bins_B.tolist())
        return condition(self, n_bins_B, conditions)

    monkeypatch.setattr(type(toy.conditioning), "condition", spy)
    shortest, longest = toy.training.n_bins_S.min(), toy.training.n_bins_S.max()
    toy.sample(5, n_bins=[1, int(shortest), 30, int(longest), 500], n_steps=1)
    assert told == [[shortest, shortest, 30, longest, longest]]


def away_from_initialisation(**settings):
    torch.manual_seed(0)
    model = Denoiser(n_latents=3, width=12, n_blocks=2, level=SCHEDULE, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def test_trials_as_long_as_those_of_training_are_left_alone():
    model = away_from_initialisation()
    z_BTD, t_B = torch.randn(2, 30, 3), torch.tensor([5.0, 60.0])
    plain = model(z_BTD, t_B, kernels=model.kernels(30))
    for n_trained in (30, 31):
        got = model(z_BTD, t_B, kernels=model.kernels(30, n_trained), n_trained=n_trained)
        assert torch.equal(got, plain)
    assert not torch.equal(model(z_BTD, t_B, n_trained=29), plain)


@torch.no_grad()
def test_kernels_reach_no_further_than_the_longest_trial():
    """An impulse answers within 10 bins of itself, as before, and nowhere else."""
    model = away_from_initialisation()
    x_HBT = torch.zeros(12, 1, 50)
    x_HBT[:, :, 20] = 1
    s4 = model.blocks[0].s4
    near, far = s4(x_HBT, model.kernels(50, 10)[0]), s4(x_HBT, model.kernels(50)[0])
    torch.testing.assert_close(near[..., 11:30], far[..., 11:30], rtol=1e-5, atol=1e-5)
    assert (far[..., 31:].abs().amax(-1) > 1e-3).all()
    assert (far[..., :10].abs().amax(-1) > 1e-3).all()
    assert near[..., 31:].abs().max() < 1e-5
    assert near[..., :10].abs().max() < 1e-5


@torch.no_grad()
def test_the_blocks_mean_is_damped_as_the_noise_of_a_mean_is():
    """With the level's own answer taken off, what is left has n_trained / T of its mean over time."""
    model = away_from_initialisation()
    mask_BT = torch.arange(40) < torch.tensor([40, 20, 8])[:, None]
    z_BTD, t_B = torch.randn(3, 40, 3), torch.tensor([5.0, 60.0, 99.0])
    plain = model(z_BTD, t_B, mask_BT=mask_BT)
    damped = model(z_BTD, t_B, mask_BT=mask_BT, n_trained=10)
    difference = plain - damped
    for i, (n_bins, surplus) in enumerate(((40, 0.75), (20, 0.5), (8, 0.0))):
        inside = difference[i, :n_bins]
        torch.testing.assert_close(inside, inside[:1].expand_as(inside), rtol=1e-4, atol=1e-5)
        again = model(z_BTD, t_B, mask_BT=mask_BT, n_trained=5)[i, :n_bins]
        # 1 - 5/T against 1 - 10/T: the blocks' mean follows from either.
        blocks_mean = (plain[i, :n_bins] - again)[0] / max(1 - 5 / n_bins, 1e-9)
        torch.testing.assert_close(inside[0], surplus * blocks_mean, rtol=1e-3, atol=1e-5)
