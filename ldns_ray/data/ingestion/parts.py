"""One file of a recording as a part of a dataset to be: its trials, checked, in a Parquet file of their own.

A part is told by what it follows from: the file's content and label, the reader and its options. Its
description is written last, so a part is complete or not there; what is there is not read again.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data import parquet
from ldns_ray.data.ingestion.sources import Source
from ldns_ray.data.parquet import GroupWriter
from ldns_ray.data.recordings import Reader, Recording
from ldns_ray.data.schema import Trial, TrialChecker
from ldns_ray.data.splits import CHOICES
from ldns_ray.settings import fingerprint, to_dict

PART_VERSION = 1
"""Raised by hand when parts change, or what a reader makes of the same file with the same options."""

SAME_UNITS = (
    "All trials of a dataset have the same units: keep those that are in all of its sessions, or make a "
    "dataset of each session."
)


@dataclass(frozen=True)
class Part:
    """What a part holds.

    file: its Parquet file, in the folder of parts. sha256, n_bytes: of that file. content: SHA-256 of the
    file it was read from. unit_names, covariate_units, condition_units, strata, dropped: as in `Recording`.
    covariate_sizes, condition_sizes: name -> channels. n_latents: 0 where there are none.
    """

    file: str
    sha256: str
    n_bytes: int
    content: str
    n_trials: int
    n_units: int
    unit_names: list[str]
    covariate_sizes: dict[str, int]
    covariate_units: dict[str, str]
    condition_sizes: dict[str, int]
    condition_units: dict[str, str]
    n_latents: int
    has_rates: bool
    strata: list[str]
    dropped: dict[str, int]


def describe_reader(reader: Reader) -> dict[str, Any]:
    """A reader's kind and options, as JSON values."""
    return {"kind": type(reader).__name__, "options": to_dict(reader)}


def make_part(
    source: Source, reader: Reader, folder: str, on_trials: Callable[[int], None] = lambda n: None
) -> tuple[Part, bool]:
    """The part of one file, and whether it was there already.

    Memory is that of a group of trials, besides what the reader takes.
    folder: of parts, which is there. on_trials: called with the number of trials written, now and then.
    Raises ValueError, beginning with the file, for what is wrong with it or its trials, and for any OSError.
    """
    path = source.uri
    try:
        with storage.local_copy(source.uri) as path:
            before = _stamp(path)
            content = storage.digest(path)
            key = fingerprint(PART_VERSION, describe_reader(reader), content, source.label)
            part = _find_part(folder, key)
            if part is not None:
                return part, True
            part = _write_part(reader.read(path), source, folder, key, content, on_trials)
            if _stamp(path) != before:
                raise ValueError(
                    f"{path} was changed while it was read. Start again when it is whole."
                )
        filesystem, to = storage.filesystem_of(storage.join(folder, f"{key}.json"))
        storage.write_atomically(filesystem, to, json.dumps(asdict(part)).encode())
        return part, False
    except (ValueError, OSError) as error:
        # Of a remote file the reader knows its copy.
        text = str(error).replace(path, source.given)
        if not text.startswith(source.given):
            text = f"{source.given}: {text}"
        raise ValueError(text) from error


def _stamp(path: str) -> list[tuple[str, int, int]]:
    """What changes when a file is written, or one of a folder."""
    return [(name, info.size, info.mtime_ns) for name, info in storage.files_of(path).items()]


def _find_part(folder: str, key: str) -> Part | None:
    """A part that is there and whole."""
    try:
        part = Part(**json.loads(storage.read_bytes(storage.join(folder, f"{key}.json"))))
        # Nothing outside the folder is opened, whatever a description says.
        if not re.fullmatch(rf"{key}-[0-9a-f]{{8}}\.parquet", part.file):
            return None
        whole = storage.digest(storage.join(folder, part.file)) == part.sha256
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return part if whole else None


