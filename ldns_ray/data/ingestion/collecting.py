"""A part for each file of a recording: in this process, or one task of Ray Data a file.

Ray is imported only inside the functions that need it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data.ingestion.parts import Part, make_part
from ldns_ray.data.ingestion.progress import Meter
from ldns_ray.data.ingestion.sources import Source
from ldns_ray.data.recordings import Reader

OURS = re.compile(r"[0-9a-f]{16}(-[0-9a-f]{8}\.parquet|\.json(\.[0-9a-f]{8}\.tmp)?)")
"""Files of a part, by name. The folder's owner may have recordings of his own in one called the same."""
MAX_REPORTED = 5
"""So many files' errors are told in full."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file: its part, or what is wrong with it. kept: an earlier run had read it."""

    label: str
    part: Part | None
    kept: bool = False
    error: str = ""


def collect(
    sources: Sequence[Source],
    outcomes: Iterator[Outcome],
    folder: str,
    meter: Meter,
) -> list[Part]:
    """The parts of all files, in their order, from the outcomes as they come.

    Raises ValueError telling of all files that cannot be read, once the others are.
    """
    sizes = {source.label: source.n_bytes for source in sources}
    done: dict[str, Outcome] = {}
    for outcome in outcomes:
        done[outcome.label] = outcome
        n_trials = outcome.part.n_trials if outcome.part is not None else 0
        meter.file(sizes[outcome.label], n_trials, kept=outcome.kept, failed=outcome.part is None)
    ordered = [done[source.label] for source in sources]
    errors = [outcome.error for outcome in ordered if outcome.part is None]
    if errors:
        _remove_if_empty(folder)
        raise ValueError(_told(errors, len(sources), folder))
    return [outcome.part for outcome in ordered if outcome.part is not None]


def _told(errors: Sequence[str], n_files: int, folder: str) -> str:
    if n_files == 1:
        return errors[0]
    lines = [f"{len(errors)} of {n_files} files cannot be read:", *errors[:MAX_REPORTED]]
    if len(errors) > MAX_REPORTED:
        lines.append(f"and {len(errors) - MAX_REPORTED} more.")
    if len(errors) < n_files:
        lines.append(
            f"{n_files - len(errors)} of {n_files} files are kept in {folder}: running the same command "
            "again reads only the rest."
        )
    return "\n".join(lines)


def one_by_one(
    sources: Sequence[Source], reader: Reader, folder: str, meter: Meter
) -> Iterator[Outcome]:
    """The outcomes of the files, read in this process."""
    for source in sources:
        yield _read(source, reader, folder, meter.trials)


def in_parallel(
    sources: Sequence[Source], reader: Reader, folder: str, connect: Callable[[], None] | None
) -> Iterator[Outcome]:
    """The outcomes, as they come, of a Ray Data task of one CPU for each file.

    connect: joins or starts Ray; None where it runs. Raises RuntimeError where it does not.
    """
    import ray
    import ray.data

    if connect is not None:
        connect()
    elif not ray.is_initialized():
        raise RuntimeError(
            "Ray is not running. Call ray.init(), or pass connect or parallel=False."
        )

    def task(row: dict[str, Any]) -> dict[str, Any]:
        outcome = _read(Source(**json.loads(row["source"])), reader, folder)
        return {"outcome": json.dumps(asdict(outcome))}

    # The largest first: none of them is left over for the end.
    order = sorted(sources, key=lambda source: -source.n_bytes)
    items = [{"source": json.dumps(asdict(source))} for source in order]
    files = ray.data.from_items(items, override_num_blocks=len(items))
    files.context.enable_progress_bars = False
    for row in files.map(task, num_cpus=1).iter_rows():
        outcome = json.loads(row["outcome"])
        part = outcome.pop("part")
        yield Outcome(**outcome, part=None if part is None else Part(**part))


def _read(
    source: Source, reader: Reader, folder: str, on_trials: Callable[[int], None] = lambda n: None
) -> Outcome:
    try:
        part, kept = make_part(source, reader, folder, on_trials)
    except ValueError as error:
        return Outcome(source.label, None, error=str(error))
    return Outcome(source.label, part, kept)


def prepare(folder: str) -> None:
    """Make the folder of parts; delete files of ours in it that were not written to their end."""
    with storage.reaching(folder):
        filesystem, path = storage.filesystem_of(folder)
        filesystem.create_dir(path, recursive=True)
    names = _names(folder)
    complete = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    for name in filter(OURS.fullmatch, names):
        if name.endswith(".tmp") or name.split("-")[0].removesuffix(".json") not in complete:
            filesystem.delete_file(f"{path}/{name}")


def remove_parts(folder: str) -> None:
    """Delete the parts, and their folder with them, unless there is something else in it."""
    filesystem, path = storage.filesystem_of(folder)
    for name in filter(OURS.fullmatch, _names(folder)):
        filesystem.delete_file(f"{path}/{name}")
    _remove_if_empty(folder)


def _remove_if_empty(folder: str) -> None:
    """Delete a folder of parts that has none."""
    if not _names(folder):
        storage.remove_folder(folder)


def _names(folder: str) -> list[str]:
    filesystem, path = storage.filesystem_of(folder)
    # On some object stores a folder is gone with its last file.
    there = pafs.FileSelector(path, allow_not_found=True)
    return [info.base_name for info in filesystem.get_file_info(there)]
