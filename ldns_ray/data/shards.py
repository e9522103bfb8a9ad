"""Datasets on disk: Parquet shards and a card; reading them with pyarrow or through Ray Data.

A dataset is a folder, local or any URI that pyarrow or fsspec understands. Shards hold trials of one split
and are named after their content; dataset.json, the card, is written last and says which belong to the
dataset. So at any moment a folder holds the whole old dataset or the whole new one, and no file is moved.
On disk a trial is plain Arrow: flat lists, row-major over bins. In memory trials are ordered by trial_id,
whatever the order on disk. Ray is imported only inside the functions that need it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card, find_card, read_card
from ldns_ray.data.card_checks import REWRITE
from ldns_ray.data.card_writer import CardWriter
from ldns_ray.data.publishing import check_same, find_present, is_whole, publish
from ldns_ray.data.schema import Trial
from ldns_ray.data.shard_writer import SHARD_BYTES, ShardWriter
from ldns_ray.data.tables import (
    check_table,
    column_names,
    trials_of_table,
    trialset_from_tables,
)
from ldns_ray.data.verification import THREADS, check_sizes, naming_shard, verify_dataset
from ldns_ray.storage import Uri

if TYPE_CHECKING:
    import ray.data

__all__ = [
    "load_trials",
    "load_trialset",
    "read_card",
    "read_dataset",
    "verify_dataset",
    "write_dataset",
]

PARQUET = pds.ParquetFileFormat(
    default_fragment_scan_options=pds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
"""Notices a changed page, without the checksum of the whole file."""


def write_dataset(
    trials: Iterable[Trial],
    uri: Uri,
    *,
    name: str,
    bin_width_s: float,
    covariate_units: Mapping[str, str] | None = None,
    condition_units: Mapping[str, str] | None = None,
    source: str = "",
    citation: str = "",
    licence: str = "",
    provenance: Mapping[str, Any] | None = None,
    unit_names: Sequence[str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> Card:
    """Write trials as a dataset, streaming: memory is that of at most one shard per split.

    covariate_units, condition_units: name -> physical unit, such as {"vel": "m/s"}.
    shard_bytes: uncompressed size at which a shard is closed.
    A complete dataset with the same fingerprint is left as it is; one with other content raises
    FileExistsError unless `overwrite`, which replaces either. Whenever this process ends, the old dataset
    or the new one is there, whole; what an interrupted write left behind is removed by the next.
    Raises ValueError where a trial is invalid or does not fit those before it.
    """
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}.")
    cards = CardWriter(
        bin_width_s=bin_width_s, unit_names=unit_names, covariate_units=covariate_units,
        condition_units=condition_units, provenance=provenance,
        texts={"name": name, "source": source, "citation": citation, "licence": licence},
    )  # fmt: skip
    with storage.reaching(uri):
        filesystem, folder = storage.filesystem_of(uri)
        present = find_present(uri, overwrite)
        # Beside a complete dataset nothing is written: its content is compared by fingerprint alone.
        writer = None
        if overwrite or present is None or not is_whole(uri, present):
            filesystem.create_dir(folder, recursive=True)
            writer = ShardWriter(filesystem, folder, shard_bytes)
    try:
        for trial in trials:
            checked = cards.add(trial)
            if writer is not None:
                with storage.reaching(uri):
                    writer.add(checked)
        fingerprint = cards.fingerprint()
        if present is not None and not overwrite:
            check_same(uri, present, fingerprint)
            if writer is None:
                return present
        assert writer is not None
        with storage.reaching(uri):
            shards = writer.finish()
        return publish(uri, cards.card(shards), overwrite)
    finally:
        if writer is not None:
            _discard_unnamed(uri, writer)


def _discard_unnamed(uri: Uri, writer: ShardWriter) -> None:
    """Remove what a write that failed, or was overtaken by another, has made."""
    # Where the card cannot be read, there is no telling what it names; the next write removes what is left.
    with contextlib.suppress(OSError, ValueError):
        card = find_card(uri)
        writer.discard(keep={shard["file"] for shard in card.shards} if card else set())


def _read_shard(
    uri: Uri, filesystem: pafs.FileSystem, folder: str, shard: Mapping[str, Any],
    columns: Sequence[str], card: Card,
) -> pa.Table:  # fmt: skip
    where = storage.join(uri, shard["file"])
    with naming_shard(where):
        source = pds.dataset([f"{folder}/{shard['file']}"], format=PARQUET, filesystem=filesystem)
        table = source.to_table(columns=list(columns))
        check_table(table, card, where)
    held = {
        "trials": (len(table), shard["n_trials"]),
        "bins": (table["n_bins"].to_numpy().sum(dtype=np.int64), shard["n_bins"]),
        f"trials of {shard['split']}": (
            table["split"].to_pylist().count(shard["split"]),
            len(table),
        ),
    }
    for what, (got, wanted) in held.items():
        if got != wanted:
            raise ValueError(
                f"{where} was changed: it must hold {wanted} {what}, got {got}. {REWRITE}"
            )
    return table


def _read_tables(
    uri: Uri, card: Card, split: str | None, columns: Sequence[str] | None
) -> list[pa.Table]:
    names = column_names(card, columns)
    shards = card.shards_of(split)
    with storage.reaching(uri):
        filesystem, folder = storage.filesystem_of(uri)
    with ThreadPoolExecutor(THREADS) as threads:
        tables = list(
            threads.map(lambda s: _read_shard(uri, filesystem, folder, s, names, card), shards)
        )
    ids = [trial_id for table in tables for trial_id in table["trial_id"].to_pylist()]
    if len(set(ids)) < len(ids):
        raise ValueError(f"{os.fspath(uri)}: trial ids must be unique, some occur twice. {REWRITE}")
    return tables


def load_trialset(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> TrialSet:
    """A split, or all trials, in memory, without Ray.

    columns: read only these of the optional columns, such as ["covariate:vel", "latents"].
    Raises ValueError or OSError, naming the file, for one that is not as the card describes it.
    """
    card = read_card(uri)
    return trialset_from_tables(_read_tables(uri, card, split, columns), card)


def load_trials(uri: Uri, split: str | None = None) -> list[Trial]:
    """A split, or all trials, as `Trial`s, without Ray."""
    card = read_card(uri)
    tables = _read_tables(uri, card, split, None)
    trials = [trial for table in tables for trial in trials_of_table(table)]
    return sorted(trials, key=lambda trial: trial.trial_id)


def read_dataset(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> ray.data.Dataset:
    """A split, or all trials, as a Ray dataset of Arrow blocks with the columns of `tables`.

    columns: read only these of the optional columns. Only files of the split are opened.
    Raises ValueError for an unknown split, and where a file is missing or truncated.
    """
    import ray.data

    card = read_card(uri)
    shards = card.shards_of(split)
    check_sizes(uri, shards)
    filesystem, folder = storage.filesystem_of(uri)
    paths = [f"{folder}/{shard['file']}" for shard in shards]
    trials = ray.data.read_parquet(paths, filesystem=filesystem, partitioning=None)
    # Ray pushes it into the read: other columns are not read.
    return trials.select_columns(column_names(card, columns))
