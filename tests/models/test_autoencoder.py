"""The autoencoder and its loss: padding, paper sizes, coordinated dropout, numbers by hand."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from ldns_ray.models.autoencoder import (
    Autoencoder,
    AutoencoderBlock,
    Loss,
    autoencoder_loss,
    coordinated_dropout,
    poisson_nll,
    smoothness,
)
from ldns_ray.models.layers import ChannelLinear, bottleneck_groups, modulate, time_norm

N_BINS = (12, 30, 1, 19)
N_UNITS = 5
PENALTIES = {
    "dropout": 0.3,
    "latent_penalty": 0.1,
    "smoothness_penalty": 0.2,
    "smoothness_lags": 5,
}


def autoencoder(**settings):
    torch.manual_seed(0)
    defaults = {"n_units": N_UNITS, "n_latents": 3, "width": 12, "n_blocks": 2}
    model = Autoencoder(**{**defaults, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def ragged():
    """Trials, and the same padded: with garbage outside."""
    generator = torch.Generator().manual_seed(1)
    trials = [torch.poisson(torch.full((n, N_UNITS), 0.8), generator=generator) for n in N_BINS]
    padded_BTN = torch.full((len(N_BINS), max(N_BINS), N_UNITS), 1e3)
    for i, trial in enumerate(trials):
        padded_BTN[i, : len(trial)] = trial
    mask_BT = torch.arange(max(N_BINS)) < torch.tensor(N_BINS)[:, None]
    return trials, padded_BTN, mask_BT


VARIANTS = pytest.mark.parametrize(
    "settings",
    [
        {"bidirectional": True},
        {"bidirectional": False},
        {"bidirectional": True, "n_decoder_blocks": 1, "n_latents": 5},
    ],
    ids=["bidirectional", "causal", "decoder blocks"],
)


@VARIANTS
def test_padded_equals_unpadded(settings):
    model = autoencoder(**settings)
    trials, padded_BTN, mask_BT = ragged()
    with torch.no_grad():
        z_BTD = model.encode(padded_BTN, mask_BT)
        garbage_BTD = torch.where(mask_BT[..., None], z_BTD, torch.tensor(-77.0))
        rates_BTN = model.decode(garbage_BTD, mask_BT)
        for i, trial in enumerate(trials):
            rates_1TN, z_1TD = model(trial[None])
            n = len(trial)
            torch.testing.assert_close(z_BTD[i, :n], z_1TD[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(rates_BTN[i, :n], rates_1TN[0], rtol=1e-5, atol=1e-5)


@VARIANTS
def test_padded_loss_and_gradient_are_the_sums_over_trials(settings):
    model = autoencoder(**settings)
    trials, padded_BTN, mask_BT = ragged()
    keep_BTN = torch.rand(padded_BTN.shape, generator=torch.Generator().manual_seed(2)) >= 0.3

    def gradient(total):
        model.zero_grad()
        total.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    padded = autoencoder_loss(model, padded_BTN, mask_BT, keep_BTN, **PENALTIES)
    alone = [
        autoencoder_loss(model, t[None], None, keep_BTN[i, None, : len(t)], **PENALTIES)
        for i, t in enumerate(trials)
    ]
    total = sum(loss.total for loss in alone)
    assert float(padded.total.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    assert (
        float(padded.n_entries)
        == sum(float(loss.n_entries) for loss in alone)
        == sum(N_BINS) * N_UNITS
    )
    for a, b in zip(gradient(padded.total), gradient(total), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()) + 1e-6)


def test_no_mask_is_the_mask_that_is_true_everywhere():
    model = autoencoder()
    x_BTN = torch.poisson(torch.full((3, 25, N_UNITS), 0.8))
    everywhere = torch.ones(3, 25, dtype=torch.bool)
    keep_BTN = torch.rand(x_BTN.shape) >= 0.3
    with torch.no_grad():
        for a, b in zip(model(x_BTN), model(x_BTN, everywhere), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        a = autoencoder_loss(model, x_BTN, None, keep_BTN, **PENALTIES)
        b = autoencoder_loss(model, x_BTN, everywhere, keep_BTN, **PENALTIES)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_trial_of_which_nothing_counts_gives_nothing():
    model = autoencoder()
    x_BTN = torch.ones(1, 9, N_UNITS)
    nowhere = torch.zeros(1, 9, dtype=torch.bool)
    keep_BTN = torch.zeros(x_BTN.shape, dtype=torch.bool)
    loss = autoencoder_loss(model, x_BTN, nowhere, keep_BTN, **PENALTIES)
    assert [x.item() for x in (loss.total, loss.n_entries, loss.mean)] == [0, 0, 0]
    loss.total.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        ({"n_units": 128, "n_latents": 8, "n_blocks": 4, "bidirectional": True}, 1.453),
        ({"n_units": 128, "n_latents": 32, "n_blocks": 6, "bidirectional": False}, 2.048),
        ({"n_units": 182, "n_latents": 16, "n_blocks": 4, "bidirectional": False}, 1.415),
    ],
    ids=["lorenz", "speech", "reach"],
)
def test_sizes_of_the_paper(settings, millions):
    """The authors' blocks also hold two gates of the width that nothing uses."""
    model = Autoencoder(width=256, **settings)
    gates = 2 * 256 * settings["n_blocks"]
    size = gates + sum(p.numel() for p in model.parameters())
    assert size / 1e6 == pytest.approx(millions, abs=5e-4)


