"""Matrices and cell arrays of MATLAB's files, versions 5 to 7.3.

Versions 5 to 7 are read here and not by `scipy.io.loadmat`, which ends the whole process at some damaged
files. Their format: MathWorks, "MAT-File Format", level 5.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ldns_ray.data.formats.files import hdf5_array, open_hdf5, reading

Buffer = bytes | memoryview

KIND = "a MATLAB file"
REMEDY = "Get the file again, or save it in MATLAB with save(file, '-v7')."

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS = (0, 512)
"""Where a file of version 7.3 has it: after MATLAB's own header, or at once if another program wrote it."""

HEADER_BYTES, TAG_BYTES = 128, 8
NAME_BYTES = 1024
"""A variable's name lies within so many bytes from its start, compressed or not."""
BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # fmt: skip
CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse"} | dict.fromkeys(
    range(6, 16), "real"
)
COMPLEX_FLAG = 0x0800


def load_matlab(path: str, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Those of the named variables that a file has, and the names of what else it has.

    A matrix comes as an array of numbers, a cell array of matrices as an array of such arrays, dtype object,
    both of MATLAB's shape. Nothing else of the file is kept in memory.
    Raises ValueError for a damaged file, or where a variable holds something else; OSError.
    """
    with open(path, "rb") as file:
        start = file.read(HDF5_OFFSETS[-1] + len(HDF5_SIGNATURE))
        if any(start.startswith(HDF5_SIGNATURE, offset) for offset in HDF5_OFFSETS):
            return _load_hdf5(path, names)
        with reading(path, KIND, REMEDY):
            return _load_level_5(file, names)


def _load_hdf5(path: str, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    with open_hdf5(path, KIND, REMEDY) as file:

        def value(dataset: Any) -> np.ndarray:
            if dataset.attrs.get("MATLAB_empty"):  # instead of its values it holds its shape
                return np.empty((0, 0))
            return hdf5_array(dataset).T

        found = {name: value(file[name]) for name in names if name in file}
        for array in found.values():
            if array.dtype == object:  # cells are references to what they hold
                for at, reference in np.ndenumerate(array):
                    array[at] = value(file[reference])
        return found, [name for name in file if name not in found and not name.startswith("#")]


def _load_level_5(file: BinaryIO, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    order = BYTE_ORDERS.get(file.read(HEADER_BYTES)[-2:])
    if order is None:
        raise ValueError("it does not begin as one")
    found: dict[str, np.ndarray] = {}
    others = []
    matrix: Buffer
    while file.tell() < n_bytes:
        kind, size = struct.unpack(f"{order}II", file.read(TAG_BYTES))
        end = file.tell() + size
        if kind not in (MATRIX, COMPRESSED):
            raise ValueError(f"an element of type {kind} is no variable")
        if end > n_bytes:
            raise ValueError(f"it is {end - n_bytes} bytes too short")
        begin = file.read(min(size, NAME_BYTES))
        if kind == COMPRESSED:
            matrix = zlib.decompressobj().decompress(begin, NAME_BYTES)[TAG_BYTES:]
        else:
            matrix = begin
        name = _head(matrix, order).name
        if name in names:
            file.seek(end - size)
            matrix = file.read(size)
            if kind == COMPRESSED:
                ((_, matrix),) = _elements(zlib.decompress(matrix), order)
            found[name] = _value(matrix, order)
        else:
            others.append(name)
        file.seek(end)
    return found, others


def _elements(data: Buffer, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element."""
    at, view = 0, memoryview(data)
    while at < len(view):
        kind, size = struct.unpack_from(f"{order}II", view, at)
        if kind >> 16:  # a content of up to 4 bytes, which is the second half of the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + TAG_BYTES
        else:
            start = at + TAG_BYTES
            end = start + size + -size % 8
        if start + size > min(end, len(view)):
            raise ValueError(f"an element of {size} bytes reaches past its end")
        yield kind, view[start : start + size]
        at = end


class _Head(NamedTuple):
    """What a matrix begins with, and the elements that follow."""

    content: str
    shape: list[int]
    name: str
    values: Iterator[tuple[int, memoryview]]


def _head(matrix: Buffer, order: str) -> _Head:
    elements = _elements(matrix, order)
    first = [content for _, content in islice(elements, 3)]
    if len(first) < 3:
        raise ValueError("a matrix lacks flags, shape or name")
    flags, shape, name = first
    (word,) = struct.unpack_from(f"{order}I", flags)
    content = CLASSES.get(word & 0xFF, "other")
    return _Head(
        content="complex" if content == "real" and word & COMPLEX_FLAG else content,
        shape=np.frombuffer(shape, f"{order}i4").tolist(),
        name=bytes(name).decode("utf-8", "replace"),
        values=elements,
    )


def _value(matrix: Buffer, order: str) -> np.ndarray:
    """A matrix of real numbers, or a cell array of such."""
    head = _head(matrix, order)
    if head.content != "cell":
        return _numbers(matrix, order)
    values = [_numbers(content, order) for _, content in head.values]
    cells = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        cells[i] = value
    return _shaped(cells, head)


def _numbers(matrix: Buffer, order: str) -> np.ndarray:
    if not len(matrix):  # an empty cell
        return np.empty((0, 0))
    head = _head(matrix, order)
    if head.content != "real":
        raise ValueError(f"a {head.content} array stands where a matrix of real numbers must")
    kind, values = next(head.values, (None, b""))
    if kind not in NUMBERS:
        raise ValueError(f"an element of type {kind} holds no numbers")
    return _shaped(np.frombuffer(values, f"{order}{NUMBERS[kind]}"), head)


def _shaped(values: np.ndarray, head: _Head) -> np.ndarray:
    if min(head.shape) < 0:
        raise ValueError(f"an array has the shape {head.shape}")
    return values.reshape(head.shape, order="F")
