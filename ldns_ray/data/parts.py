"""Which trials of which shards a pass over a split reads, in which order, and the reading of them.

Needs pyarrow and NumPy alone: processes that do nothing but read start fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ldns_ray.data.card import Card
from ldns_ray.storage import Uri, filesystem_of

BUFFER_BYTES = 8 * 2**20
"""Asked of a file at once: fewer, larger requests suit object stores, and memory stays small."""


class Part(NamedTuple):
    """Trials number `start` … `stop` - 1 of those that a shard holds of a split."""

    file: str
    start: int
    stop: int

    @property
    def n_trials(self) -> int:
        return self.stop - self.start


def whole_shards(uri: Uri, card: Card, split: str) -> list[Part]:
    """The shards of a split, each with all of its trials, in the order in which they were written."""
    counts = {shard["file"]: _n_trials(uri, shard, split) for shard in card.shards}
    return [Part(file, 0, n) for file, n in counts.items() if n]


def _n_trials(uri: Uri, shard: dict, split: str) -> int:
    if "split" in shard:
        return shard["n_trials"] if shard["split"] == split else 0
    with _open(uri, shard["file"]) as file:
        return pc.sum(pc.equal(file.read(["split"])["split"], split)).as_py()


def shuffled(shards: Sequence[Part], *, seed: int, epoch: int) -> list[Part]:
    """The shards in the order of an epoch, the same for every worker."""
    order = np.random.default_rng([seed, epoch]).permutation(len(shards))
    return [shards[i] for i in order]


def cut(parts: Iterable[Part], first: int, n_trials: int) -> list[Part]:
    """Of the trials of `parts`, counted from one part to the next, `n_trials` from number `first` on."""
    result, before = [], 0
    for part in parts:
        start = max(first - before, 0)
        stop = min(first + n_trials - before, part.n_trials)
        if start < stop:
            result.append(Part(part.file, part.start + start, part.start + stop))
        before += part.n_trials
    return result


def read(
    uri: Uri, parts: Iterable[Part], split: str, columns: Sequence[str], n_rows: int
) -> Iterator[pa.Table]:
    """The trials of `parts` in order, in tables of at most `n_rows`, of which one at a time is in memory."""
    for part in parts:
        with _open(uri, part.file) as file:
            row = 0
            for batch in file.iter_batches(n_rows, columns=[*columns, "split"]):
                table = pa.Table.from_batches([batch])
                inside = pc.equal(table["split"], split)
                if not pc.all(inside).as_py():
                    table = table.filter(inside)
                start, stop = max(part.start - row, 0), min(part.stop - row, len(table))
                row += len(table)
                if start < stop:
                    yield table.slice(start, stop - start).select(columns)


def _open(uri: Uri, file: str) -> pq.ParquetFile:
    filesystem, folder = filesystem_of(uri)
    return pq.ParquetFile(filesystem.open_input_file(f"{folder}/{file}"), buffer_size=BUFFER_BYTES)
