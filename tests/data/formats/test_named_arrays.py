"""Files of arrays: their three kinds, what is mapped instead of loaded, and what damage does to them."""

from __future__ import annotations

import io
import mmap
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.named_arrays import as_texts, open_arrays
from ldns_ray.data.formats.specs import ValueSpec
from ldns_ray.data.schema import Trial, TrialChecker
from ldns_ray.data.splits import CHOICES

SPIKES = np.random.default_rng(0).poisson(0.5, (6, 3, 20)).astype(np.uint8)
TARGET = np.arange(6)
READER = ArrayReader(bin_ms=5, conditions=(ValueSpec("target", "target"),), session="day 1")


def folder(path: Path, **arrays: Any) -> Path:
    path.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def checked(reader: ArrayReader, path: Path) -> list[Trial]:
    checker = TrialChecker(CHOICES)
    return [checker.check(trial, f"{path}: ") for trial in reader.read(str(path)).trials]


def content(trials: list[Trial]) -> list[Any]:
    return [(t.trial_id, t.spikes.tolist(), t.conditions["target"].tolist()) for t in trials]


RIGHT = [
    (f"{i:06d}", x.reshape(3, 4, 5).sum(axis=-1).T.tolist(), [i]) for i, x in enumerate(SPIKES)
]


# -- Kinds of files


