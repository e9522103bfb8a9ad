"""Import of the authors' checkpoints, against outputs of their own modules."""

import numpy as np
import pytest
import torch

from ldns_ray.models.autoencoder import Autoencoder, poisson_nll, smoothness
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.interop import denoiser_channels, import_network, import_reference
from tests.models.references import AUTOENCODERS, DENOISERS, reference


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


def stored_for(parameters, length):
    """The same model, with its C stored for another length, as a layer that met other trials stores it."""
    s4 = "time_mixer.kernel.C"
    keys = sorted(k for k in parameters if k.endswith(s4))
    model = import_reference(parameters)
    blocks = [*model.encoder, *model.decoder] if isinstance(model, Autoencoder) else [*model.blocks]
    stored = dict(parameters)
    for key, block in zip(keys, blocks, strict=True):
        c = torch.view_as_complex(block.s4.c.detach().double().contiguous())
        state = [torch.cat((v, v.conj()), -1) for v in dense_parameters(block.s4)]
        lam, p, dt = *state, block.s4.log_dt.detach().double().exp()[:, None, None]
        a = torch.diag_embed(lam) - p[:, :, None] * p.conj()[:, None]
        eye = torch.eye(a.shape[-1], dtype=a.dtype)
        a_bar = torch.linalg.inv(eye - dt / 2 * a) @ (eye + dt / 2 * a)
        whole = torch.cat((c, c.conj()), -1)
        if length:
            power = torch.linalg.matrix_power(a_bar, length)
            whole = whole - torch.einsum("qhn,hnm->qhm", whole, power)
        stored[key] = torch.view_as_real(whole[..., : c.shape[-1]].contiguous()).float()
        stored[key.replace("kernel.C", "kernel.l_kernel")] = torch.tensor(length)
    return stored


def dense_parameters(s4):
    """Λ and P (H, n), complex."""
    p = torch.view_as_complex(s4.p.detach().double().contiguous())
    return torch.complex(-s4.log_neg_re.detach().double().exp(), -s4.neg_im.detach().double()), p


@pytest.mark.parametrize("name", ["autoencoder_causal", "autoencoder_bidirectional"])
@pytest.mark.parametrize("length", [0, 20, 51, 300])
def test_stored_length_is_believed(name, length):
    """Whatever length C was stored for, trials shorter, as long and longer come out the same."""
    parameters, arrays, _ = reference(name)
    stored = stored_for(parameters, length)
    imported = import_network(stored)
    assert imported.trained_bins == length
    for longer in ("", "_short", "_long"):
        with torch.no_grad():
            rates_BTN, z_BTD = imported.model(ours_from_theirs(arrays[f"x{longer}"]))
        assert_agree(z_BTD, arrays[f"z{longer}"])
        assert_agree(rates_BTN, arrays[f"rates{longer}"])


@pytest.mark.parametrize("name", [*AUTOENCODERS, *DENOISERS])
def test_the_model_can_be_made_again(name):
    parameters, _, config = reference(name)
    imported = import_network(parameters, n_covariates=config.get("extra_channels", 0))
    again = type(imported.model)(**imported.settings)
    again.load_state_dict(imported.model.state_dict())
    assert imported.trained_bins == config["train_length"] * (1 + (name in AUTOENCODERS))
    if name in DENOISERS:
        assert denoiser_channels(parameters) == config["n_channels"]


def test_channels_of_what_is_no_denoiser():
    with pytest.raises(ValueError, match=r"Expected an LDNS denoiser .*, got an autoencoder"):
        denoiser_channels(reference("autoencoder_causal")[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conv_in.weight", np.zeros(24, np.float32)),
        ("c_emb.0.weight", np.zeros(6, np.float32)),
        ("blocks.0.time_mixer.kernel.C", np.zeros((2, 3, 32, 2), np.float32)),
        ("blocks.0.time_mixer.kernel.P", np.zeros(3, np.float32)),
        ("t_emb.mlp.0.weight", np.zeros((6, 2), np.float32)),
        ("blocks.1.ada_ln.1.bias", np.zeros(1, np.float32)),
    ],
)
def test_parameters_of_other_shapes(key, value):
    parameters, _, _ = reference("denoiser_angle")
    with pytest.raises(ValueError, match=r"must be|do not fit together"):
        import_reference({**parameters, key: value})


def test_an_autoencoder_of_other_shapes():
    parameters, _, _ = reference("autoencoder_causal")
    parameters["ae_net.encoder_in.weight"] = np.zeros((20, 10), np.float32)
    with pytest.raises(ValueError, match=r"must be \(width, units, 1\), got \(20, 10\)"):
        import_reference(parameters)


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
