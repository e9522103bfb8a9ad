"""Pieces of shards: which trials they are, and that no others are decoded for them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ldns_ray.data.pieces import Piece, cut, read, whole_shards
from tests.data.datasets import ragged, write


def test_shards_of_a_split_are_whole_pieces(tmp_path: Path) -> None:
    card = write(ragged(30), tmp_path, shard_bytes=4000)
    assert sum(piece.n_trials for piece in whole_shards(card, "val")) == 10
    assert {piece.file.split("-")[0] for piece in whole_shards(card, "val")} == {"val"}
    with pytest.raises(ValueError, match="no split 'test'"):
        whole_shards(card, "test")


def test_pieces_are_cut_by_number() -> None:
    pieces = [Piece("a", 0, 5), Piece("b", 2, 4), Piece("c", 0, 9)]
    assert cut(pieces, 4, 4) == [Piece("a", 4, 5), Piece("b", 2, 4), Piece("c", 0, 1)]
    assert cut(pieces, 5, 2) == [Piece("b", 2, 4)]
    assert cut(pieces, 15, 4) == [Piece("c", 8, 9)]
    assert cut(pieces, 3, 0) == []


@pytest.mark.parametrize("n_rows", [1, 3, 100])
def test_any_stretch_of_a_shard_with_row_groups_is_read(tmp_path: Path, n_rows: int) -> None:
    pq.write_table(pa.table({"n": range(20), "x": range(20)}), tmp_path / "s", row_group_size=6)
    for start in range(20):
        for stop in range(start + 1, 21):
            tables = list(read(tmp_path, [Piece("s", start, stop)], ["n"], n_rows))
            assert max(map(len, tables)) <= n_rows
            table = pa.concat_tables(tables)
            assert table["n"].to_pylist() == list(range(start, stop))
            assert table.column_names == ["n"]


def test_row_groups_outside_a_piece_are_not_touched(tmp_path: Path) -> None:
    table = pa.table({"n": pa.array(range(40_000))})
    pq.write_table(table, tmp_path / "s", row_group_size=10_000, compression="none")
    content = bytearray((tmp_path / "s").read_bytes())
    at = pq.read_metadata(tmp_path / "s").row_group(1).column(0).data_page_offset
    content[at : at + 64] = bytes(64)  # the header of its page
    (tmp_path / "s").write_bytes(content)
    (last,) = read(tmp_path, [Piece("s", 20_000, 30_000)], ["n"], 10_000)
    assert last["n"].to_pylist() == list(range(20_000, 30_000))
    with pytest.raises(OSError, match="."):
        list(read(tmp_path, [Piece("s", 0, 20_000)], ["n"], 10_000))