def test_causal_state_space_layers_still_see_the_trial_through_the_norm():
    """`bidirectional = no` is a property of the state-space layers alone."""
    torch.manual_seed(0)
    block = AutoencoderBlock(6, bidirectional=False)
    x_HBT = torch.randn(6, 1, 20)
    changed = x_HBT.clone()
    changed[..., 15:] += 1
    with torch.no_grad():
        assert (block.s4(changed) - block.s4(x_HBT))[..., :15].abs().max() < 1e-5
        assert (block(changed) - block(x_HBT))[..., :15].abs().max() > 1e-3


def test_another_number_of_units():
    with pytest.raises(ValueError, match="has 5 units, got spikes of 4"):
        autoencoder().encode(torch.zeros(1, 3, 4))


# -- Layers


def test_grouped_linear_is_a_grouped_convolution():
    for n_in, n_out, groups in ((12, 3, 3), (3, 12, 3), (5, 4, 1)):
        linear = ChannelLinear(n_in, n_out, groups=groups)
        convolution = nn.Conv1d(n_in, n_out, 1, groups=groups)
        convolution.weight.data = linear.weight.data[..., None]
        convolution.bias.data = linear.bias.data
        x_CBT = torch.randn(n_in, 2, 7)
        with torch.no_grad():
            expected = convolution(x_CBT.transpose(0, 1)).transpose(0, 1)
            torch.testing.assert_close(linear(x_CBT), expected)


def test_groups_only_where_they_divide():
    assert bottleneck_groups(256, 8) == 8
    assert bottleneck_groups(256, 18) == 1
    assert bottleneck_groups(8, 8) == 1
    assert bottleneck_groups(4, 8) == 1


def test_time_norm_by_hand():
    x_HBT = torch.tensor([[[1.0, 3.0, 50.0]]])
    mask_BT = torch.tensor([[True, True, False]])
    got = time_norm(x_HBT, mask_BT)[0, 0]
    torch.testing.assert_close(got[:2], torch.tensor([-1.0, 1.0]) / math.sqrt(1 + 1e-5))
    expected = nn.functional.instance_norm(x_HBT)
    torch.testing.assert_close(time_norm(x_HBT, None), expected)


def test_modulate_by_hand():
    x_HBT = torch.full((1, 1, 2), 3.0)
    shift, scale = torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 1.0)
    assert modulate(x_HBT, shift, scale).flatten().tolist() == [6.5, 6.5]
    mask_BT = torch.tensor([[True, False]])
    assert modulate(x_HBT, shift, scale, mask_BT).flatten().tolist() == [6.5, 0.0]


# -- Loss


class Fixed(nn.Module):
    """Known rates and latents, whatever the input; keeps the input."""

    def __init__(self, rates_BTN, z_BTD):
        super().__init__()
        self.rates_BTN, self.z_BTD = rates_BTN, z_BTD

    def forward(self, spikes_BTN, mask_BT=None):
        self.seen = spikes_BTN
        return self.rates_BTN, self.z_BTD


