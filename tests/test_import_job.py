"""The authors' checkpoints become models that encode, predict noise and sample, or one clear line."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.importing import read_statistics
from ldns_ray.models.ldns import LDNS, Noise
from ldns_ray.stages import encode_dataset
from tests.authors import PAIRS, command, recordings_in, save_checkpoints
from tests.models.references import reference, tensors

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return save_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return recordings_in(tmp_path_factory.mktemp("recordings"))


def imported(job, out, *words):
    code, printed, err = job(*words, "--out", out)
    assert (code, err) == (0, "")
    assert printed.splitlines()[-1] == f"Results: {out}"
    return LDNS.load(out), printed


def assert_agree(got_BTC, expected_BCT):
    expected = np.swapaxes(expected_BCT, 1, 2)
    assert np.abs(np.asarray(got_BTC) - expected).max() < 1e-4 * np.abs(expected).max()


def assert_encodes(model, autoencoder):
    _, arrays, _ = reference(autoencoder)
    for length in ("", "_short", "_long"):
        latents = model.encode(np.swapaxes(arrays[f"x{length}"], 1, 2))
        assert_agree(latents, arrays[f"z{length}"])
        assert_agree(model.decode(latents), arrays[f"rates{length}"])


def assert_predicts_noise(model, denoiser):
    """Through conditioning and kernels, as `sample` does."""
    _, arrays, _ = reference(denoiser)
    x_BTC = torch.from_numpy(arrays["x"]).transpose(1, 2)
    n_latents, n_bins = len(model.latent_mean_D), x_BTC.shape[1]
    (name,) = (*model.conditioning.conditions, *model.conditioning.covariates) or [None]
    condition_BC = model.conditioning.condition(
        torch.full((len(x_BTC),), n_bins),
        {name: torch.from_numpy(arrays.get("condition", np.zeros(0)))},  # fmt: skip
    )
    covariates_BTK = model.conditioning.covariate({name: x_BTC[..., n_latents:]})
    with torch.no_grad():
        eps_BTD = model.denoiser(
            x_BTC[..., :n_latents], torch.from_numpy(arrays["t"]), covariates_BTK, condition_BC,
            kernels=model.denoiser.kernels(n_bins, model.trained_bins),
        )  # fmt: skip
    assert_agree(eps_BTD, arrays["noise_pred"][:, :n_latents])


# -- What is imported is what they have


@pytest.mark.parametrize("denoiser", PAIRS)
def test_agreement_with_statistics_from_a_file(job, checkpoints, denoiser, tmp_path):
    autoencoder, _ = PAIRS[denoiser]
    n_latents = 6 if denoiser == "denoiser_angle" else 4
    statistics = checkpoints / f"z{n_latents}.npz"
    words = command(checkpoints, denoiser)
    model, _ = imported(
        job, tmp_path / "m", *words, "--latent-statistics", statistics, "--bin-ms", "20"
    )
    assert_encodes(model, autoencoder)
    assert_predicts_noise(model, denoiser)
    assert model.bin_width_s == 0.02
    assert model.noise == Noise()
    assert model.denoiser.level is None
    assert model.latent_bound_D is None
    assert len(model.unit_names) == model.autoencoder.n_units
    given = read_statistics(str(statistics), n_latents)
    np.testing.assert_array_equal(model.latent_mean_D, given.mean_D)
    np.testing.assert_array_equal(model.latent_std_D, given.std_D)
    # Lengths: those of the file, or the length for which the denoiser's C is stored.
    assert model.training.n_bins_S.tolist() == ([20, 30] if n_latents == 6 else [64 if denoiser != "denoiser_velocity" else 50])  # fmt: skip


@pytest.mark.parametrize("denoiser", ["denoiser", "denoiser_angle", "denoiser_velocity"])
def test_agreement_with_statistics_of_a_dataset(job, checkpoints, recordings, denoiser, tmp_path):
    autoencoder, _ = PAIRS[denoiser]
    words, data = command(checkpoints, denoiser), recordings[autoencoder]
    model, printed = imported(job, tmp_path / "m", *words, "--data", data)
    assert_encodes(model, autoencoder)
    assert_predicts_noise(model, denoiser)
    _, arrays, _ = reference(autoencoder)
    z = np.concatenate([np.swapaxes(arrays[k], 1, 2).reshape(-1, len(model.latent_mean_D)) for k in ("z", "z_short")])  # fmt: skip
    np.testing.assert_allclose(model.latent_mean_D, z.mean(0), atol=1e-4 * z.std())
    np.testing.assert_allclose(model.latent_std_D, z.std(0), rtol=1e-4)
    # As the pipeline does it, to the last bit.
    stage = encode_dataset(model.autoencoder, data, tmp_path / "latents")
    np.testing.assert_array_equal(model.latent_mean_D, np.float32(stage["mean"]))
    np.testing.assert_array_equal(model.latent_std_D, np.float32(stage["std"]))
    card, train = read_card(data), load_trialset(data, "train")
    assert model.training.n_bins_S.tolist() == train.n_bins_S.tolist()
    assert model.unit_names == card.unit_names
    assert model.bin_width_s == card.bin_width_s
    assert model.provenance["dataset"] == card.fingerprint
    assert str(data) in printed


def test_the_file_of_statistics_goes_before_the_dataset(job, checkpoints, recordings, tmp_path):
    model, _ = imported(
        job, tmp_path / "m", *command(checkpoints, "denoiser_mask"), "--data", recordings["autoencoder_bidirectional"],
        "--latent-statistics", checkpoints / "z4.npz",
    )  # fmt: skip
    np.testing.assert_array_equal(model.latent_mean_D, np.arange(4))
    assert model.training.n_bins_S.tolist() == [64] * 3 + [29] * 3
    assert set(model.training.covariates) == {"window"}


def test_inputs_are_not_standardised(job, checkpoints, recordings, tmp_path):
    for denoiser in ("denoiser_angle", "denoiser_velocity"):
        words, data = command(checkpoints, denoiser), recordings[PAIRS[denoiser][0]]
        model, _ = imported(job, tmp_path / denoiser, *words, "--data", data)
        c = model.conditioning
        assert (c.condition_mean_C == 0).all()
        assert (c.covariate_mean_K == 0).all()
        assert (c.condition_std_C == 1).all()
        assert (c.covariate_std_K == 1).all()
        assert c.n_conditions + c.n_covariates == 2


def test_kernels_reach_as_far_as_in_their_training(job, checkpoints, tmp_path):
    """Also where the trials to sample for are shorter than those of the training."""
    words = [*command(checkpoints, "denoiser_angle"), "--latent-statistics", checkpoints / "z6.npz", "--bin-ms", "5"]  # fmt: skip
    model, _ = imported(job, tmp_path / "m", *words)
    assert model.training.n_bins_S.max() == 30
    seen = []
    hook = model.denoiser.register_forward_hook(lambda _, inputs, out: seen.append((inputs, out)))
    model.sample(1, n_bins=50, condition={"angle": [[1.0, 0.0]]}, n_steps=2)
    hook.remove()
    z_BTD, t_B, _, condition_BC = seen[0][0][:4]
    with torch.no_grad():
        eps_BTD = model.denoiser(z_BTD, t_B, None, condition_BC)
    torch.testing.assert_close(seen[0][1], eps_BTD)
    torch.testing.assert_close(condition_BC, torch.tensor([[1.0, 0.0]]))


# -- Other jobs take it


def test_sampling_by_angle(job, checkpoints, recordings, tracking_uri, tmp_path):
    data = recordings["autoencoder_causal"]
    _, printed = imported(job, tmp_path / "m", *command(checkpoints, "denoiser_angle"), "--data", data)  # fmt: skip
    assert f"python jobs/sample.py {tmp_path / 'm'} --n 100 --out data/sampled\n" in printed
    code, _, err = job(
        "sample", tmp_path / "m", "--n", "5", "--n-steps", "3", "--out", tmp_path / "s", "--tracking-uri", tracking_uri
    )  # fmt: skip
    assert (code, err) == (0, "")
    sampled, train = load_trialset(tmp_path / "s"), load_trialset(data, "train")
    assert set(sampled.n_bins_S) <= {50, 22}
    angles = {tuple(a) for a in train.conditions["angle"].tolist()}
    assert {tuple(a) for a in sampled.conditions["angle"].tolist()} <= angles
    assert np.isfinite(sampled.latents).all()
    assert np.isfinite(sampled.rates).all()
    # The angle matters.
    model = LDNS.load(tmp_path / "m")
    east, west = (
        model.sample(1, n_bins=50, condition={"angle": [[x, 0.0]]}, n_steps=3) for x in (1, -1)
    )
    assert np.abs(east.latents[0] - west.latents[0]).max() > 1e-3


def test_sampling_by_velocity(job, checkpoints, tracking_uri, tmp_path, refuses):
    """Without a dataset, samples need their covariates."""
    words = [*command(checkpoints, "denoiser_velocity"), "--latent-statistics", checkpoints / "z4.npz", "--bin-ms", "5"]  # fmt: skip
    model, printed = imported(job, tmp_path / "m", *words)
    assert "--conditions FILE.npz" in printed
    assert "velocity (trials, bins, 2)" in printed
    velocity = np.random.default_rng(0).normal(0, 0.3, (3, 50, 2)).astype(np.float32)
    np.savez(tmp_path / "v.npz", velocity=velocity)
    sample = ["sample", tmp_path / "m", "--n-steps", "3", "--out", tmp_path / "s"]
    code, _, err = job(*sample, "--conditions", tmp_path / "v.npz", "--tracking-uri", tracking_uri)
    assert (code, err) == (0, "")
    sampled = load_trialset(tmp_path / "s")
    np.testing.assert_array_equal(sampled.covariates["velocity"], velocity.reshape(-1, 2))
    assert np.isfinite(sampled.latents).all()
    line = refuses(*sample, "--overwrite")
    assert "no training trials to draw the covariate 'velocity' from. Pass velocity of every" in line  # fmt: skip
    still = model.sample(3, covariates={"velocity": 0 * velocity}, n_steps=3)
    assert np.abs(np.concatenate(still.latents) - sampled.latents).max() > 1e-3


def test_sampling_in_a_window(job, checkpoints, tracking_uri, tmp_path):
    """The mask of trials in the middle of a window is a covariate; samples are whole windows."""
    words = [*command(checkpoints, "denoiser_mask"), "--latent-statistics", checkpoints / "z4.npz", "--bin-ms", "20"]  # fmt: skip
    imported(job, tmp_path / "m", *words)
    mask = np.zeros((2, 64, 1), np.float32)
    mask[0, 10:54], mask[1, 30:33] = 1, 1
    np.savez(tmp_path / "mask.npz", window=mask)
    code, _, err = job(
        "sample", tmp_path / "m", "--n-steps", "3", "--conditions", tmp_path / "mask.npz", "--out", tmp_path / "s",
        "--tracking-uri", tracking_uri,
    )  # fmt: skip
    assert (code, err) == (0, "")
    sampled = load_trialset(tmp_path / "s")
    assert sampled.n_bins_S.tolist() == [64, 64]
    np.testing.assert_array_equal(sampled.covariates["window"], mask.reshape(-1, 1))


def test_sampling_is_the_published_recursion(job, checkpoints, tmp_path):
    """Ancestral sampling (Ho et al. 2020, algorithm 2) with their denoiser, by hand, seen at its first step."""
    words = [*command(checkpoints, "denoiser"), "--latent-statistics", checkpoints / "z4.npz", "--bin-ms", "20"]  # fmt: skip
    noise = ["--n-steps", "10", "--beta-start", "0.01", "--beta-end", "0.5"]
    model, _ = imported(job, tmp_path / "m", *words, *noise)
    assert model.noise == Noise(10, 0.01, 0.5)
    seen = []
    hook = model.denoiser.register_forward_hook(lambda _, inputs, out: seen.append((inputs, out)))
    samples = model.sample(2, n_bins=64, sampler="ddpm")
    hook.remove()
    assert len(seen) == 10
    beta = np.linspace(0.01, 0.5, 10)
    alpha_bar = np.cumprod(1 - beta)
    z = seen[-1][0][0].numpy()
    mean = (z - beta[0] / np.sqrt(1 - alpha_bar[0]) * seen[-1][1].numpy()) / np.sqrt(1 - beta[0])
    np.testing.assert_allclose(
        np.stack(samples.latents), mean * np.arange(1, 5) + np.arange(4), rtol=1e-4, atol=1e-4
    )


def test_encoding_a_dataset(job, checkpoints, recordings, tmp_path):
    data = recordings["autoencoder_bidirectional"]
    imported(job, tmp_path / "m", *command(checkpoints, "denoiser"), "--data", data)
    code, _, err = job("encode", tmp_path / "m", data, "--out", tmp_path / "e")
    assert (code, err) == (0, "")
    test = load_trialset(tmp_path / "e", "test")
    _, arrays, _ = reference("autoencoder_bidirectional")
    assert_agree(np.stack(test.latents_list()), arrays["z_long"])
    assert_agree(np.stack(test.rates_list()), arrays["rates_long"])


def test_files_of_other_kinds_and_decoder_blocks(job, checkpoints, tmp_path):
    """A .npz autoencoder with decoder blocks and a .safetensors denoiser; a model that is there stays."""
    np.savez(tmp_path / "ae.npz", **{k: v.numpy() for k, v in tensors("autoencoder_decoder_blocks").items()})  # fmt: skip
    save_file(tensors("denoiser_angle"), tmp_path / "d.safetensors")
    words = [
        "import_reference", tmp_path / "ae.npz", tmp_path / "d.safetensors", "--conditions", "angle:2",
        "--latent-statistics", checkpoints / "z6.npz", "--bin-ms", "5",
    ]  # fmt: skip
    model, _ = imported(job, tmp_path / "m", *words)
    assert_encodes(model, "autoencoder_decoder_blocks")
    code, _, err = job(*words, "--out", tmp_path / "m")
    assert code == 2
    assert "holds a model already. Choose another folder, or pass --overwrite" in err
    imported(job, tmp_path / "m", *words, "--overwrite")
