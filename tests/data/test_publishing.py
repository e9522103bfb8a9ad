"""Whatever happens to a writer, and whoever else writes: the old dataset is there or the new one, whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from ldns_ray import storage
from ldns_ray.data import publishing, shards
from ldns_ray.data.card import Card
from ldns_ray.data.schema import Trial
from tests.data.datasets import (
    assert_same,
    contents,
    files,
    interrupted,
    named,
    ragged,
    wide,
    write,
)

OLD, NEW = ragged(), ragged(seed=1)


def test_same_content_is_left_alone_and_other_content_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    first = write(OLD, folder, shard_bytes=2000)
    before = contents(folder)
    assert write(OLD[::-1], folder) == first
    with pytest.raises(FileExistsError, match="holds another dataset .*overwrite"):
        write(NEW, folder)
    assert contents(folder) == before
    second = write(NEW, folder, overwrite=True)
    assert second.fingerprint != first.fingerprint
    assert shards.verify_dataset(folder) == second
    assert files(folder) == named(second)


@pytest.mark.parametrize("overwrite", [False, True])
def test_interrupted_write_leaves_what_was_there(tmp_path: Path, overwrite: bool) -> None:
    if overwrite:
        write(OLD, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match="power cut"):
        shards.write_dataset(
            interrupted(NEW, 29), tmp_path, name="x", bin_width_s=0.01, shard_bytes=500, overwrite=overwrite
        )  # fmt: skip
    assert contents(tmp_path) == before


def test_failed_overwrite_with_shards_of_the_old_dataset_keeps_them(tmp_path: Path) -> None:
    first = write(OLD, tmp_path, shard_bytes=2000)
    bad = [*OLD, replace(OLD[0], trial_id="z", split="nowhere")]
    with pytest.raises(ValueError, match="trial 'z': split must be one of"):
        write(bad, tmp_path, shard_bytes=2000, overwrite=True)
    assert shards.verify_dataset(tmp_path) == first
    assert files(tmp_path) == named(first)


def test_at_every_moment_of_an_overwrite_one_of_both_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(OLD, tmp_path, shard_bytes=3000)
    seen, rename = [], os.replace

    def look() -> None:
        shards.verify_dataset(tmp_path)
        trials = shards.load_trials(tmp_path)
        seen.append("old" if trials[0].n_bins == OLD[0].n_bins else "new")
        assert_same(trials, OLD if seen[-1] == "old" else wider)

    def observed(source: Path, target: str) -> None:
        look()
        rename(source, target)
        look()

    wider = [*NEW[:-1], wide(NEW[-1])]
    assert OLD[0].n_bins != NEW[0].n_bins
    monkeypatch.setattr(os, "replace", observed)
    card = write(wider, tmp_path, shard_bytes=3000, overwrite=True)
    look()
    assert len(seen) > 2 * len(card.shards)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"old", "new"}
    assert files(tmp_path) == named(card)


KILLED = """
import os, signal, sys
from ldns_ray.data import publishing, shards
from tests.data.datasets import ragged

def trials():
    yield from ragged(seed=1)[:25]
    os.kill(os.getpid(), signal.SIGKILL)

shards.write_dataset(
    trials(), sys.argv[1], name="x", bin_width_s=0.01, shard_bytes=2000, overwrite=True
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_killed_writer_harms_nothing_and_the_next_cleans_up(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path) if place == "local" else request.getfixturevalue("s3")
    old = write(OLD, uri)
    done = subprocess.run([sys.executable, "-c", KILLED, uri], check=False)
    assert done.returncode == -signal.SIGKILL
    assert shards.verify_dataset(uri) == old
    filesystem, folder = storage.filesystem_of(uri)

    def there() -> list[str]:
        selector = pafs.FileSelector(folder)
        return sorted(info.base_name for info in filesystem.get_file_info(selector) if info.is_file)

    assert len(there()) > len(named(old))
    assert write(OLD, uri) == old
    monkeypatch.setattr(publishing, "LEFTOVER_S", -1.0)  # the minute is over
    new = write(ragged(seed=2), uri, overwrite=True)
    assert shards.verify_dataset(uri) == new
    assert there() == named(new)


ENDLESS = """
import sys
from ldns_ray.data import publishing, shards
from tests.data.datasets import ragged, write

while True:
    for seed in (0, 1):
        write(ragged(seed=seed), sys.argv[1], shard_bytes=2000, overwrite=True)
"""


@pytest.mark.slow
def test_writers_killed_at_random_moments(tmp_path: Path) -> None:
    """One dataset over the other, again and again, until the kill."""
    wanted = {write(trials, tmp_path, overwrite=True).fingerprint for trials in (NEW, OLD)}
    card = tmp_path / "dataset.json"
    for i in range(5):
        before = card.stat().st_mtime_ns
        with subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)]) as writer:
            while card.stat().st_mtime_ns == before:
                assert writer.poll() is None
                time.sleep(0.01)
            time.sleep(0.037 * i)
            writer.kill()
        assert shards.verify_dataset(tmp_path).fingerprint in wanted
        assert len(shards.load_trials(tmp_path)) == 30
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    last = write(ragged(seed=2), tmp_path, overwrite=True)
    assert files(tmp_path) == named(last)