def test_loss_by_hand():
    """Hidden: a 0 at rate 2, a 1 at rate 3. Latents 1, 3, 2: squares 14; lag 1: (4 + 1)/2, lag 2: 1/3."""
    spikes_BTN = torch.tensor([[[0.0, 2.0], [1.0, 1.0], [4.0, 0.0]]])
    keep_BTN = torch.tensor([[[False, True], [True, False], [True, True]]])
    rates_BTN = torch.tensor([[[2.0, 9.0], [9.0, 3.0], [9.0, 9.0]]])
    model = Fixed(rates_BTN, torch.tensor([[[1.0], [3.0], [2.0]]]))
    weights = {"dropout": 0.5, "latent_penalty": 0.1, "smoothness_penalty": 0.2}
    loss = autoencoder_loss(model, spikes_BTN, None, keep_BTN, **weights, smoothness_lags=5)
    expected = 2 + (3 - math.log(3)) + 0.1 * 14 + 0.2 * (5 / 2 + 1 / 3)
    assert float(loss.total) == pytest.approx(expected, rel=1e-6)
    assert float(loss.mean) == pytest.approx(expected / 6, rel=1e-6)
    assert model.seen.tolist() == [[[0, 4], [2, 0], [8, 0]]]
    # Two bins: the 0 and the 1, squares 10, lag 1: 4/2.
    mask_BT = torch.tensor([[True, True, False]])
    loss = autoencoder_loss(model, spikes_BTN, mask_BT, keep_BTN, **weights, smoothness_lags=5)
    expected = 2 + (3 - math.log(3)) + 0.1 * 10 + 0.2 * 4 / 2
    assert float(loss.total) == pytest.approx(expected, rel=1e-6)
    assert float(loss.n_entries) == 4


def test_smoothness_by_hand():
    z_BTD = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]])
    lag_1, lag_2, lag_3 = 1 + 4 + 16, 9 + 36, 49
    assert float(smoothness(z_BTD, None, 1)) == pytest.approx(lag_1 / 2)
    assert float(smoothness(z_BTD, None, 2)) == pytest.approx(lag_1 / 2 + lag_2 / 3)
    # Lags beyond the trial have no pairs.
    assert float(smoothness(z_BTD, None, 9)) == pytest.approx(lag_1 / 2 + lag_2 / 3 + lag_3 / 4)
    mask_BT = torch.tensor([[True, True, True, False]])
    assert float(smoothness(z_BTD, mask_BT, 9)) == pytest.approx(5 / 2 + 9 / 3)
    assert float(smoothness(z_BTD[:, :1], None, 5)) == 0


def test_poisson_nll_is_exact_up_to_one_spike_and_stirling_above():
    rates = torch.tensor([0.02, 0.5, 1.0, 7.0])
    for count in (0, 1):
        expected = -scipy.stats.poisson.logpmf(count, rates.numpy().astype(np.float64))
        got = poisson_nll(rates, torch.full_like(rates, float(count)))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    stirling = 4 * math.log(4) - 4 + 0.5 * math.log(2 * math.pi * 4)
    got = poisson_nll(torch.tensor(7.0), torch.tensor(4.0))
    assert float(got) == pytest.approx(7 - 4 * math.log(7) + stirling, rel=1e-5)
    assert poisson_nll(torch.tensor(0.0), torch.tensor(3.0)).isfinite()


def test_coordinated_dropout_keeps_the_expectation():
    spikes_BTN = torch.poisson(torch.full((2, 10, 4), 2.0))
    generator = torch.Generator().manual_seed(0)
    n = 4000
    keep = torch.rand((n, *spikes_BTN.shape), generator=generator) >= 0.4
    dropped = coordinated_dropout(spikes_BTN, keep, 0.4)
    assert set(torch.unique(dropped[:, 0, 0, 0] * 0.6).round().tolist()) <= {
        0.0,
        float(spikes_BTN[0, 0, 0]),
    }
    tolerance = 5 * math.sqrt(0.4 / 0.6 / n) * float(spikes_BTN.max())
    torch.testing.assert_close(dropped.mean(0), spikes_BTN, rtol=0, atol=tolerance)


def test_hidden_entries_do_not_reach_the_encoder():
    """The loss on hidden entries changes with their counts, the rates do not."""
    model = autoencoder()
    spikes_BTN = torch.ones(1, 20, N_UNITS)
    keep_BTN = torch.rand(spikes_BTN.shape, generator=torch.Generator().manual_seed(0)) >= 0.5
    other_BTN = torch.where(keep_BTN, spikes_BTN, torch.tensor(6.0))
    with torch.no_grad():
        a = model(coordinated_dropout(spikes_BTN, keep_BTN, 0.5))[0]
        b = model(coordinated_dropout(other_BTN, keep_BTN, 0.5))[0]
        assert torch.equal(a, b)
        losses = [
            autoencoder_loss(model, x, None, keep_BTN, **PENALTIES) for x in (spikes_BTN, other_BTN)
        ]
    assert float(losses[0].total) != float(losses[1].total)


def test_mean_of_a_loss():
    assert float(Loss(torch.tensor(6.0), torch.tensor(4.0)).mean) == 1.5
