"""Classifier-free guidance: the formula, what is dropped, and a trained toy that follows its condition."""

import numpy as np
import pytest
import torch

from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.guidance import check_guidance, guide, noise_predictor
from tests.models.toys import trained, two_classes

pytestmark = pytest.mark.usefixtures("one_thread")

N_BINS = np.array([12, 30, 25])


def parts(conditions=("speed", "length", "angle"), covariates=("velocity",), droppable=True):
    """A conditional denoiser of random weights, away from its initialisation, and inputs of three trials."""
    rng = np.random.default_rng(0)
    given = {"angle": rng.normal(size=(3, 2)), "speed": rng.normal(3, 2, size=(3, 1))}
    traces = {"velocity": rng.normal(1, 2, size=(N_BINS.sum(), 2))}
    conditioning = Conditioning.fit(
        conditions, covariates, n_bins_S=N_BINS, conditions=given, covariates=traces
    )
    torch.manual_seed(0)
    denoiser = Denoiser(
        n_latents=3, width=12, n_blocks=2, droppable=droppable,
        n_conditions=conditioning.n_conditions, n_covariates=conditioning.n_covariates,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    mask_BT = torch.arange(30) < torch.from_numpy(N_BINS)[:, None]
    inputs = {
        "condition_BC": conditioning.condition(
            torch.from_numpy(N_BINS), {k: torch.from_numpy(v) for k, v in given.items()}
        ),
        "covariates_BTK": conditioning.covariate({"velocity": torch.randn(3, 30, 2)}),
        "mask_BT": mask_BT,
        "kernels": denoiser.kernels(30),
    }
    return denoiser, conditioning, inputs


def test_formula_by_hand():
    eps, null = torch.tensor([[[2.0, 1.0]]]), torch.tensor([[[1.0, 3.0]]])
    for guidance, expected in ((0.0, [1.0, 3.0]), (1.0, [2.0, 1.0]), (2.5, [3.5, -2.0])):
        assert guide(eps, null, guidance).flatten().tolist() == expected


def test_guidance_is_a_line_through_both_answers():
    """Through the answer to the conditions and that to none, asked for one by one."""
    denoiser, conditioning, inputs = parts()
    z_BTD, t_B = torch.randn(3, 30, 3), torch.tensor([3.0, 40.0, 700.0])
    # speed, length, angle: the length is not dropped.
    condition_BC = inputs["condition_BC"] * torch.tensor([0.0, 1.0, 0.0, 0.0])
    mask_BT, kernels = inputs["mask_BT"], inputs["kernels"]
    with torch.no_grad():
        given = denoiser(z_BTD, t_B, inputs["covariates_BTK"], inputs["condition_BC"], mask_BT)
        everyone = torch.ones(3, dtype=torch.bool)
        none = denoiser(
            z_BTD, t_B, torch.zeros(3, 30, 2), condition_BC, mask_BT, kernels, everyone
        )  # fmt: skip
        assert (given - none).abs()[mask_BT].max() > 0.1
        for guidance in (0.0, 0.5, 2.0, 7.0):
            got = noise_predictor(denoiser, conditioning, guidance, **inputs)(z_BTD, t_B)
            expected = none + guidance * (given - none)
            torch.testing.assert_close(got[mask_BT], expected[mask_BT], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("guidance", "n_trials"), [(1, 3), (1.0, 3), (2.0, 6), (0.0, 6)])
def test_one_call_of_the_network(guidance, n_trials):
    denoiser, conditioning, inputs = parts()
    calls = []
    denoiser.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    noise_predictor(denoiser, conditioning, guidance, **inputs)(
        torch.randn(3, 30, 3), torch.ones(3)
    )
    assert calls == [n_trials]


def test_what_is_dropped():
    _, conditioning, inputs = parts()
    dropped_B = torch.tensor([True, False, True])
    condition_BC, covariates_BTK = conditioning.drop(
        inputs["condition_BC"], inputs["covariates_BTK"], dropped_B
    )
    assert torch.equal(condition_BC[1], inputs["condition_BC"][1])
    assert torch.equal(covariates_BTK[1], inputs["covariates_BTK"][1])
    for i in (0, 2):
        assert condition_BC[i].tolist() == [0.0, float(inputs["condition_BC"][i, 1]), 0.0, 0.0]
        assert not covariates_BTK[i].any()
    assert conditioning.drop(None, None, dropped_B) == (None, None)


@pytest.mark.parametrize(
    ("conditions", "covariates", "droppable"),
    [((), (), False), (("length",), (), False), (("length", "angle"), (), True), ((), ("velocity",), True)],
)  # fmt: skip
def test_the_length_alone_cannot_be_dropped(conditions, covariates, droppable):
    assert parts(conditions, covariates)[1].droppable == droppable


def test_a_null_embedding_says_that_nothing_is_known():
    """A condition at its training mean is something else."""
    denoiser, _, inputs = parts(("angle",), ())
    z_BTD, t_B, zeros = torch.randn(3, 30, 3), torch.ones(3), torch.zeros(3, 2)
    with torch.no_grad():
        mean = denoiser(z_BTD, t_B, None, zeros)
        dropped = denoiser(z_BTD, t_B, None, zeros, dropped_B=torch.tensor([True, False, True]))
    assert torch.equal(mean[1], dropped[1])
    assert (mean[0] - dropped[0]).abs().max() > 1e-2
    fresh = Denoiser(n_latents=3, width=12, n_blocks=1, n_conditions=2, droppable=True)
    assert not fresh.null_E.any()
    assert Denoiser(n_latents=3, width=12, n_blocks=1, n_conditions=2).null_E is None


def test_every_parameter_of_a_droppable_denoiser_is_trained():
    denoiser, _, inputs = parts()
    out = denoiser(
        torch.randn(3, 30, 3), torch.ones(3), inputs["covariates_BTK"], inputs["condition_BC"],
        dropped_B=torch.tensor([True, False, False]),
    )  # fmt: skip
    out.square().sum().backward()
    for name, parameter in denoiser.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_dropping_what_cannot_be_dropped():
    denoiser, _, inputs = parts(("angle",), (), droppable=False)
    with pytest.raises(ValueError, match=r"not made to do without conditions.*condition_dropout"):
        denoiser(
            torch.randn(3, 30, 3), torch.ones(3), None, torch.zeros(3, 2),
            dropped_B=torch.ones(3, dtype=torch.bool),
        )  # fmt: skip


@pytest.mark.parametrize("guidance", [-0.1, float("nan"), float("inf"), -float("inf")])
def test_strengths_that_are_none(guidance):
    with pytest.raises(ValueError, match="guidance must be finite and non-negative, got"):
        check_guidance(guidance, *parts()[:2])


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ((), r"neither covariates nor conditions that could be dropped \(it has: none\), got 2"),
        (("length",), r"\(it has: length\), got 2.*diffusion.conditions.*diffusion.condition_dropout"),
        (("angle",), r"not trained with dropped conditions, got 2.0. Train .*condition_dropout=0.1"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_guided(conditions, message):
    denoiser, conditioning, _ = parts(conditions, (), droppable=False)
    with pytest.raises(ValueError, match=message):
        check_guidance(2.0, denoiser, conditioning)
    check_guidance(1.0, denoiser, conditioning)


def test_a_trained_toy_follows_its_condition_the_more_the_stronger_it_is_guided():
    """Two classes whose levels overlap: of the training trials, nine in ten lie on the side of their class."""
    latents, side_S1 = two_classes(512, 8)
    ldns = trained(
        latents, {"side": side_S1}, epochs=40,
        settings={"conditions": ("side",), "condition_dropout": 0.2},
    )  # fmt: skip
    asked_S1 = np.repeat([[-1.0], [1.0]], 200, axis=0)

    def accuracy(guidance):
        samples = ldns.sample(400, n_bins=8, condition={"side": asked_S1}, guidance=guidance)
        levels_S = np.array([z.mean() for z in samples.latents])
        return np.mean(np.sign(levels_S) == asked_S1[:, 0])

    real = np.mean(np.sign([z.mean() for z in latents]) == side_S1[:, 0])
    assert 0.85 < real < 0.95
    none, plain, double, triple = (accuracy(g) for g in (0.0, 1.0, 2.0, 3.0))
    assert abs(none - 0.5) < 0.1
    assert abs(plain - real) < 0.07
    assert plain < double <= triple
    assert double > 0.93
