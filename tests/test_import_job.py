"""The authors' checkpoints become models that encode, predict noise and sample, or one clear line."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trialset, read_card, write_dataset
from ldns_ray.importing import read_statistics
from ldns_ray.models.ldns import LDNS, Noise
from ldns_ray.stages import encode_dataset
from tests.models.references import reference, tensors

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = {
    "denoiser": ("autoencoder_bidirectional", []),
    "denoiser_angle": ("autoencoder_causal", ["--conditions", "angle:2"]),
    "denoiser_velocity": ("autoencoder_bidirectional", ["--covariates", "velocity:2"]),
    "denoiser_mask": ("autoencoder_bidirectional", ["--covariates", "window:1"]),
}
"""Denoisers with an autoencoder of as many latents, and the names of their inputs."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Every stored network as its authors' scripts save it, name.pt."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for denoiser, (autoencoder, _) in PAIRS.items():
        torch.save({f"module.{k}": v for k, v in tensors(autoencoder).items()}, folder / f"{autoencoder}.pt")  # fmt: skip
        torch.save({"ema": tensors(denoiser), "epoch": 3}, folder / f"{denoiser}.pt")
    torch.save(tensors("autoencoder_decoder_blocks"), folder / "autoencoder_decoder_blocks.pt")
    np.savez(folder / "z4.npz", mean=np.arange(4.0), std=np.arange(1.0, 5.0))
    np.savez(folder / "z6.npz", mean=np.zeros((1, 6, 1)), std=np.ones((1, 6, 1)), n_bins=[20, 30])
    return folder


