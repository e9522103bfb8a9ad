from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ldns_ray import storage
from ldns_ray.data import shards
from ldns_ray.data.ingestion.progress import Progress
from ldns_ray.data.ingestion.sources import expand
from tests.data.archives import ArchiveReader, archive, assert_alone, reads, recordings, run


def test_one_file_keeps_its_names(tmp_path: Path) -> None:
    vel = np.random.default_rng(0).normal(size=(20, 6, 2)).astype(np.float32)
    path = archive(tmp_path / "day1.npz", n_trials=20, vel=vel, unit_names=list("abcd"))
    card = run([path], tmp_path / "d", source="here", citation="C", licence="L", seed=3)
    assert shards.verify_dataset(tmp_path / "d") == card
    assert_alone(tmp_path / "d")
    trials = shards.load_trials(tmp_path / "d")
    assert [trial.trial_id for trial in trials] == [f"{i:03d}" for i in range(20)]
    assert {trial.session for trial in trials} == {"day1"}
    np.testing.assert_array_equal(trials[7].spikes, np.load(path)["spikes"][7])
    np.testing.assert_array_equal(trials[7].covariates["vel"], vel[7])
    assert card.covariates == {"vel": {"size": 2, "unit": "m/s"}}
    assert (card.bin_width_s, card.unit_names) == (0.01, ["a", "b", "c", "d"])
    assert (card.source, card.citation, card.licence) == ("here", "C", "L")
    assert {s: counts["n_trials"] for s, counts in card.splits.items()} == {
        "train": 12, "val": 4, "test": 4,
    }  # fmt: skip


def test_the_card_tells_what_it_was_made_of(tmp_path: Path) -> None:
    files = recordings(tmp_path, 2)
    spikes = np.ones((3, 6, 4), np.uint8)
    spikes[0] = 0
    files.append(archive(tmp_path / "a.npz", spikes=spikes))
    card = run(
        files, tmp_path / "d", ArchiveReader(min_count=2), provenance={"animal": "J"}, seed=5
    )
    assert card.provenance["animal"] == "J"
    made = card.provenance["ingest"]
    assert made["reader"]["kind"] == "ArchiveReader"
    assert made["reader"]["options"]["min_count"] == 2
    assert (made["seed"], made["fractions"], made["stratify"]) == (5, [0.6, 0.2, 0.2], "auto")
    assert [file["label"] for file in made["files"]] == ["a", "day00", "day01"]
    assert made["files"][0] == {
        "label": "a", "n_bytes": files[-1].stat().st_size, "sha256": storage.digest(files[-1]),
        "n_trials": 2, "dropped": {"too quiet": 1},
    }  # fmt: skip


def test_several_files_are_one_dataset_in_any_order(tmp_path: Path) -> None:
    files = recordings(tmp_path / "train", 2, session=["s1"] * 5 + ["s2"] * 5)
    files += recordings(tmp_path / "test", 2)
    card = run(files, tmp_path / "d")
    assert shards.verify_dataset(tmp_path / "d").n_trials == 40
    trials = {trial.trial_id: trial for trial in shards.load_trials(tmp_path / "d")}
    assert trials["train/day01/003"].session == "s1"
    assert trials["test/day01/003"].session == "test/day01"
    np.testing.assert_array_equal(trials["train/day01/003"].spikes, np.load(files[1])["spikes"][3])
    sessions = Counter((t.session, t.split) for t in trials.values())
    assert sessions["s1", "train"] == sessions["s2", "train"] == 6
    assert sessions["test/day00", "train"] == sessions["test/day01", "train"] == 6
    assert run(files[::-1], tmp_path / "turned", shard_bytes=100).fingerprint == card.fingerprint
    assert run(files, tmp_path / "seed", seed=1).fingerprint != card.fingerprint
    assert run(files[:3], tmp_path / "fewer").fingerprint != card.fingerprint


