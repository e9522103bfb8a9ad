"""Damaged datasets: reading with verification gives the data as they were, or says which file is wrong."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ldns_ray.data import shards
from ldns_ray.data.card import Card
from tests.data.datasets import assert_same, in_order, ragged, wide, write

N_DAMAGES = 200
Files = dict[str, bytes]
TRIALS = [*ragged(23)[:-1], wide(ragged(23)[-1])]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("pristine")
    write(TRIALS, folder, shard_bytes=1500)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def any_file(files: Files, rng: np.random.Generator) -> str:
    return sorted(files)[rng.integers(len(files))]


def any_shard(files: Files, rng: np.random.Generator) -> str:
    return any_file({name: b"" for name in files if name != "dataset.json"}, rng)


def truncate(files: Files, rng: np.random.Generator) -> None:
    name = any_file(files, rng)
    files[name] = files[name][: rng.integers(len(files[name]))]


def lengthen(files: Files, rng: np.random.Generator) -> None:
    files[any_file(files, rng)] += rng.bytes(int(rng.integers(1, 50)))


def flip(files: Files, rng: np.random.Generator) -> None:
    name = any_file(files, rng)
    content = bytearray(files[name])
    for at in rng.integers(len(content), size=rng.integers(1, 4)):
        content[at] ^= 1 << rng.integers(8)
    files[name] = bytes(content)


def flip_in_card(files: Files, rng: np.random.Generator) -> None:
    content = bytearray(files["dataset.json"])
    content[rng.integers(len(content))] = rng.integers(256)
    files["dataset.json"] = bytes(content)


def lose(files: Files, rng: np.random.Generator) -> None:
    del files[any_file(files, rng)]


def swap(files: Files, rng: np.random.Generator) -> None:
    a, b = any_shard(files, rng), any_shard(files, rng)
    files[a], files[b] = files[b], files[a]


def replaced(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """The table with one column of another kind, or without it, or with other rows."""
    i = int(rng.integers(table.num_columns))
    name, n = table.column_names[i], len(table)
    columns: list[Any] = [
        None, pa.array([[1.5]] * n), pa.array([[]] * n, pa.list_(pa.uint8())), pa.array([None] * n), pa.array(range(n)),
        pa.array(["a"] * n), pa.array([b"\xff"] * n), pa.array([{"a": 1}] * n), pa.array([[None]] * n, pa.list_(pa.float32())),
    ]  # fmt: skip
    choice = rng.integers(len(columns) + 3)
    if choice < len(columns):
        column = columns[choice]
        return table.remove_column(i) if column is None else table.set_column(i, name, column)
    if choice == len(columns):
        return table.slice(1)
    if choice == len(columns) + 1:
        return pa.concat_tables([table, table])
    return table.rename_columns([f"{x}{x}" if x == name else x for x in table.column_names])


def rewrite(files: Files, rng: np.random.Generator) -> None:
    name = any_shard(files, rng)
    sink = io.BytesIO()
    pq.write_table(replaced(pq.read_table(io.BytesIO(files[name])), rng), sink)
    files[name] = sink.getvalue()


def card_of(files: Files) -> dict[str, Any]:
    return dict(json.loads(files["dataset.json"]))


def put_card(files: Files, content: dict[str, Any]) -> None:
    """With the checksum that such a card has, as whoever wrote it on purpose would give it."""
    fields = {name: content[name] for name in Card.__dataclass_fields__}
    checksum = Card(**fields).checksum
    files["dataset.json"] = json.dumps(content | {"checksum": checksum}).encode()


def rewrite_with_card(files: Files, rng: np.random.Generator) -> None:
    """Another column, by someone who keeps the card's books."""
    before = set(files)
    content = card_of(files)
    shard = content["shards"][rng.integers(len(content["shards"]))]
    old = shard["file"]
    sink = io.BytesIO()
    pq.write_table(replaced(pq.read_table(io.BytesIO(files[old])), rng), sink)
    sha256 = hashlib.sha256(sink.getvalue()).hexdigest()
    shard |= {"sha256": sha256, "n_bytes": len(sink.getvalue()), "file": f"{old[:-24]}{sha256[:16]}.parquet"}  # fmt: skip
    assert shard["file"] not in before
    del files[old]
    files[shard["file"]] = sink.getvalue()
    put_card(files, content)


def mislead(files: Files, rng: np.random.Generator) -> None:
    """A card that names a file elsewhere: beside the folder lies what it wants."""
    content = card_of(files)
    shard = content["shards"][rng.integers(len(content["shards"]))]
    name = shard["file"]
    elsewhere = ["../outside/" + name, "/etc/passwd", "../outside/x.parquet", "a/../" + name, name + "\0", "", ".", "..",
                 "s3://ldns/x", "C:\\x", "*.parquet", name.upper(), f"{name}\n", 7, None, [name]]  # fmt: skip
    shard["file"] = elsewhere[rng.integers(len(elsewhere))]
    put_card(files, content)


def misdescribe(files: Files, rng: np.random.Generator) -> None:
    """A card with other numbers, and the checksum that goes with them."""
    content = card_of(files)
    n = int(rng.choice([0, 1, 2, 6, 2**31, 2**53 - 1, 10**30]))
    changes: list[Callable[[], None]] = [
        lambda: content.update(n_units=n, unit_names=["u"] * min(n, 9)),
        lambda: content.update(n_latents=n),
        lambda: content.update(has_rates=n),
        lambda: content["covariates"]["vel"].update(size=n),
        lambda: content["conditions"].update(other={"size": n, "unit": ""}),
        lambda: content["shards"][0].update(n_trials=n),
        lambda: content["shards"][0].update(split="val", n_bins=n),
        lambda: content["shards"].pop(),
        lambda: content["shards"].append(content["shards"][0]),
        lambda: content.update(splits={"test": {"n_trials": n, "n_bins": n}}),
        lambda: content.update(shards=[[[]]]),
    ]
    changes[rng.integers(len(changes))]()
    put_card(files, content)


DAMAGES = (
    truncate, lengthen, flip, flip_in_card, lose, swap, rewrite, rewrite_with_card, mislead, misdescribe,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_or_harmless(
    damage: Callable[[Files, np.random.Generator], None], pristine: Files, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name, content in pristine.items():
        (outside / name).write_bytes(content)
    told = 0
    for seed in range(N_DAMAGES // len(DAMAGES)):
        rng = np.random.default_rng([seed, DAMAGES.index(damage)])
        files = dict(pristine)
        damage(files, rng)
        folder = tmp_path / str(seed)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        message, card = "", None
        try:
            card = shards.verify_dataset(folder)
            trials = shards.load_trials(folder)
        except (ValueError, OSError) as error:
            message = str(error)
        if message:
            told += 1
            wrong = [name for name in {*pristine, *files} if f"{folder}/{name}" in message]
            no_card = "dataset.json" not in files and f"No dataset.json under {folder}" in message
            assert wrong or no_card, f"{damage.__name__} {seed}: {message}"
            continue
        assert card is not None
        assert card.checksum == card_of(pristine)["checksum"]
        assert_same(trials, in_order(TRIALS))
    assert told > 0
