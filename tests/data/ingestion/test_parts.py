from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ldns_ray import storage
from ldns_ray.data import parquet
from ldns_ray.data.ingestion import parts
from ldns_ray.data.ingestion.parts import check_alike, make_part, read_marks, read_trials
from ldns_ray.data.ingestion.sources import Source, find_sources
from ldns_ray.data.recordings import Recording
from ldns_ray.data.schema import Trial
from tests.data.archives import ArchiveReader, archive
from tests.data.datasets import assert_same, ragged


@dataclass(frozen=True)
class Uneven:
    """Reads no file: gives a trial for each (id, session, unit count)."""

    trials: tuple[tuple[str, str, int], ...] = ()
    bin_width_s: float = 0.01

    def read(self, path: str) -> Recording:
        return Recording(
            Trial(np.ones((2, n_units), np.uint8), trial_id, session, "train")
            for trial_id, session, n_units in self.trials
        )


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "parts").mkdir()
    return str(tmp_path / "parts")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return find_sources([archive(tmp_path / "day1.npz")])[0]


def reads(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


@pytest.mark.parametrize("group_bytes", [1, 2000, 10**9])
def test_trials_come_back_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_bytes: int
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", group_bytes)
    trials = [replace(t, split="val+test" if i % 2 else t.split) for i, t in enumerate(ragged())]
    trials[7] = replace(trials[7], spikes=trials[7].spikes.astype(np.uint16) + 300)
    path = tmp_path / "x.parquet"
    groups: list[int] = []
    with path.open("wb") as stream, parquet.GroupWriter(stream, groups.append) as writer:
        for trial in trials:
            writer.add(trial)
        writer.finish()
    assert_same(list(parquet.read_trials(path)), trials)
    assert (writer.sha256, writer.n_bytes) == (storage.digest(path), path.stat().st_size)
    assert sum(groups) == len(trials)
    assert len(groups) == pq.ParquetFile(path).num_row_groups
    assert (len(groups) == len(trials)) == (group_bytes == 1)
    assert (len(groups) == 1) == (group_bytes == 10**9)
    marks = parquet.read_columns(path, ["split", "session"])
    assert marks.column_names == ["split", "session"]
    assert marks["split"].to_pylist() == [trial.split for trial in trials]


def test_memory_is_that_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 4 * 6000)
    alive: weakref.WeakSet[Trial] = weakref.WeakSet()
    most = 0

    def trials() -> Iterator[Trial]:
        for i in range(60):
            trial = Trial(np.ones((60, 100), np.uint8), f"{i:02d}", "s", "train")
            alive.add(trial)
            yield trial

    with (tmp_path / "x").open("wb") as stream, parquet.GroupWriter(stream) as writer:
        for trial in trials():
            writer.add(trial)
            most = max(most, len(alive))
        writer.finish()
    alive.clear()
    assert 3 <= most <= 6
    most = 0
    for trial in parquet.read_trials(tmp_path / "x"):
        alive.add(trial)
        most = max(most, len(alive))
    assert 1 <= most <= 6


def test_a_part_tells_what_it_holds(tmp_path: Path, folder: str) -> None:
    rng = np.random.default_rng(0)
    spikes = rng.poisson(1.0, (5, 6, 4)).astype(np.uint8)
    spikes[2] = 0
    path = archive(
        tmp_path / "day1.npz", spikes=spikes, unit_names=list("abcd"), target=np.ones((5, 2)),
        vel=rng.normal(size=(5, 6, 3)), stratum=np.arange(5), split=["val", *["train+val"] * 4],
    )  # fmt: skip
    source = find_sources([path])[0]
    part, kept = make_part(source, ArchiveReader(min_count=1), folder)
    assert not kept
    assert (part.n_trials, part.n_units, part.unit_names) == (4, 4, ["a", "b", "c", "d"])
    assert (part.covariate_sizes, part.condition_sizes) == ({"vel": 3}, {"target": 2})
    assert (part.covariate_units, part.condition_units) == ({"vel": "m/s"}, {})
    assert (part.strata, part.dropped) == (["0", "1", "3", "4"], {"too quiet": 1})
    assert part.content == storage.digest(path)
    trials = list(read_trials(folder, part))
    assert [(t.trial_id, t.session, t.split) for t in trials] == [
        ("000", "day1", "val"), *((f"{i:03d}", "day1", "train+val") for i in (1, 3, 4)),
    ]  # fmt: skip
    np.testing.assert_array_equal(trials[3].spikes, spikes[4])
    marks = read_marks(folder, part)
    assert marks.column_names == ["session", "split", "condition:target"]


