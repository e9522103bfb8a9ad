from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ldns_ray.data import shards
from ldns_ray.data.schema import Trial
from ldns_ray.data.tables import check_table, list_field, trials_table, trialset_from_tables
from tests.data.datasets import ragged, write


def test_a_table_has_a_row_per_trial_and_flat_lists() -> None:
    first = Trial(np.array([[1, 2], [3, 4]], np.uint8), "a", "s", "train", {"v": np.ones((2, 1), np.float32)})  # fmt: skip
    second = Trial(np.array([[5, 6]], np.uint8), "b", "s", "val", {"v": np.zeros((1, 1), np.float32)})  # fmt: skip
    table = trials_table([first, second], pa.uint16())
    assert table.to_pydict() == {
        "trial_id": ["a", "b"], "session": ["s", "s"], "split": ["train", "val"], "n_bins": [2, 1],
        "spikes": [[1, 2, 3, 4], [5, 6]], "covariate:v": [[1.0, 1.0], [0.0]],
    }  # fmt: skip
    assert table.schema.field("spikes") == list_field("spikes", pa.uint16())
    table.validate(full=True)


def test_lists_too_long_for_arrow_are_refused_by_trial() -> None:
    huge = np.broadcast_to(np.zeros(1, np.uint8), (2**21, 2**10))  # takes no memory
    with pytest.raises(
        ValueError, match="trial 'long': spikes must hold under 2.31 values.*Cut it"
    ):
        trials_table([Trial(huge, "long", "s", "train")], pa.uint8())


def columns(table: pa.Table, **changes: Any) -> pa.Table:
    for name, column in changes.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("trial_id", pa.array([1, 2, 3]), "'trial_id' must be string, got int64"),
        ("session", pa.array(["a", None, "b"]), "'session' must be free of nulls, got 1"),
        ("n_bins", pa.array([1, 1, 1], pa.int64()), "'n_bins' must be int32, got int64"),
        ("n_bins", pa.array([1, -1, 1], pa.int32()), "'n_bins' must be positive, got -1"),
        ("spikes", pa.array([[1.0]] * 3), "'spikes' must be lists of uint8 or uint16, got list"),
        ("spikes", pa.array([1, 2, 3]), "'spikes' must be lists of uint8 or uint16, got int64"),
        ("spikes", pa.array([[1]] * 3, pa.list_(pa.uint8())), "'spikes' must be .* long in row 0, got 1"),
        ("spikes", pa.array([None] * 3, pa.list_(pa.uint8())), "'spikes' must be free of nulls"),
        ("rates", pa.array([[None]] * 3, pa.list_(pa.float32())), "'rates' must be free of nulls"),
        ("latents", pa.array([[1.0]] * 3), "'latents' must be lists of float, got list<item: double>"),
        ("condition:angle", pa.array([[1, 2], [1, 2], [1]], pa.list_(pa.float32())),
         "'condition:angle' must be 2 values long in row 2, got 1"),
    ],
)  # fmt: skip
def test_columns_that_are_not_as_the_card_says_are_named(
    tmp_path: Path, name: str, column: pa.Array, message: str
) -> None:
    trials = ragged(3)
    card = write(trials, tmp_path)
    table = trials_table(trials, pa.uint8())
    check_table(table, card, "x.parquet")
    with pytest.raises(ValueError, match=f"x.parquet: column {message}"):
        check_table(columns(table, **{name: column}), card, "x.parquet")


def test_texts_must_be_utf8(tmp_path: Path) -> None:
    trials = ragged(3)
    card = write(trials, tmp_path)
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"a\xffb")]
    )  # fmt: skip
    with pytest.raises(ValueError, match="UTF8"):
        check_table(columns(trials_table(trials, pa.uint8()), session=broken), card, "x.parquet")


def test_channels_may_be_none(tmp_path: Path) -> None:
    """A condition of no numbers says nothing, but is there."""
    trials = [
        Trial(np.ones((n, 2), np.uint8), f"t{n}", "s", "train", {"none": np.zeros((n, 0))}, {"empty": np.zeros(0)})
        for n in (1, 2, 3)
    ]  # fmt: skip
    card = write(trials, tmp_path)
    trialset = shards.load_trialset(tmp_path)
    assert trialset.covariates["none"].shape == (6, 0)
    assert trialset.conditions["empty"].shape == (3, 0)
    assert card.conditions == {"empty": {"size": 0, "unit": ""}}


def test_order_is_by_id_or_as_it_comes(tmp_path: Path) -> None:
    trials = ragged(6)
    card = write(trials, tmp_path)
    tables = [trials_table(trials[3:], pa.uint8()), trials_table(trials[:3], pa.uint8())]
    assert trialset_from_tables(tables, card).trial_ids == [f"t{i:03d}" for i in range(6)]
    as_it_comes = trialset_from_tables(tables, card, sort=False)
    assert as_it_comes.trial_ids == [f"t{i:03d}" for i in (3, 4, 5, 0, 1, 2)]
    np.testing.assert_array_equal(as_it_comes.spikes_list()[3], trials[0].spikes)
    with pytest.raises(ValueError, match="'x': expected trials, got none"):
        trialset_from_tables([], card)
