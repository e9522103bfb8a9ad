"""Trials to Parquet files: one split each, named after their content, written as the trials come."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ldns_ray.data.parquet import ROW_GROUP_BYTES, open_writer
from ldns_ray.data.schema import SPLITS, Trial
from ldns_ray.data.tables import list_field, trials_table
from ldns_ray.storage import write_atomically

SHARD_BYTES = 96 * 2**20
"""Of a shard's trials in memory, not of its file: it is what Ray Data carries as one block, of up to 128 MB."""


class _Shard:
    """A Parquet file of one split that grows in memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.n_trials = self.n_bins = 0
        self._sink = pa.BufferOutputStream()
        self._file = open_writer(self._sink, schema)

    def append(self, table: pa.Table) -> None:
        """One more row group."""
        self._file.write_table(table, row_group_size=len(table))
        self.n_trials += len(table)
        self.n_bins += int(table["n_bins"].to_numpy().sum(dtype=np.int64))

    def close(self) -> pa.Buffer:
        """The content of the file."""
        self._file.close()
        return self._sink.getvalue()


@dataclass
class _Split:
    """The shards of one split: those written, the one that grows, and the trials that wait for its next row group.

    n_bytes: of the trials of the growing shard, those that wait included.
    """

    name: str
    written: list[dict[str, Any]] = field(default_factory=list)
    shard: _Shard | None = None
    n_bytes: int = 0
    waiting: list[Trial] = field(default_factory=list)
    waiting_bytes: int = 0


class ShardWriter:
    """Shares trials out over the shards of their splits, and writes these to where they stay.

    A shard's name tells its content, so a folder may hold those of two datasets until a card names the one
    or the other. In memory are at most, of each split, one compressed shard and one row group that is not.
    shard_bytes: uncompressed size at which a shard is closed. first: number of each split's first shard.
    """

    def __init__(
        self, filesystem: pafs.FileSystem, folder: str, shard_bytes: float, first: int = 0
    ) -> None:
        self._filesystem, self._folder, self._shard_bytes = filesystem, folder, shard_bytes
        self._first = first
        self._splits = {name: _Split(name) for name in SPLITS}
        self._count_type = pa.uint8()
        self._narrow: list[dict[str, Any]] = []
        self._made: dict[str, int | None] = {}

    def add(self, trial: Trial) -> None:
        """Take a validated trial."""
        if trial.spikes.dtype == np.uint16:
            self._count_type = pa.uint16()
        split = self._splits[trial.split]
        split.waiting.append(trial)
        split.waiting_bytes += trial.n_bytes
        split.n_bytes += trial.n_bytes
        if split.waiting_bytes >= ROW_GROUP_BYTES or split.n_bytes >= self._shard_bytes:
            self._flush(split)
        if split.n_bytes >= self._shard_bytes:
            self._end_shard(split)

    def finish(self) -> list[dict[str, Any]]:
        """The entries of all shards for a card, once they are written."""
        for split in self._splits.values():
            if split.waiting:
                self._flush(split)
            if split.shard is not None:
                self._end_shard(split)
        if self._count_type == pa.uint16():
            for entry in self._narrow:
                self._widen(entry)
        return [entry for split in self._splits.values() for entry in split.written]

    def discard(self, keep: Set[str]) -> None:
        """Remove the shards that were not there before, and that no other process has written since, but those to `keep`."""
        for file, written_ns in self._made.items():
            # What cannot be removed is left to the next write.
            with contextlib.suppress(OSError):
                if file not in keep and self._written_ns(file) == written_ns:
                    self._filesystem.delete_file(f"{self._folder}/{file}")

    def _written_ns(self, file: str) -> int | None:
        """When a shard was written, or None where there is none, or no telling."""
        return self._filesystem.get_file_info(f"{self._folder}/{file}").mtime_ns

    def _flush(self, split: _Split) -> None:
        table = trials_table(split.waiting, self._count_type)
        if split.shard is not None and split.shard.schema != table.schema:
            self._end_shard(split)  # the first count above 255 came
        split.shard = split.shard or _Shard(table.schema)
        split.shard.append(table)
        split.waiting, split.waiting_bytes = [], 0

    def _end_shard(self, split: _Split) -> None:
        assert split.shard is not None
        entry = {"split": split.name} | self._write(
            f"{split.name}-{self._first + len(split.written):05d}", split.shard
        )
        split.written.append(entry)
        if split.shard.schema.field("spikes").type.value_type == pa.uint8():
            self._narrow.append(entry)
        split.shard, split.n_bytes = None, split.waiting_bytes

    def _write(self, stem: str, shard: _Shard) -> dict[str, Any]:
        content = shard.close()
        sha256 = hashlib.sha256(content).hexdigest()
        file = f"{stem}-{sha256[:16]}.parquet"
        path = f"{self._folder}/{file}"
        new = self._filesystem.get_file_info(path).type == pafs.FileType.NotFound
        # One that is there is written all the same: it may be damaged.
        write_atomically(self._filesystem, path, content)
        if new:
            self._made[file] = self._written_ns(file)
        return {
            "file": file, "n_trials": shard.n_trials, "n_bins": shard.n_bins, "n_bytes": content.size,
            "sha256": sha256,
        }  # fmt: skip

    def _widen(self, entry: dict[str, Any]) -> None:
        """Write a shard of uint8 counts again, as uint16: all shards of a dataset have the same columns.

        The narrow one is removed with whatever else no card names.
        """
        file = entry["file"]
        with self._filesystem.open_input_file(f"{self._folder}/{file}") as stream:
            narrow = pq.ParquetFile(stream)
            at = narrow.schema_arrow.get_field_index("spikes")
            wide = _Shard(narrow.schema_arrow.set(at, list_field("spikes", pa.uint16())))
            for i in range(narrow.num_row_groups):
                wide.append(narrow.read_row_group(i).cast(wide.schema))
        entry |= self._write(file.rsplit("-", 1)[0], wide)
