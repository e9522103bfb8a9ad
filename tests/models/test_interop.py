"""Import of the authors' checkpoints, against outputs of their own modules."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from ldns_ray.models.autoencoder import Autoencoder, poisson_nll, smoothness
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.interop import import_reference

FOLDER = Path(__file__).resolve().parents[1] / "data" / "reference"
AUTOENCODERS = ("autoencoder_bidirectional", "autoencoder_causal", "autoencoder_decoder_blocks")
DENOISERS = ("denoiser", "denoiser_angle", "denoiser_velocity", "denoiser_mask")


def reference(name):
    """The parameters in the authors' naming, and inputs and outputs, channels-first."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {k: file[k] for k in file.files}
    config = ast.literal_eval(str(arrays.pop("config")))
    parameters = {k.removeprefix("param/"): v for k, v in arrays.items() if k.startswith("param/")}
    for key in parameters:
        # The authors' layer rewrites C in place when it meets a longer sequence; these files hold the C
        # after the doubled run, so the length is twice the stored one.
        if name in AUTOENCODERS and key.endswith("l_kernel"):
            parameters[key] = 2 * parameters[key]
    return parameters, arrays, config


def ours_from_theirs(x_BCT):
    return torch.from_numpy(x_BCT).transpose(1, 2)


def assert_agree(got_BTC, expected_BCT):
    expected = ours_from_theirs(expected_BCT)
    assert got_BTC.shape == expected.shape
    assert (got_BTC - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoder(name):
    parameters, arrays, config = reference(name)
    model = import_reference(parameters)
    assert isinstance(model, Autoencoder)
    assert (len(model.encoder), len(model.decoder)) == (
        config["n_blocks"],
        config["n_decoder_blocks"],
    )
    assert (model.n_units, model.n_latents) == (config["n_units"], config["n_latents"])
    for length in ("", "_short", "_long"):
        with torch.no_grad():
            rates_BTN, z_BTD = model(ours_from_theirs(arrays[f"x{length}"]))
        assert_agree(z_BTD, arrays[f"z{length}"])
        assert_agree(rates_BTN, arrays[f"rates{length}"])


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoder_losses(name):
    parameters, arrays, config = reference(name)
    model = import_reference(parameters)
    x_BTN = ours_from_theirs(arrays["x"])
    with torch.no_grad():
        rates_BTN, z_BTD = model(x_BTN)
        nll = poisson_nll(rates_BTN, x_BTN).mean()
        relative_weight = config["latent_td_beta"] / config["latent_beta"]
        penalty = z_BTD.square().sum() + relative_weight * smoothness(z_BTD, None, config["td_k"])
    assert float(nll) == pytest.approx(float(arrays["poisson_nll"]), rel=1e-4)
    assert float(penalty) == pytest.approx(float(arrays["latent_regularizer_sum"]), rel=1e-4)


@pytest.mark.parametrize("name", DENOISERS)
def test_denoiser(name):
    parameters, arrays, config = reference(name)
    n_covariates = config["extra_channels"]
    model = import_reference(parameters, n_covariates=n_covariates)
    assert isinstance(model, Denoiser)
    n_latents = config["n_channels"] - n_covariates
    assert model.n_latents == n_latents
    x_BTC = ours_from_theirs(arrays["x"])
    condition = torch.from_numpy(arrays["condition"]) if "condition" in arrays else None
    with torch.no_grad():
        eps_BTD = model(
            x_BTC[..., :n_latents],
            torch.from_numpy(arrays["t"]),
            x_BTC[..., n_latents:] if n_covariates else None,
            condition,
        )
    assert_agree(eps_BTD, arrays["noise_pred"][:, :n_latents])


@pytest.mark.parametrize("name", ["autoencoder_causal", "denoiser_angle"])
def test_every_missing_key_is_named(name):
    parameters, _, _ = reference(name)
    for key in parameters:
        # Without these two the shapes tell of a smaller model, to which other keys are left over.
        without = {k: v for k, v in parameters.items() if k != key}
        with pytest.raises(ValueError, match=r"checkpoint (has no|also has)|Expected an LDNS"):
            import_reference(without)
    key = next(k for k in parameters if k.endswith("kernel.P"))
    without = {k: v for k, v in parameters.items() if k != key}
    with pytest.raises(ValueError, match=f"The checkpoint has no {key}."):
        import_reference(without)


@pytest.mark.parametrize("name", ["autoencoder_causal", "denoiser"])
def test_leftover_key_is_named(name):
    parameters, _, _ = reference(name)
    key = next(k for k in parameters if k.endswith("channel_mixer.1.weight"))
    extra = key.replace("mixer.1.weight", "mixer.5.weight")
    with pytest.raises(ValueError, match=f"also has {extra}"):
        import_reference({**parameters, extra: parameters[key]})


def test_wrong_size_is_named():
    parameters, _, _ = reference("autoencoder_causal")
    parameters["ae_net.bottleneck.bias"] = np.zeros(7, np.float32)
    with pytest.raises(ValueError, match=r"bottleneck.bias must be \(6,\), got \(7,\)"):
        import_reference(parameters)


def test_neither_model():
    with pytest.raises(ValueError, match=r"Expected an LDNS autoencoder .*got the keys a, b"):
        import_reference({"a": np.zeros(1), "b": np.zeros(1)})


@pytest.mark.parametrize("n_covariates", [-1, 6])
def test_impossible_number_of_covariates(n_covariates):
    parameters, _, _ = reference("denoiser_velocity")
    with pytest.raises(ValueError, match=rf"n_covariates must be in \[0, 6\), got {n_covariates}"):
        import_reference(parameters, n_covariates=n_covariates)