def test_archives_and_folders_give_the_same_trials(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", spikes=SPIKES, target=TARGET)
    np.savez_compressed(tmp_path / "b.npz", spikes=SPIKES, target=TARGET)
    folder(tmp_path / "c", spikes=SPIKES, target=TARGET)
    for name in ("a.npz", "b.npz", "c"):
        assert content(checked(READER, tmp_path / name)) == RIGHT


def test_a_single_npy_file_is_the_spikes_whatever_its_name(tmp_path: Path) -> None:
    np.save(tmp_path / "monkey.npy", SPIKES)
    path = tmp_path / "monkey.npy"
    reader = ArrayReader(bin_ms=5, session="day 1")
    assert [t.spikes.tolist() for t in checked(reader, path)] == [spikes for _, spikes, _ in RIGHT]
    named = ArrayReader(bin_ms=5, spikes="monkey", session="day 1")
    assert len(checked(named, path)) == 6
    with pytest.raises(
        ValueError, match=r"monkey.npy: there is no array 'x' for spikes; there are: monkey\."
    ):
        ArrayReader(bin_ms=5, spikes="x").read(str(path))  # fmt: skip
    # In a folder the array has its name, as in an archive.
    with pytest.raises(ValueError, match="no array 'spikes' for spikes; there are: monkey"):
        ArrayReader(bin_ms=5).read(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda x: x.astype(">i4"),
        lambda x: x.astype(">f8"),
        lambda x: np.asfortranarray(x.astype("<u8")),
        lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    ],
)
@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_any_order_of_bytes_and_axes_in_memory_is_read(
    tmp_path: Path, kind: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    arrays = {"spikes": change(SPIKES), "target": TARGET.astype(">i2")}
    path = tmp_path / "a.npz"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        path = folder(tmp_path / "a", **arrays)
    assert content(checked(READER, path)) == RIGHT


def test_only_arrays_that_are_asked_for_are_read(tmp_path: Path) -> None:
    unreadable = np.array([{}], dtype=object)
    np.savez(tmp_path / "a.npz", spikes=SPIKES, target=TARGET, notes=unreadable)
    assert content(checked(READER, tmp_path / "a.npz")) == RIGHT
    path = folder(tmp_path / "a", spikes=SPIKES, target=TARGET, notes=unreadable)
    (path / "README.txt").write_text("of the recording")
    (path / "._spikes.npy").write_bytes(b"left by a file manager")
    assert open_arrays(str(path)).names == ["notes", "spikes", "target"]
    assert content(checked(READER, path)) == RIGHT


# -- Memory


def test_npy_files_are_mapped_and_archives_are_not(tmp_path: Path) -> None:
    def mapped(array: Any) -> bool:
        while isinstance(array, np.ndarray):
            array = array.base
        return isinstance(array, mmap.mmap)

    np.savez(tmp_path / "a.npz", spikes=SPIKES)
    path = folder(tmp_path / "a", spikes=SPIKES)
    assert mapped(open_arrays(str(path)).get("spikes", "spikes"))
    assert mapped(open_arrays(str(path / "spikes.npy")).get("spikes", "spikes"))
    assert not mapped(open_arrays(str(tmp_path / "a.npz")).get("spikes", "spikes"))


@pytest.mark.parametrize("bin_ms", [1, 5])
def test_a_folder_is_read_trial_by_trial(tmp_path: Path, bin_ms: int) -> None:
    spikes = np.zeros((40_000, 100), np.uint8)
    spikes[::7] = 1
    path = folder(tmp_path / "long", spikes=spikes, vel=np.zeros((40_000, 2), np.float32))
    np.savez(tmp_path / "long.npz", spikes=spikes, vel=np.zeros((40_000, 2), np.float32))
    reader = ArrayReader(
        bin_ms=bin_ms, axes=("time", "unit"), window_samples=100, covariates=(ValueSpec("v", "vel"),)
    )  # fmt: skip

    def read(path: Path) -> tuple[int, int]:
        tracemalloc.start()
        total = sum(int(trial.spikes.sum()) for trial in reader.read(str(path)).trials)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return total, peak

    mapped, loaded = read(path), read(tmp_path / "long.npz")
    assert mapped[0] == loaded[0] == int(spikes.sum())
    assert mapped[1] < spikes.nbytes / 4 < spikes.nbytes < loaded[1]


def test_a_trial_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", spikes=SPIKES)
    trial = next(ArrayReader(bin_ms=1).read(str(path)).trials)
    before = trial.spikes.copy()
    np.lib.format.open_memmap(path / "spikes.npy", mode="r+")[:] = 9
    np.testing.assert_array_equal(trial.spikes, before)


# -- Foreign files


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    def refused(name: str, kind: type[Exception], message: str) -> None:
        path = str(tmp_path / name)
        with pytest.raises(kind, match=message) as error:
            READER.read(path)
        assert str(error.value).startswith(f"{path}: ")

    refused("none.npz", FileNotFoundError, "No file or folder there. Give a .npz file, a .npy file")
    (tmp_path / "text.npz").write_text("not an archive")
    refused("text.npz", ValueError, "it is not a .npz file .*Save one with numpy.savez")
    (tmp_path / "text.npy").write_text("not an array")
    refused("text.npy", ValueError, "array 'text' cannot be read: it is damaged")
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(SPIKES))
    refused("pickle.npy", ValueError, "array 'pickle' cannot be read")
    (tmp_path / "empty").mkdir()
    refused("empty", ValueError, "this folder has no .npy files. Save each array with numpy.save")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("spikes.txt", "1 2 3")
        archive.writestr("spikes.npy", "1 2 3")
    refused("other.npz", ValueError, "array 'spikes' cannot be read: it is damaged")
    with zipfile.ZipFile(tmp_path / "bare.npz", "w") as archive:
        archive.writestr("spikes.txt", "1 2 3")
    (tmp_path / "nested" / "spikes.npy").mkdir(parents=True)
    refused("nested", OSError, "array 'spikes' cannot be read: Is a directory.")
    refused("bare.npz", ValueError, "no array 'spikes' for spikes; there are: none")


class Trap:
    """Unpickling it would leave a mark."""

    path = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_python_objects_are_refused_and_not_unpickled(tmp_path: Path, kind: str) -> None:
    trap = Trap()
    trap.path = str(tmp_path / "mark")
    arrays = {"spikes": np.array([trap, SPIKES[0]], dtype=object)}
    if kind == "npz":
        np.savez(tmp_path / "a.npz", **arrays)
        path = tmp_path / "a.npz"
    else:
        path = folder(tmp_path / "a", **arrays)
    with pytest.raises(ValueError, match=rf"^{path}: array 'spikes' cannot be read.* holds Python objects .*"
                       "unequal lengths end to end, with an array of their lengths"):  # fmt: skip
        ArrayReader(bin_ms=5).read(str(path))
    assert not Path(trap.path).exists()
    # The trap is one: numpy's own reader, when it is let, falls into it.
    array = np.load(path if kind == "npz" else path / "spikes.npy", allow_pickle=True)
    assert len(array["spikes"] if kind == "npz" else array) == 2
    assert Path(trap.path).exists()


