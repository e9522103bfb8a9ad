from __future__ import annotations

from pathlib import Path

import pytest

from ldns_ray.data import shards
from ldns_ray.data.verification import check_sizes, verify_dataset
from tests.data.datasets import assert_same, contents, files, named, ragged, write


def damage(shard: Path, kind: str) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if kind == "missing":
        shard.unlink()
    elif kind == "a folder":
        shard.unlink()
        shard.mkdir()
    else:
        shard.write_bytes(content if kind == "changed" else content[:-10])


@pytest.mark.parametrize(
    ("kind", "told"),
    [("changed", "was changed"), ("truncated", r"must be \d+ bytes, got \d+: truncated"),
     ("missing", "is missing"), ("a folder", "is missing")],
)  # fmt: skip
def test_damage_is_named_with_what_to_do(tmp_path: Path, kind: str, told: str) -> None:
    card = write(ragged(), tmp_path, shard_bytes=2000)
    file = card.shards[1]["file"]
    damage(tmp_path / file, kind)
    error = FileNotFoundError if told == "is missing" else ValueError
    with pytest.raises(error, match=f"/{file} {told}.*overwrite=True"):
        verify_dataset(tmp_path)
    # Reading notices too, without the checksum of the whole file.
    with pytest.raises((ValueError, OSError), match=f"/{file} "):
        shards.load_trialset(tmp_path)
    if kind == "changed":
        check_sizes(tmp_path, card.shards)
    else:
        with pytest.raises(error, match=f"/{file} {told}"):
            check_sizes(tmp_path, card.shards)
    if kind != "a folder":
        assert write(ragged(), tmp_path, shard_bytes=2000, overwrite=True) == card
        assert verify_dataset(tmp_path) == card
        assert files(tmp_path) == named(card)


def test_other_damaged_shards_are_counted(tmp_path: Path) -> None:
    card = write(ragged(), tmp_path, shard_bytes=2000)
    for shard, kind in zip(card.shards[1:4], ("missing", "truncated", "missing"), strict=True):
        damage(tmp_path / shard["file"], kind)
    first = card.shards[1]["file"]
    with pytest.raises(FileNotFoundError, match=rf"{first} is missing \(3 shards are wrong\)"):
        verify_dataset(tmp_path)


def test_only_the_splits_asked_for_are_verified(tmp_path: Path) -> None:
    card = write(ragged(), tmp_path, shard_bytes=2000)
    damage(tmp_path / card.shards_of("val")[0]["file"], "changed")
    assert verify_dataset(tmp_path, "train") == card
    for split in (None, "val"):
        with pytest.raises(ValueError, match=r"val-00000-\w+.parquet was changed"):
            verify_dataset(tmp_path, split)
    with pytest.raises(ValueError, match="no split 'test'; there are: train, val"):
        verify_dataset(tmp_path, "test")


def test_verifying_changes_nothing(tmp_path: Path) -> None:
    card = write(ragged(), tmp_path, shard_bytes=2000)
    before = contents(tmp_path)
    assert verify_dataset(tmp_path) == card
    assert contents(tmp_path) == before
    assert_same(shards.load_trials(tmp_path), ragged())
