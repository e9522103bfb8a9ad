"""What a table of requests may hold, and the sentence for what it may not: before MLflow and behind it."""

import math

import numpy as np
import pandas as pd
import pytest

from ldns_ray.tracking import sampler
from ldns_ray.tracking.request_rows import Table
from ldns_ray.tracking.sampler import sample_table, spike_sampler
from tests.models.untrained import N_UNITS, model

pytestmark = pytest.mark.usefixtures("one_thread")

ANGLE, SPEED = [0.6, 0.8], 3.0
VELOCITY = [[0.1 * t, 1.0] for t in range(9)]
ALL = {"angle": ANGLE, "speed": SPEED, "velocity": VELOCITY}


@pytest.fixture(scope="module")
def ldns():
    return model(("angle", "speed", "length"), ("velocity",), droppable=True)


@pytest.fixture(scope="module")
def table(ldns):
    return Table(ldns.conditioning.conditions, ldns.conditioning.covariates)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"n": 1, "lenght": 9}, "unknown column 'lenght'. Did you mean length?"),
        ({"n": 1, "velocty": VELOCITY}, "unknown column 'velocty'. Did you mean velocity?"),
        ({"n": 1, "angel": ANGLE}, "unknown column 'angel'. Did you mean angle?"),
        ({"n": 1, 3: 4}, "unknown column 3. Known: angle, first_trial, "),
        ({}, "it asks for nothing. Give at least n"),
        ({"n": None, "length": pd.NA}, "it asks for nothing. Give at least n"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": -3}, "n must be at least 1, got -3"),
        ({"n": 2.5}, "n must be a whole number, got 2.5"),
        ({"n": "3"}, "n must be a whole number, got '3'"),
        ({"n": True}, "n must be a whole number, got True"),
        ({"n": math.nan}, "n must be a whole number, got nan"),
        ({"n": math.inf}, "n must be a whole number, got inf"),
        ({"n": [1, 2]}, "n must be a whole number, got [1, 2]. Give several requests as a list of rows"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"length": 9.5}, "length must be a whole number, got 9.5"),
        ({"seed": -1}, "seed must be in [0, 2^48), got -1"),
        ({"seed": 2**48}, f"seed must be in [0, 2^48), got {2**48}"),
        ({"first_trial": -1}, "first_trial must be in [0, 2^48), got -1"),
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_steps": 51}, "n_steps must be at most 50, the steps of the schedule, got 51"),
        ({"sampler": "euler"}, "sampler must be ddpm, ddim, dpmpp_2m or dpmpp_2m_sde, got 'euler'"),
        ({"sampler": 2}, "sampler must be text, got 2"),
        ({"guidance": -1.0}, "guidance must be finite and non-negative, got -1.0"),
        ({"guidance": math.nan}, "guidance must be a finite number, got nan"),
        ({"guidance": "2"}, "guidance must be a finite number, got '2'"),
        (ALL | {"angle": [1.0]}, "angle must be 2 numbers, got shape (1,)"),
        (ALL | {"angle": 1.0}, "angle must be 2 numbers, got shape ()"),
        (ALL | {"angle": [ANGLE]}, "angle must be 2 numbers, got shape (1, 2)"),
        (ALL | {"angle": [1.0, "a"]}, "angle must be numbers, got <U"),
        (ALL | {"angle": [1.0, None]}, "angle must be numbers, got object"),
        (ALL | {"angle": [True, False]}, "angle must be numbers, got bool"),
        (ALL | {"angle": [math.nan, 1.0]}, "angle must be finite, got nan"),
        (ALL | {"angle": [1e300, 1.0]}, "angle must be finite, got inf"),
        (ALL | {"speed": [1.0, 2.0]}, "speed must be a number, got shape (2,)"),
        (ALL | {"speed": "fast"}, "speed must be numbers, got <U4"),
        (ALL | {"velocity": [1.0, 2.0]}, "velocity must be a list of 2 for every bin, of at least one bin, got shape (2,)"),
        (ALL | {"velocity": [[1.0, 2.0, 3.0]]}, "velocity must be a list of 2 for every bin, of at least one bin, got shape (1, 3)"),
        (ALL | {"velocity": []}, "velocity must be a list of 2 for every bin, of at least one bin, got shape (0,)"),
        (ALL | {"velocity": [[1.0, 2.0], [3.0]]}, "velocity must be an array, got rows of different lengths"),
        (ALL | {"velocity": [[1.0, math.inf]]}, "velocity must be finite, got inf"),
        (ALL | {"length": 8}, "must have the same bins, got velocity: 9, length: 8. Leave length out"),
        ({"angle": ANGLE, "speed": SPEED}, "covariate 'velocity' is missing"),
        ({"angle": ANGLE, "velocity": VELOCITY}, "condition 'speed' is missing"),
        ({"length": 31}, "longer than those of the training set need their covariates velocity"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(ldns, table, row, message):
    with pytest.raises(ValueError, match=r"^Request 1: ") as refused:
        sample_table(ldns, table, [{"n": 1}, row])
    assert message in str(refused.value)


def test_no_row_at_all(ldns, table):
    with pytest.raises(ValueError, match=r"at least one request, got none. Example: \[\{'n': 10\}\]"):  # fmt: skip
        sample_table(ldns, table, [])


def test_a_plain_model_has_no_conditions():
    plain = model()
    columns = Table(plain.conditioning.conditions, plain.conditioning.covariates)
    assert list(columns.columns) == ["n", "length", "seed", "first_trial", "sampler", "n_steps", "guidance"]  # fmt: skip
    with pytest.raises(ValueError, match="unknown column 'angle'"):
        columns.read([{"angle": ANGLE}])
    with pytest.raises(ValueError, match=r"guidance must be 1: this model has neither .* got 2\.0"):
        sample_table(plain, columns, [{"n": 1, "guidance": 2}])


@pytest.mark.parametrize(
    "rows",
    [
        [{"n": 11, "length": 20}],
        [{"n": 10, "length": 20}, {"length": 1}],
        [{"n": 2**60}],
        [{"length": 2**60}],
        [{"n": 112, **ALL}],
        # So few that only the lengths drawn for them are too many.
        [{"n": 80, "seed": 1}],
    ],
)
def test_an_answer_stays_small(ldns, table, monkeypatch, rows):
    monkeypatch.setattr(sampler, "MAX_COUNTS", 200 * N_UNITS)
    monkeypatch.setattr(type(ldns), "sample", None)  # nothing is sampled
    with pytest.raises(ValueError, match=r"at most 1,000 counts .*, got at least [0-9,]+\. Ask for fewer"):  # fmt: skip
        sample_table(ldns, table, rows)


def test_an_answer_of_the_largest_size(ldns, table, monkeypatch):
    monkeypatch.setattr(sampler, "MAX_COUNTS", 9 * 3 * N_UNITS)
    assert len(sample_table(ldns, table, [{"n": 2, **ALL}, ALL])) == 3


def test_cells_as_tables_have_them(table):
    rows = [
        {"n": np.int64(2), "length": 9.0, "seed": 2.0**40, "guidance": 2, **ALL},
        {"n": 2, "angle": np.array(ANGLE), "speed": np.float32(3), "velocity": np.array(VELOCITY)},
        # From Arrow: arrays of arrays.
        {"n": 2, "speed": [3], "angle": tuple(ANGLE), "velocity": np.array([np.array(v) for v in VELOCITY] + [None], object)[:-1]},
    ]  # fmt: skip
    first, *others = table.read(rows)
    assert (first.n, first.length, first.seed, first.guidance) == (2, 9, 2**40, 2.0)
    for request in (first, *others):
        np.testing.assert_array_equal(request.condition["angle"], np.float32(ANGLE))
        np.testing.assert_array_equal(request.condition["speed"], np.float32([3]))
        np.testing.assert_array_equal(request.covariates["velocity"], np.float32(VELOCITY))


def test_a_requests_trials_are_the_models(ldns, table):
    rows = [
        {"n": 3, "seed": 7},
        {"n": 2, "seed": 7, "first_trial": 64, "length": 11, "sampler": "ddim", "n_steps": 5},
        {"n": 2, "seed": 8, "guidance": 2, **ALL},
    ]
    answer = sample_table(ldns, table, rows)
    given = {
        "condition": {"angle": np.tile(ANGLE, (2, 1)), "speed": np.full((2, 1), SPEED)},
        "covariates": {"velocity": [np.array(VELOCITY)] * 2},
    }
    expected = [
        ldns.sample(3, seed=7),
        ldns.sample(2, seed=7, first_trial=64, n_bins=11, sampler="ddim", n_steps=5),
        ldns.sample(2, seed=8, guidance=2.0, **given),
    ]
    assert list(answer["request"]) == [0, 0, 0, 1, 1, 2, 2]
    assert list(answer["trial"]) == [0, 1, 2, 64, 65, 0, 1]
    for i, samples in enumerate(expected):
        rows_of_i = answer[answer["request"] == i].reset_index()
        for j, row in rows_of_i.iterrows():
            assert row["n_bins"] == len(row["spikes"]) == len(samples.spikes[j])
            assert row["spikes"] == samples.spikes[j].tolist()
            assert row["angle"] == samples.conditions["angle"][j].tolist()
            assert row["speed"] == samples.conditions["speed"][j].item()
            assert row["velocity"] == samples.covariates["velocity"][j].tolist()
    # What is conditioned upon matters: otherwise nothing of the above would say that it arrived.
    without = ldns.sample(2, seed=8, guidance=2.0, n_bins=9)
    assert not np.array_equal(without.spikes, expected[2].spikes)


def test_the_order_of_requests_does_not_matter(ldns, table):
    rows = [{"n": 2, "seed": 1}, {"n": 1, "seed": 2, "length": 12}, {"n": 1, **ALL}]
    forth = sample_table(ldns, table, rows)
    back = sample_table(ldns, table, rows[::-1])
    back["request"] = 2 - back["request"]
    back = back.sort_values(["request", "trial"], ignore_index=True)
    pd.testing.assert_frame_equal(forth, back)


def test_names_that_mean_two_things_have_their_kind_before_them():
    table = Table({"n": 1, "spikes": 2, "_id": 1, "x": 1, "length": 1}, {"x": 3})
    own = list(table.columns)[7:]
    assert own == ["condition:n", "condition:spikes", "condition:_id", "x", "covariate:x"]
    (request,) = table.read([{"n": 4, "condition:n": 5, "x": 1, "covariate:x": [[1, 2, 3]]}])
    assert request.n == 4
    np.testing.assert_array_equal(request.condition["n"], [5])
    np.testing.assert_array_equal(request.covariates["x"], [[1, 2, 3]])


@pytest.mark.filterwarnings("error")
def test_names_that_types_of_rows_have_already():
    """A field called `copy` or `json` would warn, or break the type of the rows."""
    conditions = {"copy": 1, "model_x": 2, "json": 1, "reach angle": 1}
    spike_sampler(conditions, {"schema": 1})
    names = list(Table(conditions, {"schema": 1}).columns)[7:]
    assert names == ["condition:copy", "model_x", "condition:json", "reach angle", "covariate:schema"]  # fmt: skip