def test_files_may_bring_splits_or_leave_them_open(tmp_path: Path) -> None:
    held_out = archive(tmp_path / "held_out.npz", seed=1, split=["test"] * 10)
    targets = np.arange(20)[:, None] % 2
    open_file = archive(tmp_path / "open.npz", n_trials=20, target=targets)
    with pytest.raises(
        ValueError, match=r"open.npz: conditions and their sizes must be \{\} as in"
    ):
        run([held_out, open_file], tmp_path / "d")
    archive(held_out, seed=1, split=["test"] * 10, target=np.zeros((10, 1)))
    run([held_out, open_file], tmp_path / "d", fractions=(0.5, 0.5, 0))
    trials = shards.load_trials(tmp_path / "d")
    splits = Counter((t.session, t.split, t.conditions["target"].item()) for t in trials)
    assert splits == {
        ("held_out", "test", 0.0): 10,
        ("open", "train", 0.0): 5, ("open", "train", 1.0): 5,
        ("open", "val", 0.0): 5, ("open", "val", 1.0): 5,
    }  # fmt: skip


def test_strata_of_the_reader_are_shared_out_evenly(tmp_path: Path) -> None:
    stratum = np.random.default_rng(0).permutation(["easy"] * 20 + ["hard"] * 10)
    files = [
        archive(tmp_path / f"{name}.npz", n_trials=30, seed=i, stratum=stratum)
        for i, name in enumerate("ab")
    ]
    run(files, tmp_path / "d")
    run(files, tmp_path / "none", stratify="none")

    def easy(uri: Path) -> int:
        train = shards.load_trials(uri, "train")
        return sum(stratum[int(t.trial_id.split("/")[1])] == "easy" for t in train)

    assert easy(tmp_path / "d") == 24
    assert easy(tmp_path / "none") != 24


def test_the_same_again_is_no_work(tmp_path: Path) -> None:
    log = tmp_path / "reads"
    reader = ArchiveReader(log=str(log))
    files = recordings(tmp_path, 3)
    card = run(files, tmp_path / "d", reader)
    assert len(reads(log)) == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()}
    storage.write_bytes(
        tmp_path / "d" / "parts" / f"{0:016x}-{0:08x}.parquet", b"left by a killed run"
    )
    assert run(files[::-1], tmp_path / "d", reader, name="y") == card
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()} == before
    assert len(reads(log)) == 3


def test_another_dataset_is_refused_before_it_is_read(tmp_path: Path) -> None:
    log = tmp_path / "reads"
    reader = ArchiveReader(log=str(log))
    files = recordings(tmp_path, 2)
    first = run(files, tmp_path / "d", reader)

    def refused(message: str, *arguments, **options) -> None:
        with pytest.raises(FileExistsError, match=rf"holds another dataset .*{message}\. Choose"):
            run(*arguments, **options)

    refused(r"other seed \(0, now 1\)", files, tmp_path / "d", reader, seed=1)
    refused(
        r"other log \(.*reads, now \), stratify \(auto, now none\)",
        files,
        tmp_path / "d",
        stratify="none",
    )
    refused("other files", files[:1], tmp_path / "d", reader)
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)
    refused("other content of the files", files, tmp_path / "d", reader)
    assert len(reads(log)) == 2
    archive(files[0], seed=9)
    second = run(files, tmp_path / "d", reader, overwrite=True)
    assert second.fingerprint != first.fingerprint
    assert shards.verify_dataset(tmp_path / "d") == second
    shards.write_dataset(
        shards.load_trials(tmp_path / "d"), tmp_path / "e", name="x", bin_width_s=1
    )
    refused("made in another way", files, tmp_path / "e", reader)


def test_all_files_that_cannot_be_read_are_told_at_once(tmp_path: Path) -> None:
    log = tmp_path / "reads"
    reader = ArchiveReader(log=str(log))
    files = recordings(tmp_path, 9)
    for path in files[:7]:
        path.write_bytes(b"no archive")
    archive(files[2], trial_id=["a"] * 10)
    with pytest.raises(ValueError, match="^7 of 9 files cannot be read") as caught:
        run(files, tmp_path / "d", reader)
    lines = str(caught.value).split("\n")
    assert len(lines) == 8
    assert lines[1].startswith(f"{files[0]}: it is not a .npz file")
    assert lines[3].startswith(f"{files[2]}: trial 'a' occurs twice")
    assert lines[6] == "and 2 more."
    assert lines[7].startswith(f"2 of 9 files are kept in {tmp_path}/d/parts: running the same")
    log.unlink()
    recordings(tmp_path, 7)
    card = run(files, tmp_path / "d", reader)
    assert reads(log) == [path.name for path in files[:7]]
    assert card.fingerprint == run(files, tmp_path / "e").fingerprint
    assert_alone(tmp_path / "d")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    files = recordings(tmp_path, 2)
    files[1].write_bytes(b"no archive")
    for name in (f"{1:016x}-{2:08x}.parquet", f"{1:016x}.json.{3:08x}.tmp"):
        storage.write_bytes(tmp_path / "d" / "parts" / name, b"half")
    for _ in range(2):
        with pytest.raises(ValueError, match="1 of 2 files are kept"):
            run(files, tmp_path / "d")
        left = sorted(path.suffix for path in (tmp_path / "d" / "parts").iterdir())
        assert left == [".json", ".parquet"]


