from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from ldns_ray import storage


def test_a_local_file_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"here")
    with storage.local_copy(tmp_path / "a.bin") as path:
        assert path == str(tmp_path / "a.bin")
    with storage.local_copy((tmp_path / "a.bin").as_uri()) as path:
        assert path == str(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"here"


def test_a_remote_file_is_copied_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = os.urandom(5 * 2**20)
    storage.write_bytes("memory://bucket/train/../a.bin", content)
    with storage.local_copy("memory://bucket/train/../a.bin") as path:
        assert Path(path).read_bytes() == content
        assert path.startswith(f"{tmp_path}/ldns-")
        assert path.endswith("/bucket/train/a.bin")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), storage.local_copy("memory://bucket/none.bin"):
        pass


@pytest.mark.parametrize("root", ["{folder}", "memory://folders"])
def test_folders_are_copied_and_digested_as_files_are(tmp_path: Path, root: str) -> None:
    root = root.format(folder=tmp_path)
    content = os.urandom(5 * 2**20)
    for name in ("b", "a/c", "a.d"):
        storage.write_bytes(f"{root}/one/{name}", content if name == "b" else name.encode())
    assert list(storage.files_of(f"{root}/one")) == ["a.d", "a/c", "b"]
    assert list(storage.files_of(f"{root}/one/b")) == [""]
    assert storage.digest(f"{root}/one/b") == hashlib.sha256(content).hexdigest()
    with storage.local_copy(f"{root}/one") as path:
        assert Path(path, "b").read_bytes() == content
        assert Path(path, "a", "c").read_text() == "a/c"
        assert storage.digest(path) == storage.digest(f"{root}/one")
        for i, (name, text) in enumerate((("b", b"x"), ("e", content), ("a/c", b"a/b"))):
            other = f"{tmp_path}/other{i}"
            shutil.copytree(path, other)
            Path(other, name).write_bytes(text)
            assert storage.digest(other) != storage.digest(path)
    for call in (storage.digest, storage.files_of):
        with pytest.raises(FileNotFoundError, match=f"No file {root}/none"):
            call(f"{root}/none")


def test_folders_are_removed_whole(tmp_path: Path) -> None:
    for root in (str(tmp_path), "memory://removal"):
        storage.write_bytes(f"{root}/d/e/f", b"x")
        storage.write_bytes(f"{root}/g", b"x")
        storage.remove_folder(f"{root}/d")
        assert not storage.exists(f"{root}/d")
        storage.remove_folder(f"{root}/d")
        assert storage.exists(f"{root}/g")


def test_absolute_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert storage.absolute("a/../b") == f"{tmp_path}/b"
    assert storage.absolute("~/b") == "/home/someone/b"
    assert storage.absolute("s3://a/b") == "s3://a/b"


def test_new_folders_are_where_they_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    for asked, made in (("a/b/", "a/b"), ("/", "/"), (".", "."), ("memory://c/", "memory://c")):
        assert storage.new_folder(asked) == made
    for nothing in ("", " "):
        with pytest.raises(ValueError, match="must have a path or URI"):
            storage.new_folder(nothing)
    with pytest.raises(FileExistsError, match=r"^file is a file, not a folder\. Choose"):
        storage.new_folder("file/")


def test_names_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for uri, name in (
        ("a/b", "b"), (".", "here"), ("what?", "what?"), ("/", "data"), ("s3://a/b/?x=y/z", "b"),
    ):  # fmt: skip
        assert storage.name_of(uri) == name
