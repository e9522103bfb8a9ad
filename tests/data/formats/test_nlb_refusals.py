"""NLB files and options that are refused, and in which words."""

import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ldns_ray.data.formats.nlb import NlbReader
from tests.data.formats.nlb_files import (
    BEHAVIOR,
    FIRST,
    FORWARD,
    SECOND,
    TENSORS,
    read,
    refused,
    save,
)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"train_spikes_heldin": None, "eval_spikes_heldin": None},
            {},
            "has no train_spikes_heldin or eval_spikes_heldin; there are: eval_spikes_heldout, "
            "train_spikes_heldout. Save what make_train_input_tensors and make_eval_input_tensors of "
            "nlb_tools return.",
        ),
        (
            {"train_spikes_heldin": None},
            {"evaluation": "skip"},
            "has no train_spikes_heldin; there are: eval_spikes_heldin, eval_spikes_heldout, "
            "train_spikes_heldout. Save what make_train_input_tensors and make_eval_input_tensors of "
            "nlb_tools return.",
        ),
        (
            {"train_spikes_heldout": None},
            {},
            "has eval_spikes_heldout, but no train_spikes_heldout. Add it, as make_train_input_tensors of "
            "nlb_tools returns it, or leave eval_ trials out.",
        ),
        (
            {},
            {"behavior": "v"},
            "has no train_behavior; there are: eval_spikes_heldin, eval_spikes_heldout, train_spikes_heldin, "
            "train_spikes_heldout. Make the tensors with it (include_behavior=True, "
            "include_forward_pred=True), or read them without.",
        ),
        (
            {"train_behavior": [[1.0, 2], [3, 4]]},  # one row per trial, as dmfc_rsg has
            {"behavior": "v"},
            "train_behavior must be numbers of shape (trials, bins, channels), all above 0, got float32 of "
            "shape (2, 2).",
        ),
        (
            {"eval_spikes_heldin": np.zeros((1, 0, 2))},
            {},
            "eval_spikes_heldin must be numbers of shape (trials, bins, channels), all above 0, got float32 of "
            "shape (1, 0, 2).",
        ),
        (
            {"train_spikes_heldout": np.zeros((2, 4, 1))},
            {},
            "train_spikes_heldout must have 2 trials of 3 bins, as train_spikes_heldin has, got shape "
            "(2, 4, 1).",
        ),
        (
            {"eval_spikes_heldout": np.zeros((2, 3, 1))},
            {},
            "eval_spikes_heldout must have 1 trials of 3 bins, as eval_spikes_heldin has, got shape "
            "(2, 3, 1).",
        ),
        (
            FORWARD | {"eval_spikes_heldout_forward": np.zeros((1, 2, 1))},
            {"forward": True},
            "eval_spikes_heldout_forward must have 1 trials of 1 bins, as eval_spikes_heldin_forward has, "
            "got shape (1, 2, 1).",
        ),
        (
            {"eval_spikes_heldout": np.zeros((1, 3, 4))},
            {},
            "eval_spikes_heldout must have 1 channels as train_spikes_heldout has, got 4.",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    assert refused(save(tmp_path / "a.h5", TENSORS | change), **options) == message


def test_a_file_holds_one_dataset(tmp_path: Path) -> None:
    for group in ("mc_maze", "mc_rtt"):
        save(tmp_path / "a.h5", TENSORS, group=group)
    assert refused(str(tmp_path / "a.h5")) == (
        "must hold one dataset, got mc_maze and mc_rtt. Save each to its own file."
    )


def test_options_are_checked() -> None:
    for width in (0, -5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^bin_ms must be positive and finite, got "):
            NlbReader(bin_ms=width)
    with pytest.raises(ValueError, match=r"^evaluation must be test, val, val\+test or skip, got"):
        NlbReader(bin_ms=5, evaluation="train")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no behaviour for forward bins\. Leave one of them out"):
        NlbReader(bin_ms=5, forward=True, behavior="hand_vel")
    reader = NlbReader(bin_ms=5, behavior="hand_vel")
    assert pickle.loads(pickle.dumps(reader)) == reader


def test_the_file_is_closed_before_trials_come(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS)
    trials = NlbReader(bin_ms=5).read(path).trials
    with h5py.File(path, "w"):
        pass  # HDF5 writes no file that is open to read
    assert [t.spikes.tolist() for t in trials] == [FIRST, SECOND, SECOND]


def test_h5py_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.h5", TENSORS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refused(path) == (
        'HDF5 files are read with h5py. Install it with: pip install "ldns_ray[nwb]"'
    )


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NlbReader(bin_ms=5).read(str(tmp_path / "none.h5"))
    with pytest.raises(IsADirectoryError):
        NlbReader(bin_ms=5).read(str(tmp_path))
    (tmp_path / "a.h5").write_text("not HDF5")
    message = refused(str(tmp_path / "a.h5"))
    assert message.startswith("cannot be read as HDF5 (")
    assert message.endswith("). Write it again with save_to_h5 of nlb_tools.")


def test_a_shape_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS | {"train_spikes_heldin": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("train_spikes_heldin", (10**6, 10**4, 100), "f4", chunks=(1, 100, 100))
    assert "train_spikes_heldin of shape (1000000, 10000, 100) does not fit in" in refused(path)


@pytest.mark.parametrize("seed", range(32))
def test_damage_is_a_value_error(tmp_path: Path, seed: int) -> None:
    """Cut off, or with bytes changed. Lists of variable length are left out: at damage there, HDF5 may hang."""
    rng = np.random.default_rng(seed)
    path = save(tmp_path / "a.h5", TENSORS | BEHAVIOR)
    content = np.fromfile(path, np.uint8)
    if seed % 2:
        content = content[: rng.integers(len(content))]
    else:
        # Early bytes hold the structure, most of the others nothing.
        at = rng.integers(min(3000, len(content)), size=4)
        content[at] = rng.integers(256, size=4)
    content.tofile(path)
    try:
        trials = read(path, behavior="v")
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert {t.spikes.shape[1] for t in trials} <= {2, 3}
        assert trials
