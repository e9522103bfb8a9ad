"""Archives of NumPy arrays, of which nothing is ever run."""

import io
import zipfile
import zlib

import numpy as np


class UnreadableError(ValueError):
    """An archive, or one array of it, that cannot be read."""

    def __init__(self, reason: str, array: str | None = None) -> None:
        super().__init__(reason)
        self.array = array
        """Its name; None where the archive itself is at fault."""


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, from its bytes.

    Raises UnreadableError, a ValueError: for what is no such file, and for arrays that are damaged or hold
    Python objects, which are not unpickled.
    """
    try:
        file = np.load(io.BytesIO(content), allow_pickle=False)
        names = list(file.files)
    except (ValueError, OSError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableError(f"it is not a .npz file ({error})") from error
    arrays = {}
    for name in names:
        try:
            array = file[name]
            if not isinstance(array, np.ndarray):  # the archive may hold any file
                raise ValueError("no array")
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            reason = (
                f"array {name!r} cannot be read: it is damaged, or holds Python objects ({error})"
            )
            raise UnreadableError(reason, name) from error
        arrays[name] = array
    return arrays
