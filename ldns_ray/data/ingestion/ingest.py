"""Recordings of many files to one dataset: the files in parallel, each read once, however often interrupted.

First each file becomes a part, beside the dataset to be; then the parts' trials get their splits and are
written as shards, and the parts removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from ldns_ray import storage
from ldns_ray.checks import one_of
from ldns_ray.data.card import Card, find_card
from ldns_ray.data.ingestion.collecting import (
    collect,
    in_parallel,
    one_by_one,
    prepare,
    remove_parts,
)
from ldns_ray.data.ingestion.parts import (
    PART_VERSION,
    Part,
    check_alike,
    describe_reader,
    read_marks,
    read_trials,
)
from ldns_ray.data.ingestion.progress import Meter, Progress
from ldns_ray.data.ingestion.sharing import STRATIFY, share_trials
from ldns_ray.data.ingestion.sources import Source, find_sources
from ldns_ray.data.publishing import is_whole, taken
from ldns_ray.data.recordings import Reader
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset
from ldns_ray.data.splits import share_out
from ldns_ray.storage import Uri

PARTS_FOLDER = "parts"

OnProgress = Callable[[Progress], None]


def ingest(
    files: Sequence[Uri],
    reader: Reader,
    uri: Uri,
    *,
    name: str,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    stratify: str = "auto",
    source: str = "",
    citation: str = "",
    licence: str = "",
    provenance: Mapping[str, Any] | None = None,
    shard_bytes: int = 96 * 2**20,
    overwrite: bool = False,
    parallel: bool | None = None,
    connect: Callable[[], None] | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> Card:
    """Read the files of a recording and write their trials as one dataset under `uri`.

    The same files, reader, fractions, seed and `stratify` give the same dataset, in any order of the files, in
    parallel or not, interrupted or not. After an interruption, or an error in some files, the same call reads
    only the files that are missing: what was read is kept in a folder `parts` under `uri` until the dataset is
    written. Files are known by their content, so one that was changed is read again.

    Of several files a trial's id is `label/id`, the label being the shortest end of the file's path that tells
    it from the others (`sources.labels`). Where a file names no session, the label is it.

    Args:
        files: paths or URIs; with Ray, all nodes must see them, and `uri`.
        reader: their format with its options.
        fractions: of train, val and test, for trials whose split the files leave open.
        stratify: "auto": within the strata that the files give, else those of equal session and labels
            (`sharing.automatic_strata`); "none": at random over all trials.
        provenance: further JSON for the card, beside "ingest": reader, files with their checksums, splits.
        overwrite: replace a dataset that is there. Without it, one of the same files and options is returned
            as it is, and any other refused before a file is read.
        parallel: through Ray Data, one CPU a file; None: where there are several files.
        connect: joins or starts Ray, where it is needed; without it, Ray must have been started.
        on_progress: called as files are done and trials written.

    Raises:
        ValueError: for options out of range; for all files that cannot be read, in one error; for files that
            do not fit together; for too few trials.
        FileNotFoundError: for files that are not there. FileExistsError: for another dataset under `uri`; the
            parts of an interrupted run are kept then.
    """
    share_out([], fractions)  # a wrong one would show hours later
    if stratify not in STRATIFY:
        raise ValueError(f"stratify must be {one_of(STRATIFY)}, got {stratify!r}.")
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}.")
    uri = storage.absolute(uri)
    folder = storage.join(uri, PARTS_FOLDER)
    sources = find_sources(files)
    choices = {
        "version": PART_VERSION,
        "reader": describe_reader(reader),
        "fractions": [float(share) for share in fractions],
        "seed": seed,
        "stratify": stratify,
    }
    card = None if overwrite else find_card(uri)
    if card is not None:
        _check_made_of(sources, choices, card, uri)
        if is_whole(uri, card):
            remove_parts(folder)
            return card

    prepare(folder)
    meter = Meter("read", len(sources), sum(s.n_bytes for s in sources), on_progress)
    if parallel or (parallel is None and len(sources) > 1):
        outcomes = in_parallel(sources, reader, folder, connect)
    else:
        outcomes = one_by_one(sources, reader, folder, meter)
    parts = collect(sources, outcomes, folder, meter)
    check_alike({s.given: part for s, part in zip(sources, parts, strict=True)})
    splits = _share_trials(parts, folder, fractions, seed, stratify)
    made_from = [
        {
            "label": file.label,
            "n_bytes": file.n_bytes,
            "sha256": part.content,
            "n_trials": part.n_trials,
            "dropped": part.dropped,
        }
        for file, part in zip(sources, parts, strict=True)
    ]
    card = write_dataset(
        _merged(sources, parts, splits, folder, on_progress),
        uri,
        name=name,
        bin_width_s=reader.bin_width_s,
        covariate_units=parts[0].covariate_units,
        condition_units=parts[0].condition_units,
        source=source,
        citation=citation,
        licence=licence,
        provenance={**(provenance or {}), "ingest": {**choices, "files": made_from}},
        unit_names=parts[0].unit_names,
        shard_bytes=shard_bytes,
        overwrite=overwrite,
    )
    remove_parts(folder)
    return card


def _check_made_of(
    sources: Sequence[Source], choices: Mapping[str, Any], card: Card, uri: str
) -> None:
    """Raise FileExistsError unless a dataset was made of these files with these choices."""
    made = card.provenance.get("ingest")
    if made is None:
        raise taken(uri, card, "made in another way")
    other = _differences(made, choices)
    files = [(file["label"], file["n_bytes"]) for file in made["files"]]
    if files != [(source.label, source.n_bytes) for source in sources]:
        other.append("files")
    elif not other:
        with ThreadPoolExecutor() as threads:
            digests = list(threads.map(storage.digest, [source.uri for source in sources]))
        if digests != [file["sha256"] for file in made["files"]]:
            other.append("content of the files")
    if other:
        raise taken(uri, card, f"made with other {', '.join(other)}")


def _differences(made: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """The choices that were others, with what they were; those of the reader one by one."""

    def differing(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
        return [
            f"{name} ({there.get(name)}, now {value})"
            for name, value in asked.items()
            if there.get(name) != value
        ]

    before, now = made["reader"], choices["reader"]
    others = {name: value for name, value in choices.items() if name != "reader"}
    if before["kind"] != now["kind"]:
        return ["format", *differing(made, others)]
    return differing(before["options"], now["options"]) + differing(made, others)


def _share_trials(
    parts: Sequence[Part], folder: str, fractions: Sequence[float], seed: int, stratify: str
) -> list[str]:
    """The splits of the parts' trials, one part after another."""
    marks = [read_marks(folder, part) for part in parts]

    def texts(column: str) -> list[str]:
        return [text for table in marks for text in table[column].to_pylist()]

    def rows(column: str, size: int) -> np.ndarray:
        chunks = [chunk for table in marks for chunk in table[column].chunks]
        return np.concatenate([chunk.flatten().to_numpy() for chunk in chunks]).reshape(-1, size)

    conditions = {
        name: rows(f"condition:{name}", size) for name, size in parts[0].condition_sizes.items()
    }
    own_strata: list[str | None] = []
    for part in parts:
        own_strata += part.strata or [None] * part.n_trials
    return share_trials(
        texts("split"),
        texts("session"),
        conditions,
        own_strata,
        fractions=fractions,
        seed=seed,
        stratify=stratify,
    )


def _merged(
    sources: Sequence[Source],
    parts: Sequence[Part],
    splits: Sequence[str],
    folder: str,
    on_progress: OnProgress,
) -> Iterator[Trial]:
    """The parts' trials with their ids and splits in the dataset."""
    meter = Meter(
        "write", len(sources), sum(s.n_bytes for s in sources), on_progress, of_trials=len(splits)
    )
    rest = iter(splits)
    for source, part in zip(sources, parts, strict=True):
        prefix = f"{source.label}/" if len(sources) > 1 else ""
        for trial in read_trials(folder, part):
            yield replace(trial, trial_id=f"{prefix}{trial.trial_id}", split=next(rest))
            meter.trials(1)
        meter.file(source.n_bytes, part.n_trials)
