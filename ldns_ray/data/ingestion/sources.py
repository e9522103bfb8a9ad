"""The files of a recording: where they are, and what each is called."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.storage import Uri


@dataclass(frozen=True)
class Source:
    """One file of a recording; or a folder, in formats that make a folder of files one recording.

    uri: the same place for every process. given: as it was asked for, which is how errors call it.
    label: what trial ids and sessions call it. n_bytes: its size.
    """

    uri: str
    given: str
    label: str
    n_bytes: int


def find_sources(files: Sequence[Uri]) -> list[Source]:
    """The files, in the order of their labels, whatever the order given.

    Raises ValueError for none, or for one that comes twice; FileNotFoundError for those that are not there,
    and for empty folders.
    """
    if not files:
        raise ValueError("A recording needs at least 1 file, got none.")
    places, sizes, missing = [], [], []
    for file in files:
        filesystem, path = storage.filesystem_of(file)
        local = isinstance(filesystem, pafs.LocalFileSystem)
        place = path if local else os.fspath(file).partition("?")[0].rstrip("/")
        found: dict[str, pafs.FileInfo] = {}
        with contextlib.suppress(FileNotFoundError):
            found = storage.files_of(file)
        if not found:
            missing.append(os.fspath(file))
        places.append(place if "" in found else f"{place}/")
        sizes.append(sum(info.size for info in found.values()))
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise FileNotFoundError(
            f"No file {', '.join(missing[:5])}{more}. Give paths or URIs of a recording's files."
        )
    times = Counter(places)
    for file, place in zip(files, places, strict=True):
        if times[place] > 1:
            raise ValueError(f"{os.fspath(file)} comes twice among the files; give it once.")
    sources = [
        Source(storage.absolute(file), os.fspath(file), label, n_bytes)
        for file, label, n_bytes in zip(files, labels(places), sizes, strict=True)
    ]
    return sorted(sources, key=lambda source: source.label)


def expand(
    given: Sequence[str], suffixes: Sequence[str], folder_of: str | None = None
) -> list[str]:
    """The files that paths, patterns such as "day*.nwb", and folders stand for, local or on an object store.

    A folder stands for the files in it, however deep, with one of the suffixes; one that holds files with the suffix
    `folder_of` is a recording itself. Raises FileNotFoundError where a folder or pattern has none.
    """
    files = []
    for text in given:
        base, mark, query = text.partition("?") if "://" in text else (text, "", "")
        folder = base
        if "*" in base:
            folder = base[: base.index("*")].rpartition("/")[0] or ("/" if base[0] == "/" else ".")
        filesystem, path = storage.filesystem_of(folder + mark + query)
        if folder == base and filesystem.get_file_info(path).type != pafs.FileType.Directory:
            files.append(text)  # a file, or nothing: that is said where it is opened
            continue
        inside: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            inside = list(storage.files_of(folder + mark + query))
        if "*" in base:
            pattern = base if folder == "." else base.removeprefix(folder).lstrip("/")
            chosen = [name for name in inside if _as_regex(pattern).fullmatch(name)]
        elif folder_of and any("/" not in name and name.endswith(folder_of) for name in inside):
            files.append(text)
            continue
        else:
            chosen = [name for name in inside if name.lower().endswith(tuple(suffixes))]
        if not chosen:
            kinds = " or ".join(suffixes)
            raise FileNotFoundError(
                f"No {kinds} files under {text}. Give files, or a folder or pattern of them."
            )
        files += [storage.join(folder + mark + query, name) for name in chosen]
    return files


def _as_regex(pattern: str) -> re.Pattern[str]:
    """`**/` stands for any folders, `*` for anything within a name."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    known = {"**/": "(?:.*/)?", "*": "[^/]*"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts))


def labels(places: Sequence[str]) -> list[str]:
    """A name for each of some distinct paths: the shortest ends of them, equally deep, that tell all apart.

    They come without suffix, such as "train/t12.2022.04.28" where "test/t12.2022.04.28" is there too, except
    where files differ in nothing else. Paths that end in / are folders: a dot in their names begins no suffix.
    """
    whole = [place.strip("/").split("/") for place in places]
    bare = [
        names if place.endswith("/") else [*names[:-1], PurePosixPath(names[-1]).stem]
        for names, place in zip(whole, places, strict=True)
    ]
    deepest = max(len(names) for names in whole)
    for paths in (bare, whole):
        for depth in range(1, deepest + 1):
            tails = ["/".join(names[-depth:]) for names in paths]
            if len(set(tails)) == len(tails):
                return tails
    raise AssertionError(f"not distinct: {places}")
