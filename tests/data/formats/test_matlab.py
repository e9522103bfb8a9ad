"""Against scipy, with its own collection of files that MATLAB 5.3 to 8 wrote, and what savemat writes."""

import re
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from ldns_ray.data.formats.matlab import load_matlab

COLLECTION = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
NUMBERS = [
    "big_endian", "little_endian", "miuint32_for_miint32", "test3dmatrix_6.1_SOL2", "test3dmatrix_7.4_GLNX86",
    "testbool_8_WIN64", "testdouble_6.1_SOL2", "testdouble_6.5.1_GLNX86", "testdouble_7.1_GLNX86",
    "testmatrix_6.1_SOL2", "testmatrix_7.4_GLNX86", "testminus_7.4_GLNX86", "testmulti_7.4_GLNX86",
]  # fmt: skip
CELLS = ["testemptycell_5.3_SOL2", "testemptycell_7.4_GLNX86", "testscalarcell_7.4_GLNX86"]
OTHERS = {
    "testcell_7.4_GLNX86": "char", "testcellnest_7.4_GLNX86": "cell", "testcomplex_7.4_GLNX86": "complex",
    "testfunc_7.4_GLNX86": "other", "testobject_7.4_GLNX86": "object", "testsparse_7.4_GLNX86": "sparse",
    "testsparsecomplex_7.4_GLNX86": "sparse", "teststring_7.4_GLNX86": "char", "teststruct_6.5.1_GLNX86": "struct",
}  # fmt: skip


def cells(arrays: list[Any]) -> np.ndarray:
    row = np.empty((1, len(arrays)), dtype=object)
    for i, array in enumerate(arrays):
        row[0, i] = array
    return row


def collected(name: str) -> str:
    path = COLLECTION / f"{name}.mat"
    if not path.exists():
        pytest.skip("this scipy came without its collection of MATLAB's files")
    return str(path)


