"""What is trained: draws and losses of both networks."""

import pytest
import torch
from torch import nn

from tests.training.networks import RAGGED, autoencoder_parts, diffusion_parts, trials


def test_draws_of_the_autoencoder_hide_the_share_they_should():
    _, task = autoencoder_parts()
    batch = trials((200,) * 20).batch(range(20))
    (keep_BTN,) = task.draw(batch, torch.Generator().manual_seed(0))
    assert keep_BTN.shape == batch.spikes_BTN.shape
    assert float((~keep_BTN).float().mean()) == pytest.approx(0.4, abs=0.02)


def test_validation_of_the_autoencoder_is_nats_per_hidden_entry():
    """Constant rates of 1: the likelihood of a 0 or a 1 is e^-1."""
    _, task = autoencoder_parts()
    batch = trials(RAGGED).batch(range(7))
    batch.spikes_BTN.clamp_(max=1)

    class One(nn.Module):
        def forward(self, spikes_BTN, mask_BT):
            return torch.ones_like(spikes_BTN), torch.zeros(*spikes_BTN.shape[:2], 1)

    draws = task.validation_draw(batch, torch.Generator().manual_seed(0))
    loss = task.validation_loss(One(), batch, draws)
    assert float(loss.mean) == pytest.approx(1, rel=1e-5)
    assert int(loss.n_entries) == int((~draws[0] & batch.mask_BT[..., None]).sum())


def test_steps_of_the_diffusion_validation_are_spread_over_the_schedule():
    _, task = diffusion_parts()
    batch = trials((5,) * 30).batch(range(30))
    t_B, eps_BTD = task.validation_draw(batch, torch.Generator().manual_seed(0))
    assert t_B.tolist() == list(range(30))
    assert eps_BTD.shape == batch.latents_BTD.shape
    t_B, _ = task.draw(batch, torch.Generator().manual_seed(0))
    assert len(t_B.unique()) < 30
    assert int(t_B.min()) >= 0
    assert int(t_B.max()) < 30


def test_diffusion_loss_of_the_true_noise_is_zero():
    _, task = diffusion_parts()
    batch = trials(RAGGED).batch(range(7))
    draws = task.draw(batch, torch.Generator().manual_seed(0))

    class Oracle(nn.Module):
        def forward(self, noisy_BTD, t_B, covariates_BTK, condition_BC, mask_BT):
            a = task.alpha_bar[t_B].float()[:, None, None]
            self.shapes = covariates_BTK.shape, condition_BC.shape
            return (noisy_BTD - a.sqrt() * batch.latents_BTD) / (1 - a).sqrt()

    oracle = Oracle()
    assert float(task.loss(oracle, batch, draws).mean) < 1e-6
    assert oracle.shapes == ((7, 20, 2), (7, 3))