def _write_part(
    recording: Recording,
    source: Source,
    folder: str,
    key: str,
    content: str,
    on_trials: Callable[[int], None],
) -> Part:
    # A name of its own: should a process that was given up still be writing, it spoils nothing.
    file = f"{key}-{uuid.uuid4().hex[:8]}.parquet"
    filesystem, path = storage.filesystem_of(storage.join(folder, file))
    where = f"{source.given}: "
    checker = TrialChecker(splits=CHOICES)
    try:
        with (
            filesystem.open_output_stream(path) as stream,
            GroupWriter(stream, on_trials) as writer,
        ):
            for trial in recording.trials:
                trial = replace(trial, session=trial.session or source.label)
                writer.add(checker.check(trial, where))
            if not len(checker):
                reasons = ", ".join(f"{n} {reason}" for reason, n in recording.dropped.items())
                raise ValueError(
                    f"{where}no trials (left out: {reasons or 'none'}). Do without this file, or "
                    "change what is left out."
                )
            writer.finish()
    except BaseException:
        if filesystem.get_file_info(path).type != pafs.FileType.NotFound:
            filesystem.delete_file(path)
        raise
    assert len(recording.strata) in (0, len(checker)), "a stratum for each trial, or none"
    return Part(
        file=file,
        sha256=writer.sha256,
        n_bytes=writer.n_bytes,
        content=content,
        n_trials=len(checker),
        n_units=checker.n_units,
        unit_names=list(recording.unit_names),
        covariate_sizes=checker.covariate_sizes,
        covariate_units=dict(recording.covariate_units),
        condition_sizes=checker.condition_sizes,
        condition_units=dict(recording.condition_units),
        n_latents=checker.n_latents,
        has_rates=checker.has_rates,
        strata=list(recording.strata),
        dropped=dict(recording.dropped),
    )


def read_trials(folder: str, part: Part) -> Iterator[Trial]:
    """The trials of a part, in their file's order; memory is that of a group of trials."""
    yield from parquet.read_trials(storage.join(folder, part.file))


def read_marks(folder: str, part: Part) -> pa.Table:
    """What splits are shared out by: the columns session, split and condition:NAME of a part's trials."""
    columns = ["session", "split", *(f"condition:{name}" for name in sorted(part.condition_sizes))]
    return parquet.read_columns(storage.join(folder, part.file), columns)


def check_alike(parts: Mapping[str, Part]) -> None:
    """Raise ValueError for the first of some files, by their names, that does not fit the others."""
    (first, model), *others = parts.items()
    for file, part in others:
        if part.n_units != model.n_units:
            apart = sum(p.n_units != model.n_units for p in parts.values())
            raise ValueError(
                f"{file} has {part.n_units} units, {first} has {model.n_units} ({apart} of "
                f"{len(parts)} files differ from it). {SAME_UNITS}"
            )
        if part.unit_names != model.unit_names:
            here, there = _first_difference(part.unit_names, model.unit_names)
            raise ValueError(
                f"{file} and {first} name their {part.n_units} units differently ({here} and {there}). "
                f"{SAME_UNITS}"
            )
        for what, got, wanted in (
            ("covariates and their sizes", part.covariate_sizes, model.covariate_sizes),
            ("conditions and their sizes", part.condition_sizes, model.condition_sizes),
            ("units of covariates", part.covariate_units, model.covariate_units),
            ("units of conditions", part.condition_units, model.condition_units),
            ("number of latents", part.n_latents, model.n_latents),
            ("presence of rates", part.has_rates, model.has_rates),
        ):
            if got != wanted:
                raise ValueError(f"{file}: {what} must be {wanted} as in {first}, got {got}.")


def _first_difference(names: Sequence[str], others: Sequence[str]) -> tuple[str, str]:
    for name, other in zip(names, others, strict=False):
        if name != other:
            return repr(name), repr(other)
    return f"{len(names)} names", f"{len(others)} names"
