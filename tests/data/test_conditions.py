"""Conditions from files: what is read, and the one message that names file and column where it cannot be."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from ldns_ray.data.conditions import TrialConditions, is_condition_file, read_conditions

ANGLE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
SPEED = np.array([[0.5], [1.5], [2.5]])
N_BINS = np.array([4, 2, 3])


def read(path, conditions=None, covariates=None):
    """As a model of angle and speed would, and of the covariates that are given."""
    return read_conditions(
        path,
        conditions={"angle": 2, "speed": 1} if conditions is None else conditions,
        covariates=covariates or {},
    )


def npz(folder, **arrays):
    np.savez(folder / "c.npz", **arrays)
    return folder / "c.npz"


def text(folder, content):
    (folder / "c.csv").write_bytes(content.encode())
    return folder / "c.csv"


def test_which_addresses_are_files():
    assert is_condition_file("a/b.npz")
    assert is_condition_file("s3://bucket/B.CSV")
    assert not is_condition_file("data/reach")
    assert not is_condition_file("data/reach.csv/folder")


# -- Arrays


def test_conditions_of_arrays(tmp_path):
    for speed in (SPEED, SPEED[:, 0], SPEED.astype(np.int8)):
        got = read(npz(tmp_path, angle=ANGLE, speed=speed, n_bins=N_BINS.astype(np.uint16)))
        assert len(got) == 3
        assert got.n_bins.tolist() == [4, 2, 3]
        assert got.n_bins.dtype == np.int64
        assert got.covariates == {}
        for name, expected in (("angle", ANGLE), ("speed", speed.reshape(3, 1))):
            np.testing.assert_array_equal(got.conditions[name], expected.astype(np.float32))
            assert got.conditions[name].dtype == np.float32
    assert read(npz(tmp_path, angle=ANGLE, speed=SPEED)).n_bins is None


def test_covariates_of_arrays(tmp_path):
    """Of equal lengths, cut to their lengths (what is cut off may be anything), and flat."""
    velocity = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    padded = velocity.copy()
    for i, n in enumerate(N_BINS):
        padded[i, n:] = np.nan
    flat = np.concatenate([x[:n] for x, n in zip(velocity, N_BINS, strict=True)])
    known = {"conditions": {}, "covariates": {"velocity": 2}}
    whole = read(npz(tmp_path, velocity=velocity), **known)
    assert whole.n_bins.tolist() == [4, 4, 4]
    np.testing.assert_array_equal(np.stack(whole.covariates["velocity"]), velocity)
    for array in (padded, flat):
        got = read(npz(tmp_path, velocity=array, n_bins=N_BINS), **known)
        assert got.n_bins.tolist() == [4, 2, 3]
        for x, trial, n in zip(got.covariates["velocity"], velocity, N_BINS, strict=True):
            np.testing.assert_array_equal(x, trial[:n])


def test_lengths_alone(tmp_path):
    for path in (npz(tmp_path, n_bins=N_BINS), text(tmp_path, "n_bins\n4\n2\n3\n")):
        got = read(path)
        assert got.n_bins.tolist() == [4, 2, 3]
        assert got.conditions == {}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"angel": ANGLE}, r"'angel' is not known; .*conditions angle, speed and the covariates velocity.*n_bins"),
        ({"length": SPEED}, "array 'length' is not known"),
        ({}, "there are no arrays; the model was trained with"),
        ({"angle": ANGLE}, "condition 'speed' is missing; the model was trained with"),
        ({"angle": ANGLE, "speed": SPEED}, "covariate 'velocity' is missing; .*Add it in a .npz file"),
        ({"angle": ANGLE[0, 0], "speed": SPEED}, r"'angle' must have one row of 2 per trial, \(n, 2\), got \(\)"),
        ({"angle": ANGLE[:, 0], "speed": SPEED}, r"'angle' must have one row of 2 per trial, \(n, 2\), got \(3,\)"),
        ({"angle": ANGLE, "speed": ANGLE}, r"'speed' must have one row of 1 per trial, \(n, 1\), got \(3, 2\)"),
        ({"angle": ANGLE, "speed": SPEED[:2]}, "'speed' is of 2 trials, 'angle' of 3"),
        ({"angle": ANGLE, "speed": SPEED, "n_bins": N_BINS[:2]}, "'angle' is of 3 trials, 'n_bins' of 2"),
        ({"angle": ANGLE.astype(str), "speed": SPEED}, "array 'angle' must be numbers, got <U32"),
        ({"angle": ANGLE * 1j, "speed": SPEED}, "array 'angle' must be numbers, got complex128"),
        ({"angle": ANGLE * [np.nan, 1], "speed": SPEED}, "array 'angle' must be finite, got nan in trial 0"),
        ({"angle": ANGLE, "speed": SPEED * 1e300}, "array 'speed' must be finite, got inf in trial 0"),
        ({"n_bins": N_BINS * 1.0}, "array 'n_bins' must be whole numbers, one per trial, got float64"),
        ({"n_bins": N_BINS[:, None]}, r"array 'n_bins' must be whole numbers, .* of shape \(3, 1\)"),
        ({"n_bins": N_BINS - 2}, "array 'n_bins' must be at least 1, got 0 in trial 1"),
        ({"n_bins": N_BINS[:0]}, "there are no trials"),
        ({"velocity": np.zeros((9, 2))}, r"'velocity' is flat, \(9, 2\): give the trials' lengths in an array n_bins"),
        ({"velocity": np.zeros((8, 2)), "n_bins": N_BINS}, "'velocity' has 8 rows, the trials of n_bins have 9 bins"),
        ({"velocity": np.zeros((3, 4, 1))}, r"'velocity' must be \(n, T, 2\), or flat .* got \(3, 4, 1\)"),
        ({"velocity": np.zeros(9)}, r"'velocity' must be \(n, T, 2\), or flat .* got \(9,\)"),
        ({"velocity": np.zeros((3, 3, 2)), "n_bins": N_BINS}, "'velocity' has 3 bins in trial 0, not 4"),
        ({"velocity": np.zeros((2, 4, 2)), "n_bins": N_BINS}, "'velocity' is of 2 trials, 'n_bins' of 3"),
        ({"velocity": np.full((3, 4, 2), np.inf)}, "'velocity' must be finite, got inf in bin 0 of trial 0"),
        ({"angle": np.array([{}, {}], object)}, "'angle' cannot be read: it is damaged, or holds Python objects"),
    ],
)  # fmt: skip
def test_refused_arrays(tmp_path, arrays, message):
    path = npz(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as raised:
        read(path, covariates={"velocity": 2})
    assert str(raised.value).startswith(f"{path}: ")


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path):
    trace = tmp_path / "unpickled"
    path = npz(tmp_path, angle=np.array([Bomb(trace)], object), speed=SPEED)
    with pytest.raises(ValueError, match="holds Python objects"):
        read(path)
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(ValueError, match="not a .npz file"):
        read(path)
    assert not trace.exists()


def test_files_that_are_no_archives(tmp_path):
    whole = npz(tmp_path, angle=ANGLE, speed=SPEED).read_bytes()
    single = io.BytesIO()
    np.save(single, ANGLE)
    for content in (b"", b"angle.0,angle.1", whole[:100], single.getvalue()):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"x.npz: not a .npz file. Save one with numpy.savez"):
            read(tmp_path / "x.npz")
    spoiled = io.BytesIO()
    with zipfile.ZipFile(spoiled, "w") as archive:
        archive.writestr("angle.npy", b"no array")
    (tmp_path / "x.npz").write_bytes(spoiled.getvalue())
    with pytest.raises(ValueError, match=r"x.npz: .*'angle'"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["no.npz", "no.csv"])
def test_missing_files(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"No file .*{name}. Give a .npz or .csv file"):
        read(tmp_path / name)


def test_any_address(tmp_path):
    from ldns_ray import storage

    uri = f"memory://{tmp_path.name}/c.csv"
    storage.write_bytes(uri, b"n_bins\n3\n")
    assert read(uri).n_bins.tolist() == [3]


# -- Text


@pytest.mark.parametrize(
    "content",
    [
        "angle.0,angle.1,speed,n_bins\n1,0,0.5,4\n0,1,1.5,2\n-1,0,2.5,3\n",
        "\ufeffspeed.0, n_bins ,angle.1,angle.0\r\n.5, 4 ,0,1\r\n1.5,2,1,0\r\n\r\n2.5e0,3,0,-1",
        '"angle.0","angle.1","speed","n_bins"\n"1","0","0.5","4"\n0,1,1.5,2\n-1,0,2.5,3\n',
    ],
    ids=["plain", "spreadsheet", "quoted"],
)
def test_conditions_of_text(tmp_path, content):
    got = read(text(tmp_path, content))
    assert got.n_bins.tolist() == [4, 2, 3]
    np.testing.assert_array_equal(got.conditions["angle"], ANGLE)
    np.testing.assert_array_equal(got.conditions["speed"], SPEED)
    assert got.conditions["angle"].dtype == np.float32


def test_conditions_without_lengths(tmp_path):
    got = read(text(tmp_path, "speed\n1\n2\n"), conditions={"speed": 1})
    assert got.n_bins is None
    assert got.conditions["speed"].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty. Columns are angle.0, angle.1, speed, n_bins"),
        ("angle.0,angle.1,speed\n", "there are no trials"),
        ("angel.0,speed\n1,2\n", "column 'angel.0' is not known; .* Columns are angle.0, angle.1, speed, n_bins"),
        ("angle,speed\n1,2\n", "column 'angle' is not known"),
        ("angle.0;angle.1\n1;2\n", "column 'angle.0;angle.1' is not known"),
        ("angle.0,,speed\n1,2,3\n", "column '' is not known"),
        ("angle.0,speed\n1,2\n", "column 'angle.1' is missing. Columns are"),
        ("angle.0,angle.1\n1,2\n", "condition 'speed' is missing; the model was trained with"),
        ("speed,speed\n1,2\n", "column 'speed' is there twice"),
        ("speed,speed.0\n1,2\n", "column 'speed.0' is there twice"),
        ("n_bins,n_bins\n1,2\n", "column 'n_bins' is there twice"),
        ("velocity.0,speed\n1,2\n", "column 'velocity.0' is a covariate, of every bin: give it in a .npz file"),
        ("angle.0,angle.1,speed\n1,2,3\n1,2\n", "line 3 has 2 columns, the header 3"),
        ("angle.0,angle.1,speed\n1,2,3\n\n1,x,3\n", "line 4, column 'angle.1' must be a finite number, got 'x'"),
        ("angle.0,angle.1,speed\n1,,3\n", "line 2, column 'angle.1' must be a finite number, got ''"),
        ("angle.0,angle.1,speed\n1,nan,3\n", "line 2, column 'angle.1' must be a finite number, got 'nan'"),
        ("angle.0,angle.1,speed\n1,1e300,3\n", "line 2, column 'angle.1' must be a finite number, got '1e300'"),
        ("n_bins\n4.5\n", "line 2, column 'n_bins' must be a whole number of at least 1, got '4.5'"),
        ("n_bins\n0\n", "line 2, column 'n_bins' must be a whole number of at least 1, got '0'"),
        ('n_bins\n"4\n', r"not a .csv file \(.*\). Save one as UTF-8 text"),
    ],
)  # fmt: skip
def test_refused_text(tmp_path, content, message):
    path = text(tmp_path, content)
    with pytest.raises(ValueError, match=message) as raised:
        read(path, covariates={"velocity": 2})
    assert str(raised.value).startswith(f"{path}: ")


def test_text_of_another_encoding(tmp_path):
    (tmp_path / "c.csv").write_bytes("speed\n1\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"c.csv: not a .csv file \(.*\). Save one as UTF-8 text"):
        read(tmp_path / "c.csv")


# -- As many as are wanted


@pytest.mark.parametrize("n", [0, 2, 3, 7])
def test_trials_are_taken_over_and_over(n):
    given = TrialConditions(
        N_BINS, {"angle": ANGLE}, {"velocity": [np.full((k, 1), k) for k in N_BINS]}
    )
    got = given.cycled(n)
    order = [0, 1, 2, 0, 1, 2, 0][:n]
    assert len(got) == n
    assert got.n_bins.tolist() == N_BINS[order].tolist()
    assert got.conditions["angle"].tolist() == ANGLE[order].tolist()
    assert [int(x[0, 0]) for x in got.covariates["velocity"]] == N_BINS[order].tolist()
    assert TrialConditions(None, {"angle": ANGLE}, {}).cycled(n).n_bins is None
