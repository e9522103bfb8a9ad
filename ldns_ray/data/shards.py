"""Datasets on disk: Parquet shards and a card; reading them with pyarrow or through Ray Data.

A dataset is a folder, local or any URI that pyarrow or fsspec understands. Its dataset.json is
written last, so a dataset is complete or not there. On disk a trial is plain Arrow: flat lists,
row-major over bins. In memory trials are ordered by trial_id, whatever the order on disk.
Ray is imported only inside the functions that need it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ldns_ray.data.batches import TrialSet, trials_of
from ldns_ray.data.card import Card
from ldns_ray.data.schema import SCHEMA_VERSION, SPLITS, Trial, TrialChecker
from ldns_ray.data.tables import column_names, trials_table, trialset_from_tables
from ldns_ray.storage import Uri, filesystem_of, write_atomically

if TYPE_CHECKING:
    import ray.data

CARD_FILE = "dataset.json"
STAGING_PREFIX = "incoming-"

__all__ = [
    "load_trials",
    "load_trialset",
    "read_card",
    "read_dataset",
    "verify_dataset",
    "write_dataset",
]


class _ShardWriter:
    """Collects trials and writes a Parquet shard whenever `shard_bytes` have come together."""

    def __init__(self, filesystem: pafs.FileSystem, folder: str, shard_bytes: int) -> None:
        self.filesystem, self.folder, self.shard_bytes = filesystem, folder, shard_bytes
        self.shards: list[dict[str, Any]] = []
        self.count_type = pa.uint8()
        self._trials: list[Trial] = []
        self._n_bytes = 0

    def add(self, trial: Trial) -> None:
        arrays = [trial.spikes, *trial.covariates.values(), trial.rates, trial.latents]
        self._trials.append(trial)
        self._n_bytes += sum(array.nbytes for array in arrays if array is not None)
        if trial.spikes.dtype == np.uint16:
            self.count_type = pa.uint16()
        if self._n_bytes >= self.shard_bytes:
            self._flush()

    def finish(self) -> list[dict[str, Any]]:
        if self._trials:
            self._flush()
        # One column type for all shards: those written before the first large count are widened.
        for shard in self.shards:
            if self.count_type == pa.uint16() and shard.pop("count_type") == pa.uint8():
                with self.filesystem.open_input_file(f"{self.folder}/{shard['file']}") as file:
                    table = pq.read_table(file)
                at = table.schema.get_field_index("spikes")
                column = table["spikes"].cast(pa.list_(pa.uint16()))
                shard |= self._write(shard["file"], table.set_column(at, "spikes", column))
            shard.pop("count_type", None)
        return self.shards

    def _flush(self) -> None:
        file = f"shard-{len(self.shards):05d}.parquet"
        shard = self._write(file, trials_table(self._trials, self.count_type))
        self.shards.append(shard | {"count_type": self.count_type})
        self._trials, self._n_bytes = [], 0

    def _write(self, file: str, table: pa.Table) -> dict[str, Any]:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=1024)
        content = sink.getvalue()
        with self.filesystem.open_output_stream(f"{self.folder}/{file}") as stream:
            stream.write(content)
        digest = hashlib.sha256(content).hexdigest()
        return {"file": file, "sha256": digest, "n_trials": len(table), "n_bytes": content.size}


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
    shard_bytes: int = 96 * 2**20,
    overwrite: bool = False,
) -> Card:
    """Write trials as a dataset, streaming: memory is that of one shard.

    covariate_units, condition_units: name -> physical unit, such as {"vel": "m/s"}.
    shard_bytes: uncompressed size at which a shard is closed.
    A complete dataset with the same fingerprint is left as it is; one with other content raises
    FileExistsError unless `overwrite`, which replaces either. What an
    interrupted write left behind is removed.
    Raises ValueError where a trial is invalid or does not fit those before it.
    """
    if not bin_width_s > 0:
        raise ValueError(f"bin_width_s must be positive, got {bin_width_s}.")
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}.")
    filesystem, folder = filesystem_of(uri)
    present = None if overwrite else _find_card(uri)
    staging = f"{folder}/{STAGING_PREFIX}{uuid.uuid4().hex[:12]}"
    # Beside a complete dataset nothing is written: its content is compared by fingerprint alone.
    writer = None if present else _ShardWriter(filesystem, staging, shard_bytes)
    if writer is not None:
        filesystem.create_dir(staging, recursive=True)
    try:
        checker = TrialChecker()
        for trial in trials:
            checked = checker.check(trial)
            if writer is not None:
                writer.add(checked)
        card = _make_card(
            checker, name, bin_width_s, covariate_units, condition_units, unit_names,
            {"source": source, "citation": citation, "licence": licence},
            dict(provenance or {}), writer.finish() if writer is not None else [],
        )  # fmt: skip
        if present is not None:
            if present.fingerprint == card.fingerprint:
                return present
            raise FileExistsError(
                f"{uri} holds another dataset (fingerprint {present.fingerprint}, the new one has "
                f"{card.fingerprint}). Choose another folder, or pass overwrite=True (--overwrite)."
            )
        _publish(filesystem, folder, staging, card)
        return card
    finally:
        if writer is not None and filesystem.get_file_info(staging).type != pafs.FileType.NotFound:
            filesystem.delete_dir(staging)


def _make_card(
    checker: TrialChecker,
    name: str,
    bin_width_s: float,
    covariate_units: Mapping[str, str] | None,
    condition_units: Mapping[str, str] | None,
    unit_names: Sequence[str] | None,
    texts: Mapping[str, str],
    provenance: dict[str, Any],
    shards: list[dict[str, Any]],
) -> Card:
    if not len(checker):
        raise ValueError(f"dataset {name!r} needs at least 1 trial, got none.")
    names = list(unit_names) if unit_names is not None else []
    names = names or [f"unit{i:03d}" for i in range(checker.n_units)]
    if len(names) != checker.n_units:
        raise ValueError(f"unit_names must name {checker.n_units} units, got {len(names)}.")
    units: dict[str, str] = {}
    sizes = {"covariate": checker.covariate_sizes, "condition": checker.condition_sizes}
    for kind, given in (("covariate", covariate_units), ("condition", condition_units)):
        unknown = sorted(set(given or {}) - set(sizes[kind]))
        if unknown:
            there = ", ".join(sorted(sizes[kind])) or "none"
            raise ValueError(f"no {kind} {unknown[0]!r} to give a unit to; there are: {there}.")
        units |= {f"{kind}:{key}": (given or {}).get(key, "") for key in sizes[kind]}

    def described(kind: str) -> dict[str, dict[str, Any]]:
        items = sorted(sizes[kind].items())
        return {key: {"size": size, "unit": units[f"{kind}:{key}"]} for key, size in items}

    return Card(
        name=name,
        n_units=checker.n_units,
        bin_width_s=float(bin_width_s),
        covariates=described("covariate"),
        conditions=described("condition"),
        n_latents=checker.n_latents,
        has_rates=checker.has_rates,
        splits={split: checker.splits[split] for split in SPLITS if split in checker.splits},
        min_bins=checker.min_bins,
        max_bins=checker.max_bins,
        shards=shards,
        schema_version=SCHEMA_VERSION,
        fingerprint=checker.fingerprint(bin_width_s, names, units),
        provenance=provenance,
        unit_names=names,
        **texts,
    )


def _publish(filesystem: pafs.FileSystem, folder: str, staging: str, card: Card) -> None:
    """Swap the staged shards in: old card first out, new card last in."""
    card_path = f"{folder}/{CARD_FILE}"
    if filesystem.get_file_info(card_path).type != pafs.FileType.NotFound:
        filesystem.delete_file(card_path)
    for info in filesystem.get_file_info(pafs.FileSelector(folder)):
        if fnmatch(info.base_name, "shard-*.parquet") or fnmatch(
            info.base_name, f"{CARD_FILE}.*.tmp"
        ):
            filesystem.delete_file(info.path)
        elif info.base_name.startswith(STAGING_PREFIX) and info.base_name != Path(staging).name:
            filesystem.delete_dir(info.path)
    for shard in card.shards:
        filesystem.move(f"{staging}/{shard['file']}", f"{folder}/{shard['file']}")
    write_atomically(filesystem, card_path, card.to_json().encode())


def _find_card(uri: Uri) -> Card | None:
    filesystem, folder = filesystem_of(uri)
    path = f"{folder}/{CARD_FILE}"
    if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
        return None
    with filesystem.open_input_file(path) as file:
        return Card.from_json(file.read().decode(), where=f"{uri}/{CARD_FILE}")


def read_card(uri: Uri) -> Card:
    """The card of the dataset under `uri`; FileNotFoundError where there is none."""
    card = _find_card(uri)
    if card is None:
        raise FileNotFoundError(
            f"No {CARD_FILE} under {uri}. Write one with: python jobs/ingest.py --help"
        )
    return card


def verify_dataset(uri: Uri) -> Card:
    """The card, after every shard was compared with its checksum.

    Raises FileNotFoundError or ValueError naming the shard that is missing, truncated or changed.
    """
    card = read_card(uri)
    filesystem, folder = filesystem_of(uri)
    for shard in card.shards:
        where = f"{uri}/{shard['file']}"
        info = filesystem.get_file_info(f"{folder}/{shard['file']}")
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(
                f"{where} is missing. Write it again, with overwrite=True (--overwrite)."
            )
        if info.size != shard["n_bytes"]:
            raise ValueError(
                f"{where} must be {shard['n_bytes']} bytes, got {info.size}: truncated or changed. "
                "Write it again, with overwrite=True (--overwrite)."
            )
        digest = hashlib.sha256()
        with filesystem.open_input_stream(f"{folder}/{shard['file']}") as stream:
            while block := stream.read(2**22):
                digest.update(block)
        if digest.hexdigest() != shard["sha256"]:
            raise ValueError(
                f"{where} was changed. Write it again, with overwrite=True (--overwrite)."
            )
    return card


def _shard_paths(uri: Uri, card: Card) -> tuple[pafs.FileSystem, list[str]]:
    filesystem, folder = filesystem_of(uri)
    return filesystem, [f"{folder}/{shard['file']}" for shard in card.shards]


def check_split(card: Card, split: str | None) -> None:
    if split is not None and split not in card.splits:
        there = ", ".join(card.splits)
        raise ValueError(f"dataset {card.name!r} has no split {split!r}; there are: {there}.")


def _read_table(uri: Uri, card: Card, split: str | None, columns: Sequence[str] | None) -> pa.Table:
    check_split(card, split)
    filesystem, paths = _shard_paths(uri, card)
    source = pds.dataset(paths, format="parquet", filesystem=filesystem)
    keep = None if split is None else pds.field("split") == split
    return source.to_table(columns=column_names(card, columns), filter=keep)


def load_trialset(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> TrialSet:
    """A split, or all trials, in memory, without Ray.

    columns: read only these of the optional columns, such as ["covariate:vel", "latents"].
    """
    card = read_card(uri)
    return trialset_from_tables([_read_table(uri, card, split, columns)], card)


def load_trials(uri: Uri, split: str | None = None) -> list[Trial]:
    """A split, or all trials, as `Trial`s, without Ray."""
    card = read_card(uri)
    table = _read_table(uri, card, split, None)
    splits = dict(zip(table["trial_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    trials = trialset_from_tables([table], card)
    return trials_of(trials, [splits[trial_id] for trial_id in trials.trial_ids])


def read_dataset(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> ray.data.Dataset:
    """A split, or all trials, as a Ray dataset of Arrow blocks with the columns of `tables`.

    columns: read only these of the optional columns. Raises ValueError for an unknown split.
    """
    import ray.data
    import ray.data.expressions

    card = read_card(uri)
    check_split(card, split)
    filesystem, paths = _shard_paths(uri, card)
    trials = ray.data.read_parquet(paths, filesystem=filesystem, partitioning=None)
    if split is not None:
        trials = trials.filter(expr=ray.data.expressions.col("split") == split)
    # Ray pushes both into the read: other columns are not read, other trials not kept.
    return trials.select_columns(column_names(card, columns))
