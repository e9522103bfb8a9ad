"""Trials in Parquet files: how they are encoded, and one file written and read in the memory of a group of trials."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ldns_ray.data.schema import Trial
from ldns_ray.data.tables import trials_of_table, trials_table
from ldns_ray.storage import Uri, filesystem_of

ROW_GROUP_BYTES = 8 * 2**20
"""Of trials in memory: the smallest part of a file that can be read, and what waits to be compressed."""


def open_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes tables of trials to a stream, compressed."""
    lists = [column.name for column in schema if pa.types.is_list(column.type)]
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=["session", "split"],
        # Byte by byte, floats compress better than whole, and counts, which Parquet widens to 32 bits,
        # are written faster than by a dictionary.
        use_byte_stream_split=[f"{name}.list.element" for name in lists],
        # Nothing is looked up by a minimum or maximum.
        write_statistics=False,
        data_page_version="2.0",
        write_page_checksum=True,
    )


class _DigestingStream(io.RawIOBase):
    """Passes on what is written, and keeps its SHA-256 and size."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sha256, self.n_bytes = hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self._stream.write(block)
        self.sha256.update(block)
        self.n_bytes += len(block)
        return len(block)


class GroupWriter:
    """Writes validated trials as Parquet, a row group whenever `ROW_GROUP_BYTES` have come together.

    The file is whole after `finish`. on_trials: called with the number of trials of each group written.
    """

    def __init__(self, stream: Any, on_trials: Callable[[int], None] = lambda n: None) -> None:
        self._stream, self._on_trials = _DigestingStream(stream), on_trials
        self._writer: pq.ParquetWriter | None = None
        self._trials: list[Trial] = []
        self._group_bytes = 0

    def __enter__(self) -> GroupWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    @property
    def sha256(self) -> str:
        return self._stream.sha256.hexdigest()

    @property
    def n_bytes(self) -> int:
        return self._stream.n_bytes

    def add(self, trial: Trial) -> None:
        self._trials.append(trial)
        self._group_bytes += trial.n_bytes
        if self._group_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        if self._trials:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        # Wide enough for all counts: a Parquet file has one type for a column.
        table = trials_table(self._trials, pa.uint16())
        if self._writer is None:
            self._writer = open_writer(self._stream, table.schema)
        self._writer.write_table(table)
        self._on_trials(len(self._trials))
        self._trials, self._group_bytes = [], 0


def read_trials(uri: Uri) -> Iterator[Trial]:
    """The trials of a file, in the order written."""
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_file(path) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            yield from trials_of_table(parquet.read_row_group(group))


def read_columns(uri: Uri, columns: Sequence[str]) -> pa.Table:
    """Some columns of all trials of a file, and no others read."""
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_file(path) as file:
        return pq.read_table(file, columns=list(columns))
