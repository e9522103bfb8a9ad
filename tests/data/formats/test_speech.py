import pickle
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from ldns_ray.data.formats.speech import SpeechReader
from ldns_ray.data.schema import Trial, TrialChecker
from ldns_ray.data.splits import CHOICES

# Three sentences of 2, 1 and 3 bins on 4 channels, of which 3 are kept.
SENTENCES = [
    [[1, 0, 2, 9], [0, 3, 0, 9]],
    [[0, 0, 4, 9]],
    [[5, 0, 0, 9], [0, 0, 0, 9], [0, 6, 0, 9]],
]
KEPT = [[[1, 0, 2], [0, 3, 0]], [[0, 0, 4]], [[5, 0, 0], [0, 0, 0], [0, 6, 0]]]


def cells(matrices: list[Any], dtype: str = "f8") -> np.ndarray:
    row = np.empty((1, len(matrices)), dtype=object)
    for i, matrix in enumerate(matrices):
        row[0, i] = np.array(matrix, dtype)
    return row


def save(path: Path, *, compressed: bool = True, dtype: str = "f8", **changes: Any) -> str:
    """As the files of the competition are: features, text, blocks. None leaves a variable out."""
    content: dict[str, Any] = {
        "sentenceText": np.array(["one", "two", "six"]),
        "spikePow": cells([0.5 + np.array(s) for s in SENTENCES]),
        "tx1": cells(SENTENCES, dtype),
        "tx2": cells([np.zeros((2, 4))]),
        "blockIdx": np.array([[2], [2], [3]]),
    }
    path.parent.mkdir(exist_ok=True)
    content = {name: x for name, x in (content | changes).items() if x is not None}
    scipy.io.savemat(path, content, do_compression=compressed)
    return str(path)


