"""Recordings are read from their own files alone, wherever these point."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ldns_ray.data.formats.nlb import NlbReader
from ldns_ray.data.formats.nwb import NwbReader
from ldns_ray.data.formats.speech import SpeechReader
from tests.data.formats import nlb_files, nwb_files, test_speech

OTHER = np.arange(10, dtype="<i4")


def link(file: h5py.File, other: str) -> None:
    file.create_group("deep")["x"] = h5py.ExternalLink(other, "counts")


def storage(file: h5py.File, other: str) -> None:
    file.create_dataset("deep/x", (10,), "<i4", external=[(other, 0, OTHER.nbytes)])


def virtual(file: h5py.File, other: str) -> None:
    layout = h5py.VirtualLayout((10,), "<i4")
    layout[:] = h5py.VirtualSource(other, "counts", (10,))
    file.create_virtual_dataset("deep/x", layout)


def nwb(path: Path) -> str:
    trials = {"start_time": [1.0], "stop_time": [2.0]}
    return str(nwb_files.write_nwb(path, spikes=[[0.0, 1.5, 3.0]], trials=trials))


READERS: dict[str, tuple[Callable[[Path], str], Any]] = {
    "nlb": (lambda path: nlb_files.save(path, nlb_files.TENSORS), NlbReader(bin_ms=20)),
    "nwb": (nwb, NwbReader(bin_ms=500)),
    "matlab 7.3": (test_speech.save_hdf5, SpeechReader(n_channels=3)),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("way", [link, storage, virtual])
def test_parts_in_other_files_are_refused(
    tmp_path: Path, kind: str, way: Callable[[h5py.File, str], None]
) -> None:
    other = str(tmp_path / "private.bin")
    if way is storage:
        Path(other).write_bytes(OTHER.tobytes())
    else:
        with h5py.File(other, "w") as file:
            file["counts"] = OTHER
    save, reader = READERS[kind]
    path = save(tmp_path / "day.mat")
    n_trials = len(list(reader.read(path).trials))
    assert n_trials > 0
    with h5py.File(path, "r+") as file:
        way(file, other)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(file["deep/x"], OTHER)  # it would be read
    with pytest.raises(ValueError, match=r"deep/x lies in another file, .*private\.bin") as refusal:
        list(reader.read(path).trials)
    assert str(refusal.value).startswith(os.fspath(path))
    assert "save both in one" in str(refusal.value)


def test_links_within_a_file_are_followed(tmp_path: Path) -> None:
    """Also to a virtual array of the file's own, and to nothing."""
    path = nlb_files.save(tmp_path / "a.h5", nlb_files.TENSORS)
    wanted = [trial.spikes for trial in NlbReader(bin_ms=20).read(path).trials]
    with h5py.File(path, "r+") as file:
        name = next(name for name in file if "heldout" in name)
        file.move(name, f"elsewhere/{name}")
        file[name] = h5py.SoftLink(f"/elsewhere/{name}")
        file["nothing"] = h5py.SoftLink("/nowhere")
        layout = h5py.VirtualLayout((2,), "<i4")
        layout[:] = h5py.VirtualSource(".", "numbers", (2,))
        file["numbers"] = np.arange(2, dtype="<i4")
        file.create_virtual_dataset("same", layout)
    got = [trial.spikes for trial in NlbReader(bin_ms=20).read(path).trials]
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
