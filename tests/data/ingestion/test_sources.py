from __future__ import annotations

from pathlib import Path

import pytest

from ldns_ray import storage
from ldns_ray.data.ingestion.sources import expand, find_sources, labels


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        (["/a/t12.2022.04.28.mat"], ["t12.2022.04.28"]),
        (["/a/x.npz", "/b/y.npz"], ["x", "y"]),
        (["/d/train/x.mat", "/d/test/x.mat", "/d/test/y.mat"], ["train/x", "test/x", "test/y"]),
        (["/d/x.h5", "/d/x.nwb"], ["x.h5", "x.nwb"]),
        (["/x.npz", "/a/x.npz"], ["x", "a/x"]),
        (["s3://one/x.npz", "s3://two/x.npz"], ["one/x", "two/x"]),
        (["/d/2022.04.28/", "/d/2022.04.29/", "/e/x.npz"], ["2022.04.28", "2022.04.29", "x"]),
    ],
)
def test_labels_are_the_shortest_that_tell_apart(places: list[str], wanted: list[str]) -> None:
    assert labels(places) == wanted
    assert labels(places[::-1]) == wanted[::-1]


def test_sources_come_in_the_order_of_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("b.npz", b"12"), ("a.npz", b"123")):
        Path(name).write_bytes(content)
    first, second = find_sources(["b.npz", tmp_path / "a.npz"])
    assert (first.label, first.given, first.n_bytes) == ("a", str(tmp_path / "a.npz"), 3)
    assert (second.label, second.given, second.n_bytes) == ("b", "b.npz", 2)
    assert second.uri == str(tmp_path / "b.npz")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="at least 1 file, got none"):
        find_sources([])
    with pytest.raises(ValueError, match=r"/./a.npz comes twice"):
        find_sources([f"{tmp_path}/./a.npz", tmp_path / "a.npz"])
    with pytest.raises(FileNotFoundError, match=rf"No file {tmp_path}/empty\. Give paths or URIs"):
        find_sources([tmp_path / "a.npz", tmp_path / "empty"])
    missing = [f"{tmp_path}/{i}.npz" for i in range(7)]
    with pytest.raises(FileNotFoundError, match=r"No file .*/0.npz, .*/4.npz and 2 more\."):
        find_sources(missing)


def test_a_folder_may_be_a_source(tmp_path: Path) -> None:
    for name in ("day.1/spikes.npy", "day.1/more/vel.npy", "day.2.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    first, second = find_sources([f"{tmp_path}/day.2.npz", f"{tmp_path}/day.1/"])
    assert (first.label, first.n_bytes, first.uri) == ("day.1", 6, f"{tmp_path}/day.1")
    assert (second.label, second.n_bytes) == ("day.2", 3)


def test_folders_and_patterns_stand_for_their_files(tmp_path: Path) -> None:
    for name in ("a/x.mat", "a/y.txt", "b/c/z.MAT", "day1.nwb", "day2.nwb", "night.nwb", "n/k.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    def found(*given: str, **options: str) -> list[str]:
        files = expand([str(tmp_path / name) for name in given], (".mat",), **options)
        return [str(Path(file).relative_to(tmp_path)) for file in files]

    assert found(".") == ["a/x.mat", "b/c/z.MAT"]
    assert found("b", "a/y.txt", "gone.mat") == ["b/c/z.MAT", "a/y.txt", "gone.mat"]
    assert found("day*.nwb") == ["day1.nwb", "day2.nwb"]
    assert found("*/x.*", "**/z.MAT", "**/day1.nwb") == ["a/x.mat", "b/c/z.MAT", "day1.nwb"]
    assert found("n", folder_of=".npy") == ["n"]
    with pytest.raises(FileNotFoundError, match=r"No .mat files under .*/n\. Give files, or"):
        found("n")
    with pytest.raises(FileNotFoundError, match=r"under .*/gone/\*\.nwb"):
        found("gone/*.nwb")


def test_patterns_reach_object_stores() -> None:
    for name in ("one.npz", "two.npz", "two.txt"):
        storage.write_bytes(f"memory://recordings/days/{name}", b"x")
    wanted = ["memory://recordings/days/one.npz", "memory://recordings/days/two.npz"]
    assert expand(["memory://recordings/days"], (".npz",)) == wanted
    assert expand(["memory://recordings/*/t*.npz"], (".npz",)) == wanted[1:]