def save_hdf5(path: Path, tx1: Any = None, block: Any = ((2, 2, 3),)) -> str:
    """Version 7.3: after a header of MATLAB's, axes in reverse, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = np.empty((len(SENTENCES), 1), dtype=object)
        for i, sentence in enumerate(SENTENCES):
            matrix = np.array(sentence, dtype="f8").T
            refs[i, 0] = file.create_dataset(f"#refs#/{i}", data=matrix, compression="gzip").ref
        if tx1 is None:
            file.create_dataset("tx1", data=refs, dtype=h5py.ref_dtype)
            file["tx1"].attrs["MATLAB_class"] = np.bytes_("cell")
        else:
            file["tx1"] = tx1
        file["blockIdx"] = np.array(block, dtype="f8")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    return str(path)


def read(path: str, **options: Any) -> list[Trial]:
    """All trials, each checked as an ingestion would."""
    recording = SpeechReader(**{"n_channels": 3, **options}).read(path)
    trials = list(recording.trials)
    checker = TrialChecker(CHOICES)
    for trial in trials:
        checker.check(trial)
    assert len(recording.strata) in (0, len(trials))
    return trials


def refused(path: str, **options: Any) -> str:
    with pytest.raises(ValueError, match=f"^{re.escape(path)}: ") as error:
        read(path, **options)
    return str(error.value).removeprefix(f"{path}: ")


def check_sentences(path: str) -> None:
    recording = SpeechReader(n_channels=3).read(path)
    trials = list(recording.trials)
    assert [t.spikes.tolist() for t in trials] == KEPT
    assert {t.spikes.dtype for t in trials} == {np.dtype(np.uint8)}
    assert [t.trial_id for t in trials] == ["000000", "000001", "000002"]
    assert {t.session for t in trials} == {"t12.2022.04.28"}
    assert recording.strata == [f"t12.2022.04.28/{block}" for block in (2, 2, 3)]
    assert (list(recording.unit_names), recording.condition_units) == ([], {})
    assert recording.dropped == Counter()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "u1", "i4"])
def test_sentences(tmp_path: Path, dtype: str, compressed: bool) -> None:
    check_sentences(save(tmp_path / "t12.2022.04.28.mat", dtype=dtype, compressed=compressed))


def test_sentences_in_hdf5(tmp_path: Path) -> None:
    check_sentences(save_hdf5(tmp_path / "t12.2022.04.28.mat"))


def test_cells_and_blocks_may_lie_across(tmp_path: Path) -> None:
    turned = {"tx1": cells(SENTENCES).T, "blockIdx": np.array([[2, 2, 3]])}
    check_sentences(save(tmp_path / "t12.2022.04.28.mat", **turned))


def test_other_arrays_and_all_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mat", tx3=cells([np.full((1, 4), i) for i in range(3)]))
    trials = read(path, array="tx3", n_channels=4, session="day 1")
    assert [t.spikes.tolist() for t in trials] == [[[0] * 4], [[1] * 4], [[2] * 4]]
    assert {t.session for t in trials} == {"day 1"}
    assert SpeechReader(n_channels=3, session="day 1").read(path).strata[0] == "day 1/2"
    assert SpeechReader().bin_width_s == 0.02


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("test", "val+test"),
        ("competitionHoldOut", "train+val+test"),
        ("trainings", "train+val+test"),
    ],
)
def test_the_folder_says_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, split: str
) -> None:
    path = save(tmp_path / folder / "a.mat")
    assert [t.split for t in read(path)] == [split] * 3
    monkeypatch.chdir(tmp_path / folder)
    assert [t.split for t in read("a.mat")] == [split] * 3


def test_long_and_empty_trials_are_dropped(tmp_path: Path) -> None:
    tx1 = cells([*SENTENCES, np.zeros((0, 0)), np.zeros((0, 4))])
    path = save(tmp_path / "a.mat", tx1=tx1, blockIdx=np.arange(5))
    recording = SpeechReader(n_channels=3, max_bins=2).read(path)
    trials = list(recording.trials)
    assert [t.trial_id for t in trials] == ["000000", "000001"]
    assert recording.strata == ["a/0", "a/1"]
    assert recording.dropped == {"longer than 2 bins": 1, "no bins": 2}
    everything = SpeechReader(n_channels=3, max_bins=None).read(path)
    assert len(list(everything.trials)) == 3
    assert everything.dropped == {"no bins": 2}


def test_512_bins_are_the_longest(tmp_path: Path) -> None:
    tx1 = cells([np.zeros((513, 128)), np.zeros((512, 128))])
    recording = SpeechReader().read(save(tmp_path / "a.mat", tx1=tx1, blockIdx=None))
    assert [t.n_bins for t in recording.trials] == [512]
    assert recording.dropped == {"longer than 512 bins": 1}
    assert recording.strata == []


@pytest.mark.parametrize(
    ("value", "what", "todo"),
    [
        (0.5, "whole numbers", "Give the counts they were made of."),
        (-1, "not be negative", "Is it a mark for missing data? Leave out what is missing."),
        (np.nan, "be finite", "Cut the trial where the recording has gaps, or leave it out."),
    ],
)
def test_counts_must_be_counts(tmp_path: Path, value: float, what: str, todo: str) -> None:
    wrong = np.array(SENTENCES[2], dtype=float)
    wrong[1, 2] = wrong[0, 3] = value  # the last channel is not kept, nor looked at
    message = refused(save(tmp_path / "a.mat", tx1=cells([*SENTENCES[:2], wrong])))
    assert message.startswith("trial '000002', bin 1, unit 2: spike counts must ")
    assert what in message
    assert message.endswith(f"(1 such entries). {todo}")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"tx1": None},
            {},
            "has no array 'tx1'; there are: blockIdx, sentenceText, spikePow, tx2.",
        ),
        (
            {"tx1": np.zeros((3, 4))},
            {},
            "tx1 must be a cell array of one row or column, a cell per trial, got float64 of shape (3, 4).",
        ),
        (
            {"tx1": cells([s[:1] for s in SENTENCES for _ in range(2)]).reshape(2, 3)},
            {},
            "tx1 must be a cell array of one row or column, a cell per trial, got object of shape (2, 3).",
        ),
        (
            {},
            {"n_channels": 5},
            "trial '000000': tx1 must have at least 5 channels, got 4. Set n_channels to 4 or fewer.",
        ),
        (
            {"tx1": cells([*SENTENCES[:2], [[0, 0, 0]]])},
            {},
            "trial '000002': tx1 must have 4 channels as trial '000000' has, got 3.",
        ),
        (
            {"tx1": cells([*SENTENCES[:2], np.zeros((2, 2, 4))])},
            {},
            "trial '000002': tx1 must be (bins, channels), got shape (2, 2, 4).",
        ),
        (
            {"blockIdx": [1, 2]},
            {},
            "blockIdx must be a number per trial (3), got int64 of shape (1, 2).",
        ),
        (
            {"tx1": np.array([["text", "text"]], dtype=object)},
            {},
            "cannot be read as a MATLAB file (a char array stands where a matrix of real numbers must). "
            "Get the file again, or save it in MATLAB with save(file, '-v7').",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    assert refused(save(tmp_path / "a.mat", **change), **options) == message


def test_hdf5_that_is_not_as_matlab_writes_it(tmp_path: Path) -> None:
    assert refused(save_hdf5(tmp_path / "a.mat", tx1=np.zeros((4, 3)))) == (
        "tx1 must be a cell array of one row or column, a cell per trial, got float64 of shape (3, 4)."
    )
    message = refused(save_hdf5(tmp_path / "b.mat", tx1=["text"]))
    assert message.startswith("cannot be read as a MATLAB file (")
    assert message.endswith("or save it in MATLAB with save(file, '-v7').")


def test_h5py_is_asked_for_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = save(tmp_path / "a.mat"), save_hdf5(tmp_path / "b.mat")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert len(read(older)) == 3
    assert refused(newer) == (
        'HDF5 files are read with h5py. Install it with: pip install "ldns_ray[nwb]"'
    )


def test_options_are_checked() -> None:
    wrong: dict[str, tuple[Any, str]] = {
        "bin_ms": (0, "positive and finite, got 0"),
        "array": ("", "a name, got ''"),
        "n_channels": (0, "at least 1, got 0"),
        "max_bins": (0, "at least 1, or None, got 0"),
    }
    for name, (value, message) in wrong.items():
        with pytest.raises(ValueError, match=f"^{name} must be {message}"):
            SpeechReader(**{name: value})
    assert pickle.loads(pickle.dumps(SpeechReader())) == SpeechReader()


def test_the_file_is_closed_before_trials_come(tmp_path: Path) -> None:
    for path in (save(tmp_path / "a.mat"), save_hdf5(tmp_path / "b.mat")):
        trials = SpeechReader(n_channels=3).read(path).trials
        with h5py.File(path, "w"):
            pass  # HDF5 writes no file that is open to read
        assert [t.spikes.tolist() for t in trials] == KEPT


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SpeechReader().read(str(tmp_path / "none.mat"))
    for content in (b"", b"\0" * 600, b"not of MATLAB" * 50):
        (tmp_path / "a.mat").write_bytes(content)
        assert refused(str(tmp_path / "a.mat")) == (
            "cannot be read as a MATLAB file (it does not begin as one). Get the file again, or save it in "
            "MATLAB with save(file, '-v7')."
        )


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("kind", ["compressed", "plain", "hdf5"])
def test_damage_is_a_value_error(tmp_path: Path, kind: str, seed: int) -> None:
    """Cut off, or with bytes changed."""
    if kind == "hdf5":
        path = save_hdf5(tmp_path / "a.mat")
    else:
        path = save(tmp_path / "a.mat", compressed=kind == "compressed")
    rng = np.random.default_rng(seed)
    content = np.fromfile(path, np.uint8)
    if seed % 2:
        content = content[: rng.integers(len(content))]
    else:
        at = rng.integers(len(content), size=4)
        content[at] = rng.integers(256, size=4)
    content.tofile(path)
    try:
        trials = read(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert seed % 2 == 0, "cut off, and not noticed"
        assert {t.spikes.shape[1] for t in trials} == {3}