def test_recordings_in_a_folder_called_parts_stay(tmp_path: Path) -> None:
    mine = [archive(tmp_path / "parts" / f"day{i}.npz", seed=i) for i in range(2)]
    (tmp_path / "parts" / "more").mkdir()
    before = [path.read_bytes() for path in mine]
    card = run(mine, tmp_path)
    assert run(mine, tmp_path) == card
    assert [path.read_bytes() for path in mine] == before
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "day0.npz", "day1.npz", "more",
    ]  # fmt: skip


def test_where_nothing_was_read_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"^[^\n]*/a.npz: it is not a .npz file[^\n]*$"):
        run([tmp_path / "a.npz"], tmp_path / "d")
    with pytest.raises(ValueError, match=r"^2 of 2 files cannot be read:\n") as caught:
        run([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "d")
    assert "kept" not in str(caught.value)
    assert list((tmp_path / "d").iterdir()) == []


def test_what_shows_only_in_the_whole_keeps_the_parts(tmp_path: Path) -> None:
    log = tmp_path / "reads"
    reader = ArchiveReader(log=str(log))
    files = [archive(tmp_path / f"{i}.npz", n_trials=1, seed=i) for i in range(3)]
    with pytest.raises(ValueError, match=r"split test: too few of the 3 trials"):
        run(files, tmp_path / "d", reader)
    run(files, tmp_path / "d", reader, fractions=(0.7, 0.3, 0))
    assert len(reads(log)) == 3
    files.append(archive(tmp_path / "wide.npz", n_units=5))
    with pytest.raises(
        ValueError, match=rf"^{tmp_path}/wide.npz has 5 units, {tmp_path}/0.npz has 4"
    ):
        run(files, tmp_path / "e")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.5, 0.2, 0.2)}, "fractions must be 3 shares"),
        ({"stratify": "target"}, "stratify must be auto or none, got 'target'"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_refused_before_a_file_is_read(
    tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(recordings(tmp_path, 1), tmp_path / "d", **options)
    assert not (tmp_path / "d").exists()


def test_files_and_dataset_may_be_on_an_object_store(tmp_path: Path) -> None:
    files = recordings(tmp_path, 2)
    for path in files:
        storage.write_bytes(f"memory://in/{path.name}", path.read_bytes())
    card = run([f"memory://in/{path.name}" for path in files], "memory://out/d")
    assert shards.verify_dataset("memory://out/d") == card
    assert not storage.exists("memory://out/d/parts")
    assert card.fingerprint == run(files, tmp_path / "d").fingerprint


def test_progress_goes_from_the_first_file_to_the_last_trial(tmp_path: Path) -> None:
    files = recordings(tmp_path, 4)
    files[3].write_bytes(b"no archive")
    with pytest.raises(ValueError, match="1 of 4 files"):
        run(files, tmp_path / "d")
    archive(files[3], n_trials=5)
    seen: list[Progress] = []
    run(files, tmp_path / "d", on_progress=seen.append)
    read = [p for p in seen if p.stage == "read"]
    assert [(p.done, p.files, p.kept, p.trials) for p in read] == [
        (1, 4, 1, 10), (2, 4, 2, 20), (3, 4, 3, 30), (4, 4, 3, 35),
    ]  # fmt: skip
    assert read[2].seconds_left is None
    assert read[3].seconds_left == 0
    assert read[3].done_bytes == read[3].n_bytes == sum(path.stat().st_size for path in files)
    written = [p for p in seen if p.stage == "write"]
    assert [(p.done, p.trials, p.of_trials) for p in written] == [
        (1, 10, 35), (2, 20, 35), (3, 30, 35), (4, 35, 35),
    ]  # fmt: skip
    assert seen == read + written


def test_progress_in_words() -> None:
    some = Progress("read", 12, 5, 2, 1, 800, None, 12_000_000, 6_000_000, 2_000_000, 50.0, 40.0)
    assert some.mb_per_s == 0.1
    assert some.seconds_left == 50
    assert str(some) == "read 5 of 12 files (2 kept, 1 failed), 800 trials, 0.1 MB/s, 50 s left"
    written = Progress("write", 1, 0, 0, 0, 250, 1000, 10**6, 0, 0, 40.0, 0.0)
    assert str(written) == "written 250 of 1000 trials, 2 min left"
    begun = Progress("read", 12, 1, 1, 0, 80, None, 12, 2, 2, 1.0, 1.0)
    assert str(begun) == "read 1 of 12 files (1 kept), 80 trials"


def test_ray_makes_the_same_dataset(ray_session: None, tmp_path: Path) -> None:
    log = tmp_path / "reads"
    reader = ArchiveReader(log=str(log))
    files = recordings(tmp_path, 5)
    here = run(files, tmp_path / "here", reader)
    bad = files[3].read_bytes(), files[1].read_bytes()
    files[3].write_bytes(b"no archive")
    archive(files[1], trial_id=["a"] * 10)
    log.unlink()
    seen: list[Progress] = []
    with pytest.raises(ValueError, match="^2 of 5 files cannot be read") as caught:
        run(files, tmp_path / "there", reader, parallel=None, on_progress=seen.append)
    assert f"\n{files[1]}: trial 'a' occurs twice" in str(caught.value)
    assert f"\n{files[3]}: it is not a .npz file" in str(caught.value)
    assert sorted(reads(log)) == [path.name for path in files]
    assert [p.done for p in seen] == [1, 2, 3, 4, 5]
    assert (seen[-1].failed, seen[-1].trials) == (2, 30)
    log.unlink()
    for path, content in zip((files[3], files[1]), bad, strict=True):
        path.write_bytes(content)
    connected: list[str] = []
    options = {"parallel": None, "connect": lambda: connected.append("once")}
    there = run(files, tmp_path / "there", reader, **options)
    assert run(files, tmp_path / "there", reader, **options) == there
    assert connected == ["once"]
    assert sorted(reads(log)) == [files[1].name, files[3].name]
    assert there.fingerprint == here.fingerprint
    assert_alone(tmp_path / "there")
    assert shards.verify_dataset(tmp_path / "there").provenance == here.provenance


def test_without_ray_running_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match="Ray is not running. Call ray.init"):
        run(recordings(tmp_path, 2), tmp_path / "d", parallel=None)


@pytest.mark.slow
def test_files_and_dataset_may_be_on_s3(tmp_path: Path, s3: str) -> None:
    files = recordings(tmp_path, 3)
    places = [f"{s3}/in/{path.name}" for path in files]
    for path, place in zip(files, places, strict=True):
        storage.write_bytes(place, path.read_bytes())
    storage.write_bytes(places[1], b"no archive")
    with pytest.raises(ValueError, match=f"^1 of 3 files .*\n{places[1]}: it is not"):
        run(places, f"{s3}/d")
    assert storage.exists(f"{s3}/d/parts")
    storage.write_bytes(places[1], files[1].read_bytes())
    seen: list[Progress] = []
    card = run(places, f"{s3}/d", on_progress=seen.append)
    assert seen[2].kept == 2
    assert shards.verify_dataset(f"{s3}/d") == card
    assert not storage.exists(f"{s3}/d/parts")
    assert card.fingerprint == run(files, tmp_path / "d").fingerprint
    assert run(places[::-1], f"{s3}/d") == card


def test_names_on_s3_may_have_spaces(tmp_path: Path, s3: str) -> None:
    for i in range(2):
        content = archive(tmp_path / f"day {i}.npz", seed=i).read_bytes()
        storage.write_bytes(f"{s3}/rec/day {i}.npz", content)
    files = expand([f"{s3}/rec/*.npz"], [".npz"])
    assert files == [f"{s3}/rec/day {i}.npz" for i in range(2)]
    card = run(files, f"{s3}/d")
    assert (
        card.fingerprint
        == run([tmp_path / "day 0.npz", tmp_path / "day 1.npz"], tmp_path / "d").fingerprint
    )


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, s3: str) -> None:
    with pytest.raises(
        OSError, match=r"^s3://nowhere/d\S* cannot be reached: .*Check that the bucket"
    ):
        run(recordings(tmp_path, 1), "s3://nowhere/d")
