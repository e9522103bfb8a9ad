"""What jobs/import_reference.py refuses, each with one line that says what to do."""

import pickle

import numpy as np
import pytest
import torch

from ldns_ray.importing import read_statistics
from tests.authors import command, recording, recordings_in, save_checkpoints
from tests.models.references import tensors

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return save_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return recordings_in(tmp_path_factory.mktemp("recordings"))


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
