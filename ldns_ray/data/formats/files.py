"""Files of other people's formats, opened so that what is wrong with one is an error that names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

DEFLATE_RATIO = 1032
"""Bytes that one byte of deflate can stand for, at most."""


@contextmanager
def reading(path: str, kind: str, remedy: str) -> Iterator[None]:
    """Whatever is raised inside becomes a ValueError: `path: cannot be read as KIND (…). REMEDY`."""
    try:
        yield
    # Parsers of a damaged file raise nearly anything: OSError, KeyError, TypeError, MemoryError, zlib.error, …
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as {kind} ({reason}). {remedy}") from error


@contextmanager
def open_hdf5(path: str, kind: str, remedy: str) -> Iterator[Any]:
    """An `h5py.File` to read from; what goes wrong while it is open is told as by `reading`.

    Raises ValueError without h5py, and where parts of it lie in other files; OSError for a file that is missing or
    must not be read.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError(
            f'{path}: HDF5 files are read with h5py. Install it with: pip install "ldns_ray[nwb]"'
        ) from None
    open(path, "rb").close()  # h5py tells of a missing file as of a damaged one
    with reading(path, kind, remedy), h5py.File(path, "r") as file:
        check_self_contained(file)
        yield file


def check_self_contained(file: Any) -> None:
    """Raises ValueError where parts of an `h5py.File` lie in other files.

    They may be any that this user can read, and would end in the dataset; and a recording is known by the checksum of
    the file itself. Nothing of them is opened.
    """
    import h5py

    def linked(name: str, link: Any) -> tuple[str, str] | None:
        return (name, link.filename) if isinstance(link, h5py.ExternalLink) else None

    def stored(name: str, part: Any) -> tuple[str, str] | None:
        if not isinstance(part, h5py.Dataset):
            return None
        others = [other for other, *_ in part.external or ()]
        if part.is_virtual:
            others += [source.file_name for source in part.virtual_sources()]
        return next(
            ((name, other) for other in others if other != "."), None
        )  # ".": the file itself

    found = file.visititems_links(linked) or file.visititems(stored)
    if found is not None:
        raise ValueError(
            f"{found[0]} lies in another file, {found[1]}, and only this one is read: save both in one"
        )


def hdf5_array(dataset: Any) -> np.ndarray:
    """All values of an `h5py.Dataset`. Raises ValueError for one that its file cannot hold.

    A damaged shape would otherwise fill the memory with what was never written.
    """
    file_bytes = dataset.file.id.get_filesize()
    if dataset.nbytes > DEFLATE_RATIO * file_bytes:
        raise ValueError(
            f"{dataset.name} of shape {dataset.shape} does not fit in {file_bytes} bytes"
        )
    return np.asarray(dataset[()])
