"""Archives of arrays, whole and damaged."""

import io
import zipfile

import numpy as np
import pytest

from ldns_ray.archives import UnreadableError, read_npz


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        for name, content in members.items():
            z.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_arrays_come_by_their_names() -> None:
    arrays = read_npz(archive(a=npy(np.arange(6).reshape(2, 3)), b=npy(np.array("text"))))
    assert arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert str(arrays["b"]) == "text"


def test_a_header_that_says_less_than_there_is_is_refused() -> None:
    whole = npy(np.arange(600))
    assert b"(600,)" in whole
    with pytest.raises(UnreadableError, match=r"'a' .*more bytes than an array of shape \(500,\)"):
        read_npz(archive(a=whole.replace(b"(600,)", b"(500,)")))


def test_objects_and_other_files_are_refused_by_name() -> None:
    with pytest.raises(UnreadableError, match="'a' cannot be read: .* Python objects") as caught:
        read_npz(archive(b=npy(np.zeros(2)), a=npy(np.array([{}], dtype=object))))
    assert caught.value.array == "a"
    with pytest.raises(UnreadableError, match="not a .npz file") as caught:
        read_npz(b"PK nothing")
    assert caught.value.array is None


def test_damage_anywhere_is_found() -> None:
    rng = np.random.default_rng(0)
    content = archive(a=npy(rng.normal(size=50)), b=npy(np.arange(30)))
    wanted = read_npz(content)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        try:
            got = read_npz(bytes(damaged))
        except UnreadableError:
            continue
        for name, array in got.items():  # what does not matter may differ, such as a date
            assert array.tolist() == wanted[name].tolist()
