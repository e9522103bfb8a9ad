"""Archives of NumPy arrays, of which nothing is ever run."""

import io
import zipfile
from typing import IO

import numpy as np

MEMBER = ".npy"


class UnreadableError(ValueError):
    """An archive, or one array of it, that cannot be read."""

    def __init__(self, reason: str, array: str | None = None) -> None:
        super().__init__(reason)
        self.array = array
        """Its name; None where the archive itself is at fault."""


def member_names(archive: zipfile.ZipFile) -> list[str]:
    """The names of the arrays of an open `.npz` file."""
    return [n.removesuffix(MEMBER) for n in archive.namelist() if n.endswith(MEMBER)]


def read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an open `.npz` file.

    Raises ValueError for Python objects, which are not unpickled; damaged bytes make zipfile and NumPy raise nearly
    anything.
    """
    with archive.open(name + MEMBER) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        # A member's checksum is compared at its end: where the header is damaged, only there.
        if stream.read(1):
            raise ValueError(f"more bytes than an array of shape {array.shape} and {array.dtype}")
    return array


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, from its bytes.

    Raises UnreadableError, a ValueError: for what is no such file, and for arrays that are damaged or hold
    Python objects, which are not unpickled.
    """
    source: IO[bytes] = io.BytesIO(content)
    try:
        archive = zipfile.ZipFile(source)
        others = [name for name in archive.namelist() if not name.endswith(MEMBER)]
    except Exception as error:
        raise UnreadableError(f"it is not a .npz file ({error})") from error
    if others:
        raise UnreadableError(f"{others[0]!r} is no array", others[0])
    arrays = {}
    with archive:
        for name in member_names(archive):
            try:
                arrays[name] = read_member(archive, name)
            except Exception as error:
                reason = f"array {name!r} cannot be read: it is damaged, or holds Python objects ({error})"
                raise UnreadableError(reason, name) from error
    return arrays
