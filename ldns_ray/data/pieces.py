"""Which trials of which shards a pass over a split reads, in which order, and the reading of them.

Needs pyarrow and NumPy alone: processes that do nothing but read start fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ldns_ray import storage
from ldns_ray.data.card import Card
from ldns_ray.data.verification import naming_shard
from ldns_ray.storage import Uri

BUFFER_BYTES = 8 * 2**20
"""Asked of a file at once: fewer, larger requests suit object stores, and memory stays small."""


class Piece(NamedTuple):
    """Trials number `start` … `stop` - 1 of a shard."""

    file: str
    start: int
    stop: int

    @property
    def n_trials(self) -> int:
        return self.stop - self.start


def whole_shards(card: Card, split: str) -> list[Piece]:
    """The shards of a split, each with all of its trials, in the order in which they were written."""
    return [Piece(shard["file"], 0, shard["n_trials"]) for shard in card.shards_of(split)]


def shuffled(shards: Sequence[Piece], *, seed: int, epoch: int) -> list[Piece]:
    """The shards in the order of an epoch, the same for every worker."""
    order = np.random.default_rng([seed, epoch]).permutation(len(shards))
    return [shards[i] for i in order]


def cut(pieces: Iterable[Piece], first: int, n_trials: int) -> list[Piece]:
    """Of the trials of `pieces`, counted from one piece to the next, `n_trials` from number `first` on."""
    result, before = [], 0
    for piece in pieces:
        start = max(first - before, 0)
        stop = min(first + n_trials - before, piece.n_trials)
        if start < stop:
            result.append(Piece(piece.file, piece.start + start, piece.start + stop))
        before += piece.n_trials
    return result


def read(
    uri: Uri, pieces: Iterable[Piece], columns: Sequence[str], n_rows: int
) -> Iterator[pa.Table]:
    """The trials of `pieces` in order, in tables of at most `n_rows`, of which one at a time is in memory.

    Raises FileNotFoundError, ValueError or OSError naming a shard that is missing or damaged.
    """
    for piece in pieces:
        with naming_shard(storage.join(uri, piece.file)), storage.reaching(uri):
            yield from _read(uri, piece, columns, n_rows)


def _read(uri: Uri, piece: Piece, columns: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
    filesystem, folder = storage.filesystem_of(uri)
    with (
        filesystem.open_input_file(f"{folder}/{piece.file}") as source,
        pq.ParquetFile(source, buffer_size=BUFFER_BYTES, page_checksum_verification=True) as file,
    ):
        groups, row = _row_groups(file, piece)
        for batch in file.iter_batches(n_rows, row_groups=groups, columns=list(columns)):
            table = pa.Table.from_batches([batch])
            start, stop = max(piece.start - row, 0), min(piece.stop - row, len(table))
            row += len(table)
            if start < stop:
                yield table.slice(start, stop - start)


def _row_groups(file: pq.ParquetFile, piece: Piece) -> tuple[list[int], int]:
    """The row groups that hold trials of a piece, and the number of the first of their trials."""
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    first, last = np.searchsorted(ends, [piece.start, piece.stop - 1], side="right")
    return list(range(first, last + 1)), int(ends[first] - sizes[first])