def together(folder: Path, *datasets: list[Trial], overwrite: bool) -> list[Card | Exception]:
    """What becomes of writers, one for each dataset, that start at once in one folder."""
    start = threading.Barrier(len(datasets))

    def one(trials: list[Trial]) -> Card | Exception:
        start.wait()
        try:
            return write(trials, folder, shard_bytes=2000, overwrite=overwrite)
        except (ValueError, OSError) as error:
            return error

    with ThreadPoolExecutor(len(datasets)) as threads:
        return list(threads.map(one, datasets))


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_writers_of_the_same_dataset_both_end_well(tmp_path: Path, overwrite: bool) -> None:
    for i in range(8):
        folder = tmp_path / str(i)
        first, second = together(folder, OLD, OLD, overwrite=overwrite)
        assert first == second == shards.verify_dataset(folder)
        assert files(folder) == named(first)


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_writers_of_different_datasets_one_wins_whole(
    tmp_path: Path, overwrite: bool
) -> None:
    for i in range(8):
        folder = tmp_path / str(i)
        ended = together(folder, OLD, NEW, overwrite=overwrite)
        failed = [one for one in ended if isinstance(one, Exception)]
        assert shards.verify_dataset(folder) in ended
        assert len(failed) <= 1  # or they ended in the same instant, and the later one has won
        for error in failed:
            told = "holds another dataset|was written by another process at the same time"
            assert re.search(told, str(error)), error


def test_leftovers_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    mine = ["notes.txt", "train.parquet", "shard-1.parquet", "train-00000-xyz.parquet", "dataset.json.bak",
            "incoming/part-0.parquet", "incoming-0123/part-0.parquet", "train-00003-0123456789abcdef.parquet/x"]  # fmt: skip
    left = ["shard-00007.parquet", "train-00007-0123456789abcdef.parquet", "dataset.json.0a1b2c3d.tmp",
            "val-00000-0123456789abcdef.parquet.0a1b2c3d.tmp"]  # fmt: skip
    for name in (*mine, *left):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    for name in left:
        os.utime(tmp_path / name, (0, 0))
    with pytest.raises(FileNotFoundError):
        shards.read_card(tmp_path)
    card = write(OLD, tmp_path)
    assert files(tmp_path) == sorted({*named(card), *(name.split("/")[0] for name in mine)})
    assert all((tmp_path / name).read_bytes() == b"half" for name in mine)


def test_files_that_another_writer_has_just_made_stay(tmp_path: Path) -> None:
    theirs = ["train-00007-0123456789abcdef.parquet", "val-00000-0123456789abcdef.parquet.0a1b2c3d.tmp"]  # fmt: skip
    write(OLD, tmp_path)
    for name in theirs:
        (tmp_path / name).write_bytes(b"half")
    card = write(NEW, tmp_path, overwrite=True)
    assert files(tmp_path) == sorted([*named(card), *theirs])


def test_a_writer_whose_shards_were_removed_is_told(tmp_path: Path) -> None:
    old = write(OLD, tmp_path)

    def meanwhile() -> Iterator[Trial]:
        yield from NEW[:29]
        (mine,) = {*tmp_path.glob("train-00000-*")} - {tmp_path / name for name in named(old)}
        mine.unlink()
        yield NEW[29]

    with pytest.raises(FileNotFoundError, match="written by another process at the same time"):
        shards.write_dataset(
            meanwhile(), tmp_path, name="x", bin_width_s=0.01, shard_bytes=2000, overwrite=True
        )
    assert shards.verify_dataset(tmp_path) == old
    assert files(tmp_path) == named(old)


def test_a_dataset_that_lacks_a_file_is_made_whole_by_writing_it_again(tmp_path: Path) -> None:
    card = write(OLD, tmp_path)
    (tmp_path / card.shards[0]["file"]).write_bytes(b"half")
    with pytest.raises(FileExistsError, match="holds another dataset"):
        write(NEW, tmp_path)
    assert files(tmp_path) == named(card)
    assert write(OLD, tmp_path) == card == shards.verify_dataset(tmp_path)


@pytest.mark.parametrize("damage", [{"schema_version": 1}, {"n_units": "many"}, None])
def test_a_card_that_cannot_be_read_can_be_overwritten(
    tmp_path: Path, damage: dict[str, object] | None
) -> None:
    write(OLD, tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text("{" if damage is None else json.dumps(json.loads(path.read_text()) | damage))
    for old in tmp_path.iterdir():
        os.utime(old, (0, 0))
    with pytest.raises(ValueError, match="/dataset.json.*overwrite=True"):
        shards.read_card(tmp_path)
    with pytest.raises(ValueError, match="/dataset.json.*overwrite=True"):
        write(OLD, tmp_path)
    card = write(NEW, tmp_path, overwrite=True)
    assert shards.verify_dataset(tmp_path) == card
    assert files(tmp_path) == named(card)
