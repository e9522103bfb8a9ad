"""Damaged recordings of every format: a clear error and no dataset, or a dataset that is whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.nlb import NlbReader
from ldns_ray.data.formats.nwb import mc_maze
from ldns_ray.data.formats.speech import SpeechReader
from ldns_ray.data.ingestion.ingest import ingest
from ldns_ray.data.recordings import Reader
from ldns_ray.data.shards import verify_dataset
from tests.data.formats.nwb_files import write_mc_maze

N_DAMAGES = 50
"""Of each of four formats."""


def write_npz(path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez_compressed(path, spikes=rng.poisson(0.3, (12, 4, 20)), target=np.arange(12) % 3)


def write_h5(path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, n in (("train", 10), ("eval", 4)):
            for units in ("heldin", "heldout"):
                counts = rng.poisson(0.3, (n, 20, 3)).astype("f4")
                file.create_dataset(f"{name}_spikes_{units}", data=counts, compression="gzip")


def write_mat(path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = np.empty((1, 12), dtype=object)
    cells[0, :] = [rng.poisson(0.3, (n, 4)).astype(float) for n in rng.integers(2, 9, 12)]
    scipy.io.savemat(path, {"tx1": cells}, do_compression=True)


FORMATS: dict[str, tuple[Any, Reader]] = {
    "npz": (write_npz, ArrayReader(bin_ms=5, stratify="target")),
    "nwb": (write_mc_maze, mc_maze()),
    "h5": (write_h5, NlbReader(bin_ms=5)),
    "mat": (write_mat, SpeechReader(n_channels=3)),
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.integers(4)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        at = int(rng.integers(len(content)))
        return content[:at] + rng.bytes(16) + content[at + 16 :]
    changed = bytearray(content)
    for at in rng.integers(len(content), size=1 if kind == 2 else 8):
        changed[at] ^= 1 << rng.integers(8)
    return bytes(changed)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_recording_is_told_or_makes_a_whole_dataset(tmp_path: Path, kind: str) -> None:
    write, reader = FORMATS[kind]
    path, out = tmp_path / f"a.{kind}", tmp_path / "out"
    write(path)
    content = path.read_bytes()
    fractions = (0.4, 0.3, 0.3)
    whole = ingest([path], reader, tmp_path / "whole", name="x", fractions=fractions)
    rng = np.random.default_rng(0)
    ends: Counter[str] = Counter()
    for _ in range(N_DAMAGES):
        path.write_bytes(damaged(content, rng))
        try:
            card = ingest([path], reader, out, name="x", fractions=fractions, overwrite=True)
        except (ValueError, OSError) as error:
            ends["told" if path.name in str(error) else f"{error} names no file"] += 1
        else:
            assert verify_dataset(out) == card
            ends["same" if card.fingerprint == whole.fingerprint else "other"] += 1
            (out / "dataset.json").unlink()
        assert not (out / "dataset.json").exists()
        assert {p.name for p in tmp_path.iterdir()} <= {path.name, "out", "whole"}
    assert set(ends) <= {"told", "same", "other"}
    assert ends["told"] > N_DAMAGES / 4
    if kind in ("npz", "mat"):  # these carry checksums of their content
        assert ends["other"] == 0