def test_a_part_is_read_once_and_again_when_what_it_follows_from_changes(
    tmp_path: Path, folder: str
) -> None:
    log = tmp_path / "reads"
    path = archive(tmp_path / "day1.npz")
    reader = ArchiveReader(log=str(log))
    source = find_sources([path])[0]
    first, kept = make_part(source, reader, folder)
    assert not kept
    assert make_part(source, reader, folder) == (first, True)
    # Moved elsewhere it is still the same.
    moved = find_sources([path.rename(archive(tmp_path / "away" / "day1.npz"))])[0]
    assert make_part(moved, reader, folder) == (first, True)
    assert len(reads(log)) == 1
    path = archive(tmp_path / "day1.npz")
    for changed, how in (
        (replace(source, label="a/day1"), reader),
        (source, replace(reader, min_count=1)),
        (find_sources([archive(path, seed=1)])[0], reader),
    ):
        part, kept = make_part(changed, how, folder)
        assert not kept
        assert part.file != first.file
    assert len(reads(log)) == 4


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "description", "older"])
def test_a_damaged_part_is_made_again(folder: str, source: Source, damage: str) -> None:
    first, _ = make_part(source, ArchiveReader(), folder)
    file = Path(folder, first.file)
    description = next(Path(folder).glob("*.json"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        file.unlink()
    elif damage == "description":
        description.write_text(description.read_text()[:-9])
    elif damage == "older":
        described = json.loads(description.read_text())
        del described["strata"]
        description.write_text(json.dumps(described))
    else:
        file.write_bytes(content if damage == "changed" else content[:-10])
    again, kept = make_part(source, ArchiveReader(), folder)
    assert not kept
    assert len(list(read_trials(folder, again))) == 10
    assert make_part(source, ArchiveReader(), folder) == (again, True)


def test_a_description_that_leads_out_of_the_folder_is_not_followed(
    folder: str, source: Source
) -> None:
    part, _ = make_part(source, ArchiveReader(), folder)
    (described,) = Path(folder).glob("*.json")
    for place in (f"../{part.file}", str(Path(folder).parent / part.file)):
        Path(folder, part.file).rename(Path(folder, place))
        described.write_text(json.dumps({**json.loads(described.read_text()), "file": place}))
        again, kept = make_part(source, ArchiveReader(), folder)
        assert not kept
        assert "/" not in again.file
        Path(folder, again.file).rename(Path(folder, part.file))


def test_another_version_makes_other_parts(
    folder: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_part(source, ArchiveReader(), folder)
    monkeypatch.setattr(parts, "PART_VERSION", parts.PART_VERSION + 1)
    assert not make_part(source, ArchiveReader(), folder)[1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"trial_id": ["a", "b", "a"]}, "day1.npz: trial 'a' occurs twice"),
        ({"split": ["train", "val", "dev"]}, "day1.npz: trial '002': split must be one of train, val"),
        ({"spikes": np.full((3, 2, 2), 0.5)}, "day1.npz: trial '000', bin 0, unit 0: .*whole numbers"),
        ({"spikes": np.zeros((3, 2, 2))}, r"day1.npz: no trials \(left out: 3 too quiet\)"),
        ({"spikes": np.zeros((0, 2, 2))}, r"day1.npz: no trials \(left out: none\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_file_and_trial(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch, arrays: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    archive(Path("day1.npz"), n_trials=3, **arrays)
    with pytest.raises(ValueError, match=f"^{message}"):
        make_part(find_sources(["day1.npz"])[0], ArchiveReader(min_count=1), folder)
    assert list(Path(folder).iterdir()) == []


def test_what_the_reader_says_names_the_file_as_given(tmp_path: Path, folder: str) -> None:
    uri = "memory://recordings/day1.npz"
    storage.write_bytes(uri, b"not an archive")
    with pytest.raises(ValueError, match=rf"^{uri}: it is not a \.npz file") as caught:
        make_part(find_sources([uri])[0], ArchiveReader(), folder)
    assert "/ldns-" not in str(caught.value)
    storage.write_bytes(uri, archive(tmp_path / "a.npz").read_bytes())
    part, _ = make_part(find_sources([uri])[0], ArchiveReader(), folder)
    assert part.n_trials == 10
    gone = replace(find_sources([uri])[0], uri="memory://recordings/gone.npz")
    with pytest.raises(ValueError, match=rf"^{uri}: No file {uri}"):
        make_part(gone, ArchiveReader(), folder)


@dataclass(frozen=True)
class FolderReader:
    """A folder of archives, one session each."""

    bin_width_s: float = 0.01

    def read(self, path: str) -> Recording:
        files = sorted(Path(path).glob("*.npz"))
        return Recording(
            replace(trial, trial_id=f"{file.stem}-{trial.trial_id}", session=file.stem)
            for file in files
            for trial in ArchiveReader().read(str(file)).trials
        )


def test_a_folder_may_be_one_recording(tmp_path: Path, folder: str) -> None:
    for i in range(2):
        archive(tmp_path / "day" / f"{i}.npz", seed=i)
    source = find_sources([tmp_path / "day"])[0]
    part, _ = make_part(source, FolderReader(), folder)
    assert [t.session for t in read_trials(folder, part)] == ["0"] * 10 + ["1"] * 10
    assert make_part(source, FolderReader(), folder) == (part, True)
    archive(tmp_path / "day" / "2.npz")
    assert make_part(source, FolderReader(), folder)[0].n_trials == 30


def test_units_must_stay_within_a_file(folder: str, source: Source) -> None:
    trials = (("a", "s1", 3), ("b", "s1", 3), ("c", "s1", 2), ("d", "s2", 2))
    within = (
        r"day1.npz: trial 'c': unit count must be 3 as in earlier trials of session 's1', got 2\."
    )
    with pytest.raises(ValueError, match=within):
        make_part(source, Uneven(trials[:3]), folder)
    between = r"day1.npz: trial 'd': unit count must be 3 as in earlier sessions, got 2\. .*a dataset per session"
    with pytest.raises(ValueError, match=between):
        make_part(source, Uneven((*trials[:2], trials[3])), folder)


@dataclass(frozen=True)
class Writing:
    """The file is written to while it is read."""

    bin_width_s: float = 0.01

    def read(self, path: str) -> Recording:
        recording = ArchiveReader().read(path)
        Path(path).write_bytes(b"new")
        return recording


def test_a_file_that_changes_meanwhile_is_refused(folder: str, source: Source) -> None:
    with pytest.raises(ValueError, match=r"day1.npz was changed while it was read"):
        make_part(source, Writing(), folder)
    assert not list(Path(folder).glob("*.json"))


def test_parts_that_do_not_fit_together_are_named(tmp_path: Path, folder: str) -> None:
    def part(name: str, **arrays) -> parts.Part:
        return make_part(
            find_sources([archive(tmp_path / name, **arrays)])[0], ArchiveReader(), folder
        )[0]

    first = part("a.npz")
    check_alike({"a": first, "b": part("b.npz", seed=1)})
    few = part("few.npz", n_units=3)
    with pytest.raises(
        ValueError, match=r"^c has 3 units, a has 4 \(2 of 4 files .*All trials of a"
    ):
        check_alike({"a": first, "b": first, "c": few, "d": few})
    named = part("named.npz", unit_names=list("abcd"))
    other = part("other.npz", unit_names=list("abxd"))
    with pytest.raises(
        ValueError, match=r"^b and a name their 4 units differently \('x' and 'c'\)"
    ):
        check_alike({"a": named, "b": other})
    with pytest.raises(ValueError, match=r"^b and a name .* differently \(4 names and 0 names\)"):
        check_alike({"a": first, "b": named})
    moving = part("moving.npz", vel=np.zeros((10, 6, 2)))
    with pytest.raises(
        ValueError, match=r"^b: covariates and their sizes must be \{\} as in a, got"
    ):
        check_alike({"a": first, "b": moving})
    with pytest.raises(
        ValueError, match=r"^b: units of covariates must be \{'vel': 'm/s'\} as in a"
    ):
        check_alike({"a": moving, "b": replace(moving, covariate_units={"vel": "cm/s"})})
