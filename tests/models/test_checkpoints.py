"""Reading checkpoint files: formats, nestings, prefixes, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldns_ray.models.checkpoints import read_checkpoint
from ldns_ray.models.interop import import_reference
from tests.models.references import tensors


@pytest.fixture(scope="module")
def weights():
    return tensors("denoiser")


def assert_read(path, weights):
    read = read_checkpoint(path)
    assert read.keys() == weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(read[key], value, rtol=0, atol=0)
    import_reference(read)


@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt", "PT"])
def test_torch_files(weights, suffix, tmp_path):
    torch.save(weights, tmp_path / f"a.{suffix}")
    assert_read(tmp_path / f"a.{suffix}", weights)
    torch.save(weights, tmp_path / f"b.{suffix}", _use_new_zipfile_serialization=False)
    assert_read(str(tmp_path / f"b.{suffix}"), weights)


def test_other_files(weights, tmp_path):
    np.savez(tmp_path / "a.npz", note=np.array("by hand"), **{k: v.numpy() for k, v in weights.items()})  # fmt: skip
    assert_read(tmp_path / "a.npz", weights)
    save_file(weights, tmp_path / "a.safetensors")
    assert_read(tmp_path / "a.safetensors", weights)


def prefixed(weights, prefix):
    return {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    "nested",
    [
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": prefixed(w, "module."), "optimizer": {"state": {}, "param_groups": []}},
        lambda w: {"model_state_dict": prefixed(w, "module._orig_mod.")},
        lambda w: prefixed(w, "_orig_mod.module."),
        lambda w: prefixed(w, "module.model."),
        lambda w: {k.replace("time_mixer.", "_orig_mod.time_mixer."): v for k, v in w.items()},
        lambda w: {"model": {"state_dict": w}},
        # Of two, the moving average.
        lambda w: {"model": {k: v + 1 for k, v in w.items()}, "ema": w, "step": 7},
        lambda w: {"state_dict": {k: v + 1 for k, v in w.items()}, "ema": {"ema_model": w}},
        lambda w: {**prefixed({k: v + 1 for k, v in w.items()}, "online_model."), **prefixed(w, "ema_model."),
                   "initted": torch.tensor(True), "step": torch.tensor(7)},
        lambda w: {"ema": None, "model": w},
        lambda w: {**prefixed(w, "module."), "n_averaged": torch.tensor(7)},
    ],
)  # fmt: skip
def test_nestings(weights, nested, tmp_path):
    torch.save(nested(weights), tmp_path / "a.pt")
    assert_read(tmp_path / "a.pt", weights)


def test_the_autoencoder_as_it_is_saved(tmp_path):
    weights = tensors("autoencoder_causal")
    torch.save(prefixed(weights, "module."), tmp_path / "a.pt")
    assert_read(tmp_path / "a.pt", weights)


def test_half_precision_comes_as_float32(weights, tmp_path):
    floating = {k: v.bfloat16() if v.is_floating_point() else v for k, v in weights.items()}
    torch.save(floating, tmp_path / "a.pt")
    read = read_checkpoint(tmp_path / "a.pt")
    for key, value in floating.items():
        torch.testing.assert_close(read[key], value.to(read[key].dtype), rtol=0, atol=0)
        assert read[key].dtype in (torch.float32, torch.int64)


# -- What is refused


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", ["pt", "npz", "safetensors"])
def test_code_in_a_file_is_not_run(weights, suffix, tmp_path):
    trace, path = tmp_path / "it ran", tmp_path / f"a.{suffix}"
    contents = {**weights, "x": Bomb(trace)}
    if suffix == "npz":
        np.savez(path, x=np.array([Bomb(trace)], dtype=object))
        files = [path.read_bytes()]
    else:
        torch.save(contents, path)
        files = [path.read_bytes()]
        torch.save(contents, path, _use_new_zipfile_serialization=False)
        files.append(path.read_bytes())
    for content in (*files, pickle.dumps(contents), pickle.dumps(contents, protocol=0)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"refused|damaged") as refusal:
            read_checkpoint(path)
        assert path.name in str(refusal.value)
        assert not trace.exists()
    if suffix == "pt":
        torch.save(contents, path)
        with pytest.raises(
            ValueError, match=r"code would have to be run \(\w+\.open\).*torch.save"
        ):
            read_checkpoint(path)
    # The trap would have sprung.
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()


def test_a_whole_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"refused: .*\(torch.nn.modules.linear.Linear\)"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", ["pt", "npz", "safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 100, -100])
def test_damaged_files(weights, suffix, keep, tmp_path):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, **{k: v.numpy() for k, v in weights.items()})
    else:
        (torch.save if suffix == "pt" else save_file)(weights, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"a.{suffix} is (damaged|refused)"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a": torch.zeros(1), "b": {"c": 1}, "epoch": 3}, r"it holds a, b \(1 entries\), epoch\. "),
        ({"state_dict": {"fc.weight": torch.zeros(1)}}, r"neither .* it holds state_dict \(1 entries\)"),
        ({}, "it holds nothing"),
        ([torch.zeros(1)], "it holds one list"),
        (torch.zeros(1), "it holds one Tensor"),
        ({"ema": {"decay": 0.9999, "shadow_params": [torch.zeros(1)]}, "model": {}},
         r"moving average under ema that cannot be read: it holds decay, shadow_params \(1 entries\)"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_described(content, expected, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=expected):
        read_checkpoint(tmp_path / "a.pt")


def test_a_mapping_that_holds_itself(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="neither"):
        read_checkpoint(tmp_path / "a.pt")


def test_numbers_that_are_none(weights, tmp_path):
    bias = weights["conv_out.bias"].clone()
    bias[1:] = float("nan")
    torch.save({**weights, "conv_out.bias": bias}, tmp_path / "a.pt")
    with pytest.raises(
        ValueError, match=r"conv_out.bias must be finite, got 3 numbers that are not"
    ):
        read_checkpoint(tmp_path / "a.pt")


def test_no_file_and_no_format(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No checkpoint .*nowhere.pt"):
        read_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(ValueError, match=r"a file of \.pt, .*got .*a\.bin"):
        read_checkpoint(tmp_path / "a.bin")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(ValueError, match=r"folder.pt is a folder"):
        read_checkpoint(tmp_path / "folder.pt")