def test_names_with_paths_are_names(tmp_path: Path) -> None:
    np.save(tmp_path / "outside.npy", SPIKES)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "outside.npy", "../../x.npy")
    before = sorted(tmp_path.rglob("*"))
    reader = ArrayReader(bin_ms=5, spikes="../../x", session="day 1")
    assert [t.spikes.tolist() for t in checked(reader, tmp_path / "a.npz")] == [x[1] for x in RIGHT]
    assert sorted(tmp_path.rglob("*")) == before
    inside = folder(tmp_path / "inside", target=TARGET)
    for name in ("../outside", str(tmp_path / "outside")):
        with pytest.raises(
            ValueError, match=r"there is no array '.*outside' for spikes; there are: target"
        ):
            ArrayReader(bin_ms=5, spikes=name).read(str(inside))  # fmt: skip


# -- Damage


def damaged(original: bytes, seed: int, n_flips: int, n_cuts: int, within: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, within, n_flips):
        changed = bytearray(original)
        changed[place] ^= int(rng.integers(1, 256))
        yield bytes(changed)
    for length in rng.integers(0, len(original), n_cuts):
        yield original[:length]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.filterwarnings("ignore::UserWarning")  # numpy takes some headers for very old ones
def test_damaged_archives_are_refused_or_right(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "a.npz"
    save(path, spikes=SPIKES, target=TARGET)
    original = path.read_bytes()
    refusals = []
    for changed in damaged(original, 1, n_flips=150, n_cuts=30, within=len(original)):
        path.write_bytes(changed)
        try:
            assert content(checked(READER, path)) == RIGHT
        except (ValueError, OSError) as error:
            refusals.append(str(error))
    assert len(refusals) >= 90
    assert all(refusal.startswith(f"{path}: ") for refusal in refusals)


def test_archives_with_a_smaller_shape_in_an_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, spikes=SPIKES, target=TARGET)
    original = path.read_bytes()
    changed = original.replace(b"'shape': (6, 3, 20)", b"'shape': (4, 3, 20)")
    assert changed != original
    path.write_bytes(changed)
    with pytest.raises(ValueError, match="array 'spikes' cannot be read: it is damaged"):
        READER.read(str(path))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_npy_files_are_refused_or_valid(tmp_path: Path) -> None:
    """They carry no checksum: a changed count is a count. What the header says of the size is compared with it."""
    path = folder(tmp_path / "a", spikes=SPIKES, target=TARGET)
    file = path / "spikes.npy"
    original = file.read_bytes()
    reader = ArrayReader(bin_ms=5, session="day 1")
    refusals = []
    for changed in damaged(original, 2, n_flips=120, n_cuts=0, within=128):
        file.write_bytes(changed)
        try:
            trials = checked(reader, path)
            assert sum(trial.spikes.size for trial in trials) * 5 == SPIKES.size
        except (ValueError, OSError) as error:
            refusals.append(str(error))
    assert len(refusals) >= 60
    assert all(refusal.startswith(f"{path}: ") for refusal in refusals)
    for changed in [*damaged(original, 3, n_flips=0, n_cuts=30, within=128), original + b"\0"]:
        file.write_bytes(changed)
        with pytest.raises(
            ValueError, match=rf"^{path}: array 'spikes' cannot be read: it is damaged"
        ):
            reader.read(str(path))  # fmt: skip


def test_a_shape_beyond_memory_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**16, 1, 1)}
    )
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("spikes.npy", header.getvalue())
    with pytest.raises(ValueError, match=rf"^{path}: array 'spikes' cannot be read: .* too large"):
        READER.read(str(path))


# -- Labels


def test_labels_are_texts_that_sort_as_they_count() -> None:
    assert as_texts(np.array([3, 20]), width=6) == ["000003", "000020"]
    assert as_texts(np.array([3, 20], ">u2")) == ["3", "20"]
    assert as_texts(np.array(["a", "b"])) == ["a", "b"]
    assert as_texts(np.array([b"a", "ü".encode()])) == ["a", "ü"]
    assert as_texts(np.array([0.5, np.nan])) == ["0.5", "nan"]