def assert_same(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    if wanted.dtype == object:
        for a, b in zip(got.flat, wanted.flat, strict=True):
            assert_same(a, b)
    else:
        assert got.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", [*NUMBERS, *CELLS])
def test_files_of_matlab(name: str) -> None:
    path = collected(name)
    content = scipy.io.loadmat(path)
    wanted = {k: x for k, x in content.items() if k[0] != "_" and x.dtype.kind in "iufO"}
    wanted.pop("strings", None)  # of big_endian and little_endian
    got, others = load_matlab(path, list(wanted))
    assert got.keys() == wanted.keys() != set()
    for variable, array in wanted.items():
        assert_same(got[variable], array)
    assert set(others) == {"strings"} & content.keys()


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_numbers_is_named(name: str) -> None:
    path = collected(name)
    variable = name.split("_")[0]
    assert load_matlab(path, ["another"]) == ({}, [variable])
    with pytest.raises(ValueError, match=f"a {OTHERS[name]} array stands where a matrix of real"):
        load_matlab(path, [variable])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("corrupted_zlib_checksum", "incorrect data check"),
        ("malformed1", "it is 656768 bytes too short"),
        ("testdouble_4.2c_SOL2", "it does not begin as one"),
    ],
)
def test_damaged_and_older_files(name: str, reason: str) -> None:
    path = collected(name)
    with pytest.raises(ValueError, match=reason) as error:
        load_matlab(path, ["testdouble", "a", "dates", "dscodes", "datagrid"])
    assert str(error.value).startswith(f"{path}: cannot be read as a MATLAB file (")
    assert str(error.value).endswith(
        "Get the file again, or save it in MATLAB with save(file, '-v7')."
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_files_of_savemat(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    kinds = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
    content: dict[str, Any] = {k: (90 * rng.random((3, 5))).astype(k) for k in kinds}
    content |= {"deep": rng.random((2, 3, 4)), "text": "x", "a" * 31: np.zeros((1, 0)), "x": 3}
    content["c"] = cells([np.arange(6).reshape(3, 2), np.ones((3, 2)), np.zeros((0, 0))])
    path = str(tmp_path / "a.mat")
    scipy.io.savemat(path, content, do_compression=compressed)
    wanted = scipy.io.loadmat(path)
    got, others = load_matlab(path, [name for name in content if name != "text"])
    assert others == ["text"]
    for name in content.keys() - {"text"}:
        assert_same(got[name], wanted[name])


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(content_class: int, shape: tuple[int, ...], *values: bytes) -> bytes:
    """An element with the name "x", which is short enough to lie in its tag."""
    flags = element(6, struct.pack("<II", content_class, 0))
    dimensions = element(5, np.array(shape, "<i4").tobytes())
    return element(14, flags + dimensions + struct.pack("<HH4s", 1, 1, b"x") + b"".join(values))


def doubles(*values: float) -> bytes:
    return element(9, np.array(values, "<f8").tobytes())


def load_written(path: Path, *variables: bytes) -> np.ndarray:
    path.write_bytes(b" " * 124 + b"\x00\x01IM" + b"".join(variables))
    return load_matlab(str(path), ["x"])[0]["x"]


CELL, DOUBLE = 1, 6


def test_elements(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    square = matrix(DOUBLE, (2, 2), doubles(1, 2, 3, 4))
    np.testing.assert_array_equal(load_written(path, square), [[1, 3], [2, 4]])
    in_tag = struct.pack("<HH4s", 2, 3, b"\5\6\7")  # three bytes of type 2, in their tag
    np.testing.assert_array_equal(load_written(path, matrix(DOUBLE, (1, 3), in_tag)), [[5, 6, 7]])
    got = load_written(path, matrix(CELL, (1, 2), square, element(14, b"")))
    assert_same(got, cells([np.array([[1.0, 3], [2, 4]]), np.empty((0, 0))]))


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        (matrix(DOUBLE, (-1, 2), doubles(1, 2, 3, 4)), "an array has the shape [-1, 2]"),
        (matrix(DOUBLE, (3, 2), doubles(1, 2, 3, 4)), "cannot reshape array of size 4 into shape (3,2)"),
        (matrix(CELL, (1, 2), matrix(DOUBLE, (1, 1), doubles(1))), "cannot reshape array of size 1 into shape (1,2)"),
        (matrix(DOUBLE, (1, 1), element(14, b"12345678")), "an element of type 14 holds no numbers"),
        (matrix(DOUBLE, (1, 1)), "an element of type None holds no numbers"),
        (matrix(DOUBLE, (1, 5), struct.pack("<HH4s", 2, 5, b"1234"), doubles(1)), "an element of 5 bytes reaches past its end"),
        (matrix(DOUBLE, (1, 1), struct.pack("<II", 9, 8)), "an element of 8 bytes reaches past its end"),
        (element(14, element(6, bytes(8))), "a matrix lacks flags, shape or name"),
        (element(9, bytes(8)), "an element of type 9 is no variable"),
    ],
)  # fmt: skip
def test_damaged_elements(tmp_path: Path, variable: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"a.mat: cannot be read as a MATLAB file ({reason}).")):  # fmt: skip
        load_written(tmp_path / "a.mat", variable)


def test_hdf5_of_matlab() -> None:
    path = collected("testhdf5_7.4_GLNX86")
    got, others = load_matlab(path, ["testdouble"])
    np.testing.assert_allclose(got["testdouble"], np.arange(0, 2.1 * np.pi, np.pi / 4)[None])
    assert others == []
    assert load_matlab(path, ["another"]) == ({}, ["testdouble"])


def test_cells_in_hdf5(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mat")
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = np.empty((3, 1), dtype=object)
        refs[0, 0] = file.create_dataset("#refs#/a", data=np.arange(6.0).reshape(2, 3)).ref
        refs[1, 0] = file.create_dataset("#refs#/b", data=np.ones((2, 1))).ref
        refs[2, 0] = file.create_dataset("#refs#/c", data=np.array([0, 2], "u8")).ref
        file["#refs#/c"].attrs["MATLAB_empty"] = np.uint8(1)
        file.create_dataset("c", data=refs, dtype=h5py.ref_dtype)
    got, others = load_matlab(path, ["c"])
    assert others == []
    assert_same(got["c"], cells([np.array([[0.0, 3], [1, 4], [2, 5]]), np.ones((1, 2)), np.empty((0, 0))]))  # fmt: skip
