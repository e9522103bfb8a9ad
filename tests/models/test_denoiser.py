"""The denoiser: padding, paper sizes, identity at initialisation, conditions."""

import math

import pytest
import torch

from ldns_ray.models.denoiser import Denoiser, DenoiserBlock, time_features
from ldns_ray.models.diffusion import diffusion_loss

N_BINS = (12, 30, 1, 19)


def denoiser(**settings):
    """A denoiser away from its initialisation, where modulations are zero."""
    torch.manual_seed(0)
    defaults = {"n_latents": 3, "width": 12, "n_blocks": 2}
    model = Denoiser(**{**defaults, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("n_covariates", [0, 2])
@pytest.mark.parametrize("n_conditions", [0, 2])
def test_padded_equals_unpadded(n_covariates, n_conditions):
    model = denoiser(n_covariates=n_covariates, n_conditions=n_conditions)
    n_trials, longest = len(N_BINS), max(N_BINS)
    mask_BT = torch.arange(longest) < torch.tensor(N_BINS)[:, None]
    z_BTD = torch.randn(n_trials, longest, 3).masked_fill(~mask_BT[..., None], 50.0)
    covariates = None
    if n_covariates:
        covariates = torch.randn(n_trials, longest, 2).masked_fill(~mask_BT[..., None], -90.0)
    condition = torch.randn(n_trials, 2) if n_conditions else None
    t_B = torch.tensor([0, 999, 500, 3])
    with torch.no_grad():
        kernels = model.kernels(longest)
        padded = model(z_BTD, t_B, covariates, condition, mask_BT)
        with_kernels = model(z_BTD, t_B, covariates, condition, mask_BT, kernels)
        for i, n in enumerate(N_BINS):
            alone = model(
                z_BTD[i, None, :n],
                t_B[i, None],
                None if covariates is None else covariates[i, None, :n],
                None if condition is None else condition[i, None],
            )
            torch.testing.assert_close(padded[i, :n], alone[0], rtol=1e-5, atol=2e-5)
            torch.testing.assert_close(with_kernels[i, :n], alone[0], rtol=1e-5, atol=2e-5)
        everywhere = torch.ones_like(mask_BT)
        torch.testing.assert_close(
            model(z_BTD, t_B, covariates, condition),
            model(z_BTD, t_B, covariates, condition, everywhere),
            rtol=1e-5,
            atol=2e-5,
        )


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        ({"n_latents": 8, "width": 64, "n_blocks": 4}, 0.18),
        ({"n_latents": 32, "width": 384, "n_blocks": 6, "n_covariates": 1}, 5.69),
        ({"n_latents": 32, "width": 384, "n_blocks": 6, "n_conditions": 1}, 5.67),
        ({"n_latents": 16, "width": 256, "n_blocks": 6}, 2.69),
        ({"n_latents": 16, "width": 256, "n_blocks": 6, "n_covariates": 2}, 2.70),
    ],
    ids=["lorenz", "speech mask", "speech length", "reach", "reach velocity"],
)
def test_sizes_of_the_paper(settings, millions):
    """With the mask as a 33rd channel, as in the paper, the outer layers are not grouped."""
    model = Denoiser(**settings)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-3)


def test_blocks_are_the_identity_at_initialisation():
    torch.manual_seed(0)
    block = DenoiserBlock(12)
    x_HBT, e_BE = torch.randn(12, 4, 30), torch.randn(4, 3)
    with torch.no_grad():
        assert torch.equal(block(x_HBT, e_BE, None), x_HBT)
        block.modulation.bias += 0.1
        assert not torch.allclose(block(x_HBT, e_BE, None), x_HBT, atol=1e-2)


def test_head_gain_scales_the_initial_output():
    outputs = []
    for gain in (1.0, 0.1):
        torch.manual_seed(0)
        model = Denoiser(n_latents=3, width=12, n_blocks=1, head_gain=gain)
        with torch.no_grad():
            outputs.append(model(torch.ones(1, 5, 3), torch.tensor([7])))
    torch.testing.assert_close(outputs[1], 0.1 * outputs[0])


def test_time_features_by_hand():
    got = time_features(torch.tensor([0, 3]))
    assert got.shape == (2, 256)
    assert got[0].tolist() == [1.0] * 128 + [0.0] * 128
    for k in (0, 1, 64, 127):
        angle = 3 * 10_000 ** (-k / 128)
        assert float(got[1, k]) == pytest.approx(math.cos(angle), abs=1e-5)
        assert float(got[1, 128 + k]) == pytest.approx(math.sin(angle), abs=1e-5)


def test_time_and_conditions_matter_to_their_own_trial_alone():
    model = denoiser(n_covariates=1, n_conditions=2)
    inputs = {
        "z": torch.randn(2, 20, 3),
        "t": torch.tensor([10, 10]),
        "covariates": torch.randn(2, 20, 1),
        "condition": torch.randn(2, 2),
    }
    with torch.no_grad():
        before = model(*inputs.values())
        for name, value in inputs.items():
            changed = value.clone()
            # Over time as well: the norms take out what is constant.
            changed[1] = changed[1] * 3 + 5
            after = model(*{**inputs, name: changed}.values())
            torch.testing.assert_close(after[0], before[0], rtol=1e-5, atol=1e-5)
            assert (after[1] - before[1]).abs().max() > 1e-3, name


def test_output_has_no_covariate_channels():
    model = denoiser(n_covariates=2)
    out = model(torch.randn(2, 9, 3), torch.tensor([1, 2]), torch.randn(2, 9, 2))
    assert out.shape == (2, 9, 3)


@pytest.mark.parametrize(
    ("covariates", "condition", "message"),
    [
        (None, torch.zeros(1, 2), "made for 1 covariates entries, got 0"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 2), "made for 1 covariates entries, got 3"),
        (torch.zeros(1, 4, 1), None, "made for 2 condition entries, got 0"),
    ],
)
def test_wrong_inputs(covariates, condition, message):
    model = denoiser(n_covariates=1, n_conditions=2)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 4, 3), torch.tensor([0]), covariates, condition)


def test_inputs_that_were_not_asked_for():
    with pytest.raises(ValueError, match="made for 0 condition entries, got 2"):
        denoiser()(torch.zeros(1, 4, 3), torch.tensor([0]), None, torch.zeros(1, 2))


def test_width_is_a_multiple_of_four():
    with pytest.raises(ValueError, match="width must be a multiple of 4, got 10"):
        Denoiser(n_latents=2, width=10, n_blocks=1)


def test_every_parameter_is_trained():
    model = denoiser(n_covariates=2, n_conditions=2)
    out = model(torch.randn(2, 9, 3), torch.tensor([1, 2]), torch.randn(2, 9, 2), torch.randn(2, 2))
    loss = diffusion_loss(out, torch.randn(2, 9, 3), None, loss="mse", smooth_l1_beta=1.0)
    loss.mean.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
