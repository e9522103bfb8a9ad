"""Arrays by name, from a .npz file, a .npy file or a folder of them; nothing is ever unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from ldns_ray.archives import member_names, read_member


class NamedArrays:
    """Arrays that are read when they are asked for, and messages that begin with where they are.

    only: the name of the array where the file is of one array, and no archive.
    """

    def __init__(
        self, path: str, readers: Mapping[str, Callable[[], np.ndarray]], only: str | None = None
    ) -> None:
        self.path = path
        self.only = only
        self._readers = readers

    @property
    def names(self) -> list[str]:
        return list(self._readers)

    @property
    def known(self) -> str:
        return f"there are: {', '.join(self.names) or 'none'}"

    def fail(self, reason: str) -> NoReturn:
        raise ValueError(f"{self.path}: {reason}")

    def get(self, name: str, what: str) -> np.ndarray:
        """The array for `what`; memory-mapped where it is a .npy file. Raises ValueError, OSError."""
        if name not in self._readers:
            self.fail(f"there is no array {name!r} for {what}; {self.known}.")
        try:
            return self._readers[name]()
        except Exception as error:  # damaged bytes make zipfile and numpy raise nearly anything
            raise _explained(
                error,
                f"{self.path}: array {name!r}",
                f"cannot be read: it is damaged, too large, or holds Python objects ({error}). Save it as numbers or "
                "text; trials of unequal lengths end to end, with an array of their lengths.",
            ) from error

    def per_trial(self, name: str, what: str, n_trials: int) -> np.ndarray:
        """An array of one row per trial."""
        array = self.get(name, what)
        if array.ndim == 0 or len(array) != n_trials:
            self.fail(
                f"{what} {name!r} must have one entry per trial ({n_trials}), got shape {array.shape}."
            )
        return array

    def column(self, name: str, what: str, n_trials: int | None = None) -> np.ndarray:
        """An array of one value per trial, given as (S,) or (S, 1); of any length where S is None."""
        array = self.get(name, what)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1 or n_trials not in (None, len(array)):
            wanted = "one axis" if n_trials is None else f"one entry per trial ({n_trials})"
            self.fail(f"{what} {name!r} must have {wanted}, got shape {array.shape}.")
        return array

    def check_numbers(self, array: np.ndarray, name: str, what: str) -> None:
        if array.dtype.kind not in "biuf":
            self.fail(f"{what} {name!r} must be numbers, got an array of {array.dtype}.")


def open_arrays(path: str) -> NamedArrays:
    """The arrays of a .npz file; of a folder of .npy files, by their stems; or of one .npy file.

    Raises FileNotFoundError, and ValueError for what is none of them; every message begins with `path`.
    """
    place = Path(path)
    if place.is_dir():
        files = sorted(f for f in place.glob("*.npy") if not f.name.startswith("."))
        if not files:
            raise ValueError(
                f"{path}: this folder has no .npy files. Save each array with numpy.save."
            )
        return NamedArrays(path, {f.stem: partial(_map_npy, f) for f in files})
    if not place.is_file():
        raise FileNotFoundError(
            f"{path}: No file or folder there. Give a .npz file, a .npy file, or a folder of .npy files."
        )
    if place.suffix == ".npy":
        return NamedArrays(path, {place.stem: partial(_map_npy, place)}, only=place.stem)
    try:
        with zipfile.ZipFile(place) as archive:
            names = member_names(archive)
    except Exception as error:  # as in `get`
        reason = f"is not a .npz file ({error}). Save one with numpy.savez."
        raise _explained(error, f"{path}: it", reason) from error
    return NamedArrays(path, {name: partial(_read_npz_array, place, name) for name in names})


def _explained(error: Exception, what: str, reason: str) -> OSError | ValueError:
    """The error to raise in place of one: of the system's as they are, of others with their reason."""
    if isinstance(error, OSError) and error.strerror:
        return OSError(f"{what} cannot be read: {error.strerror}.")
    return ValueError(f"{what} {reason}")


def _read_npz_array(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        return read_member(archive, name)


def _map_npy(path: Path) -> np.ndarray:
    mapped = np.lib.format.open_memmap(path, mode="r")
    n_bytes = os.path.getsize(path)
    if mapped.offset + mapped.nbytes != n_bytes:
        raise ValueError(
            f"{n_bytes} bytes, where an array of shape {mapped.shape} and {mapped.dtype} "
            f"has {mapped.offset + mapped.nbytes}"
        )
    return np.asarray(mapped)


def as_texts(array: np.ndarray, *, width: int = 0) -> list[str]:
    """One text per entry; whole numbers get leading zeros up to `width`, so that they sort as numbers."""
    if array.dtype.kind in "iu":
        return [f"{x:0{width}d}" for x in array.tolist()]
    if array.dtype.kind == "S":
        return [x.decode(errors="replace") for x in array.tolist()]
    return [str(x) for x in array]