def recording(name, folder, velocity_unit="m/s", **changes):
    """The stored counts as training trials of a dataset, with an angle, velocity and mask; two more to test."""
    _, arrays, _ = reference(name)
    rng = np.random.default_rng(0)
    trials = []
    for kind, split in (("x", "train"), ("x_short", "train"), ("x_long", "test")):
        for i, x_NT in enumerate(arrays[kind]):
            n_bins = x_NT.shape[1]
            angle = rng.uniform(0, 2 * np.pi)
            covariates = {
                "velocity": rng.normal(0.1, 0.3, (n_bins, 2)).astype(np.float32),
                "window": (np.arange(n_bins) >= 5)[:, None].astype(np.float32),
            }
            conditions = {"angle": np.array([np.cos(angle), np.sin(angle)], np.float32)}
            trials.append(
                Trial(
                    spikes=x_NT.T.astype(np.uint8), trial_id=f"{kind}-{i}", session="a", split=split,
                    covariates=covariates, conditions=conditions,
                )
            )  # fmt: skip
    write_dataset(
        trials, folder, name=name, bin_width_s=0.005, covariate_units={"velocity": velocity_unit},
        unit_names=[f"channel {i}" for i in range(trials[0].spikes.shape[1])],
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    return {name: recording(name, folder / name) for name in {name for name, _ in PAIRS.values()}}


def command(checkpoints, denoiser, autoencoder=None):
    own, inputs = PAIRS[denoiser]
    return [
        "import_reference", checkpoints / f"{autoencoder or own}.pt", checkpoints / f"{denoiser}.pt", *inputs,
    ]  # fmt: skip


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


def test_sampling_by_angle(job, checkpoints, recordings, tmp_path):
    data = recordings["autoencoder_causal"]
    _, printed = imported(job, tmp_path / "m", *command(checkpoints, "denoiser_angle"), "--data", data)  # fmt: skip
    assert f"python jobs/sample.py {tmp_path / 'm'} --n 100 --out data/sampled\n" in printed
    code, _, err = job("sample", tmp_path / "m", "--n", "5", "--n-steps", "3", "--out", tmp_path / "s")  # fmt: skip
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


def test_sampling_by_velocity(job, checkpoints, tmp_path, refuses):
    """Without a dataset, samples need their covariates."""
    words = [*command(checkpoints, "denoiser_velocity"), "--latent-statistics", checkpoints / "z4.npz", "--bin-ms", "5"]  # fmt: skip
    model, printed = imported(job, tmp_path / "m", *words)
    assert "--conditions FILE.npz" in printed
    assert "velocity (trials, bins, 2)" in printed
    velocity = np.random.default_rng(0).normal(0, 0.3, (3, 50, 2)).astype(np.float32)
    np.savez(tmp_path / "v.npz", velocity=velocity)
    sample = ["sample", tmp_path / "m", "--n-steps", "3", "--out", tmp_path / "s"]
    code, _, err = job(*sample, "--conditions", tmp_path / "v.npz")
    assert (code, err) == (0, "")
    sampled = load_trialset(tmp_path / "s")
    np.testing.assert_array_equal(sampled.covariates["velocity"], velocity.reshape(-1, 2))
    assert np.isfinite(sampled.latents).all()
    line = refuses(*sample, "--overwrite")
    assert "no training trials to draw the covariate 'velocity' from. Pass velocity of every" in line  # fmt: skip
    still = model.sample(3, covariates={"velocity": 0 * velocity}, n_steps=3)
    assert np.abs(np.concatenate(still.latents) - sampled.latents).max() > 1e-3


def test_sampling_in_a_window(job, checkpoints, tmp_path):
    """The mask of trials in the middle of a window is a covariate; samples are whole windows."""
    words = [*command(checkpoints, "denoiser_mask"), "--latent-statistics", checkpoints / "z4.npz", "--bin-ms", "20"]  # fmt: skip
    imported(job, tmp_path / "m", *words)
    mask = np.zeros((2, 64, 1), np.float32)
    mask[0, 10:54], mask[1, 30:33] = 1, 1
    np.savez(tmp_path / "mask.npz", window=mask)
    code, _, err = job(
        "sample", tmp_path / "m", "--n-steps", "3", "--conditions", tmp_path / "mask.npz", "--out", tmp_path / "s"
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


# -- Bad input


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--covariates", "speed:1"], "covariates must have 2, got 1 (speed:1)"),
        ([], "covariates must have 2, got 0 (none). Name them as in --covariates velocity:2"),
        (["--covariates", "velocity:3"], "covariates must have 2, got 3 (velocity:3)"),
        (["--covariates", "velocity:2", "--conditions", "angle:2"], "takes 0 condition entries, got 2 (angle:2)"),
        (["--covariates", "velocity"], "--covariates must be NAME:SIZE, such as angle:2, got 'velocity'"),
        (["--covariates", "velocity:0"], "got 'velocity:0'"),
        (["--covariates", "v:1", "--covariates", "v:1"], "each input once, got 'v' twice"),
        (["--covariates", "v:2", "--conditions", "v:2"], "'v' must be a condition or a covariate, got both"),
        (["--covariates", "length:2"], "cannot be called 'length'"),
        (["--covariates", "velocity:2", "--bin-ms", "0"], "--bin-ms must be positive, got 0"),
        (["--covariates", "velocity:2", "--n-steps", "1"], "--n-steps must be at least 2, got 1"),
        (["--covariates", "velocity:2", "--beta-start", "0.1"], "rising in (0, 1), got 0.1 and 0.02"),
        (["--covariates", "velocity:2", "--beta-end", "nan"], "rising in (0, 1)"),
        (["--covariates", "velocity:2"], "are not in the checkpoints. Give a dataset (--data) or a file"),
        (["--covariates", "velocity:2", "--latent-statistics", "z4.npz"], "The bin width is not in the checkpoints"),
        (["--covariates", "velocity:2", "--latent-statistics", "z6.npz"], "mean must have 4 numbers, one per latent, got (1, 6, 1)"),
        (["--covariates", "velocity:2", "--latent-statistics", "none.npz"], "No file"),
    ],
)  # fmt: skip
def test_bad_options(refuses, checkpoints, options, expected, tmp_path):
    options = [checkpoints / word if word.endswith(".npz") else word for word in options]
    words = command(checkpoints, "denoiser_velocity")[:3]
    assert expected in refuses(*words, *options, "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_networks_of_two_models(refuses, checkpoints, tmp_path):
    out = ["--out", tmp_path / "m"]
    line = refuses(*command(checkpoints, "denoiser_mask", "autoencoder_causal"), *out)
    assert "must have the 6 latents of" in line
    assert "got 5 channels. Give the two checkpoints of one model" in line
    line = refuses(*command(checkpoints, "denoiser_angle", "autoencoder_bidirectional"), *out)
    assert "covariates must have 2, got 0" in line
    a, d = checkpoints / "autoencoder_bidirectional.pt", checkpoints / "denoiser.pt"
    line = refuses("import_reference", d, a, *out)
    assert "The first checkpoint must be the autoencoder" in line
    assert "Swap the two" in line
    assert "denoiser (conv_out.weight), got an autoencoder" in refuses("import_reference", a, a, *out)  # fmt: skip
    assert "No checkpoint" in refuses("import_reference", a, checkpoints / "no.pt", *out)
    line = refuses("import_reference", a, checkpoints / "denoiser_angle.txt", *out)
    assert "must be a file of .pt" in line


def test_spoiled_checkpoints(refuses, checkpoints, tmp_path):
    """One line that names the file, also for a pickle of an older protocol, which torch warns of."""
    a, weights = checkpoints / "autoencoder_bidirectional.pt", tensors("denoiser")
    path = tmp_path / "d.pt"
    words = ["import_reference", a, path, "--out", tmp_path / "m"]
    without = {k: v for k, v in weights.items() if k != "blocks.1.time_mixer.D"}
    for content, expected in (
        (without, "d.pt: The checkpoint has no blocks.1.time_mixer.D."),
        ({**weights, "more": torch.zeros(1)}, "d.pt: The checkpoint also has more"),
        ({**weights, "conv_out.bias": torch.zeros(7)}, "d.pt: conv_out.bias must be (4,), got (7,)"),
        ({"weights": [1]}, "neither an LDNS autoencoder"),
        (torch.nn.Linear(2, 2), "is refused: to read it, Python code would have to be run"),
    ):  # fmt: skip
        torch.save(content, path)
        assert expected in refuses(*words)
    for raw in (b"no checkpoint", pickle.dumps(weights, protocol=4)):
        path.write_bytes(raw)
        assert "d.pt is damaged, no file of torch.save, or" in refuses(*words)
    assert not (tmp_path / "m").exists()


def test_datasets_that_do_not_fit(refuses, checkpoints, recordings, tmp_path):
    out = ["--out", tmp_path / "m"]
    angle, velocity = command(checkpoints, "denoiser_angle"), command(checkpoints, "denoiser_velocity")  # fmt: skip
    ten, twelve = recordings["autoencoder_causal"], recordings["autoencoder_bidirectional"]
    assert "has 12 units, the model was trained on 10" in refuses(*angle, "--data", twelve, *out)
    line = refuses(*angle[:3], "--conditions", "direction:2", "--data", ten, *out)
    assert "no condition 'direction' of size 2; it has: angle:2" in line
    line = refuses(*velocity[:3], "--covariates", "window:2", "--data", twelve, *out)
    assert "no covariate 'window' of size 2; it has: velocity:2, window:1" in line
    line = refuses(*angle, "--data", ten, "--bin-ms", "20", *out)
    assert "has bins of 5 ms, got --bin-ms 20" in line
    fast = recording("autoencoder_bidirectional", tmp_path / "mm", velocity_unit="mm/s")
    line = refuses(*velocity, "--data", fast, *out)
    assert "must be in m/s, which the authors' models take, got mm/s" in line
    line = refuses(*command(checkpoints, "denoiser_mask"), "--data", twelve, *out)
    assert "'window' is 0 or 1, as the mask of trials in a window" in line
    assert "--latent-statistics" in line
    assert "No dataset.json" in refuses(*angle, "--data", tmp_path / "nowhere", *out)
    assert not (tmp_path / "m").exists()


def test_a_length_that_nobody_knows(refuses, checkpoints, tmp_path):
    weights = tensors("denoiser")
    for key in weights:
        if key.endswith("l_kernel"):
            weights[key] = torch.tensor(0)
    torch.save(weights, tmp_path / "d.pt")
    line = refuses(
        "import_reference", checkpoints / "autoencoder_bidirectional.pt", tmp_path / "d.pt", "--out", tmp_path / "m",
        "--latent-statistics", checkpoints / "z4.npz", "--bin-ms", "5",
    )  # fmt: skip
    assert "does not tell how long the training trials were (its l_kernel is 0)" in line
    assert "as n_bins" in line


GOOD = {"mean": np.zeros(4), "std": np.ones(4)}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"mean": np.zeros(4)}, "must hold the arrays mean and std, and may hold n_bins, got mean"),
        ({**GOOD, "bins": [3]}, "may hold n_bins, got mean, std, bins"),
        ({**GOOD, "std": np.ones(3)}, r"std must have 4 numbers, one per latent, got \(3,\)"),
        ({**GOOD, "std": np.zeros(4)}, "std positive"),
        ({**GOOD, "mean": np.full(4, np.nan)}, "must be finite"),
        ({**GOOD, "mean": np.array(list("abcd"))}, "mean must be numbers, got <U1"),
        ({**GOOD, "mean": np.array([{}, 1, 2, 3])}, "no .npz file of numbers"),
        ({**GOOD, "n_bins": [0, 3]}, "lengths of at least 1"),
        ({**GOOD, "n_bins": np.zeros(0, int)}, "lengths of at least 1"),
        ({**GOOD, "n_bins": [3.5]}, "n_bins must be numbers, got float64"),
    ],
)
def test_bad_statistics(arrays, expected, tmp_path):
    np.savez(tmp_path / "z.npz", **arrays)
    with pytest.raises(ValueError, match=expected):
        read_statistics(str(tmp_path / "z.npz"), 4)


def test_statistics_that_are_no_archive(tmp_path):
    (tmp_path / "z.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="z.npz is no .npz file of numbers"):
        read_statistics(str(tmp_path / "z.npz"), 4)
