"""Trials through one Parquet file, a group of them at a time: memory is that of a group."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ldns_ray.data.schema import Trial
from ldns_ray.data.tables import trials_table
from ldns_ray.storage import Uri, filesystem_of

GROUP_BYTES = 8 * 2**20
"""In memory, of the trials that are written together."""


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
    """Writes validated trials as Parquet, a row group whenever `GROUP_BYTES` have come together.

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
        arrays = [trial.spikes, *trial.covariates.values(), trial.rates, trial.latents]
        self._trials.append(trial)
        self._group_bytes += sum(array.nbytes for array in arrays if array is not None)
        if self._group_bytes >= GROUP_BYTES:
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
            self._writer = pq.ParquetWriter(self._stream, table.schema, compression="zstd")
        self._writer.write_table(table)
        self._on_trials(len(self._trials))
        self._trials, self._group_bytes = [], 0


def read_trials(uri: Uri) -> Iterator[Trial]:
    """The trials of a file, in the order written."""
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_file(path) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            yield from _trials_of(parquet.read_row_group(group))


def read_columns(uri: Uri, columns: Sequence[str]) -> pa.Table:
    """Some columns of all trials of a file, and no others read."""
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_file(path) as file:
        return pq.read_table(file, columns=list(columns))


def _trials_of(table: pa.Table) -> Iterator[Trial]:
    """The inverse of `trials_table`; arrays are views of the table's."""
    n_bins = table["n_bins"].to_pylist()

    def arrays(column: str) -> list[np.ndarray]:
        lists = table[column].combine_chunks()
        offsets, values = np.asarray(lists.offsets), lists.values.to_numpy()
        return [values[i:j] for i, j in zip(offsets[:-1], offsets[1:], strict=True)]

    def per_bin(column: str) -> list[np.ndarray]:
        return [a.reshape(n, -1) for n, a in zip(n_bins, arrays(column), strict=True)]

    def named(kind: str, read: Callable[[str], list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
        found = (name for name in table.column_names if name.startswith(f"{kind}:"))
        return {name.removeprefix(f"{kind}:"): read(name) for name in found}

    texts = [table[name].to_pylist() for name in ("trial_id", "session", "split")]
    spikes = per_bin("spikes")
    covariates, conditions = named("covariate", per_bin), named("condition", arrays)
    rates = per_bin("rates") if "rates" in table.column_names else None
    latents = per_bin("latents") if "latents" in table.column_names else None
    for i, (trial_id, session, split) in enumerate(zip(*texts, strict=True)):
        yield Trial(
            spikes=spikes[i],
            trial_id=trial_id,
            session=session,
            split=split,
            covariates={name: values[i] for name, values in covariates.items()},
            conditions={name: values[i] for name, values in conditions.items()},
            rates=None if rates is None else rates[i],
            latents=None if latents is None else latents[i],
        )
