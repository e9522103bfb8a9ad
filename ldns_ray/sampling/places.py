"""What lies in the folder of a dataset that is being sampled: shards under their names, and records of those done.

A record is named by its plan's key, so no plan takes another's for its own. The records are removed once the card is
written; until then, whoever samples the same again finds what is done.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data.card import Card
from ldns_ray.data.publishing import find_present, taken
from ldns_ray.data.shard_records import ShardRecord
from ldns_ray.data.verification import THREADS
from ldns_ray.sampling.plan import Plan, Range

FOLDER = "ranges"
RECORD = re.compile(r"([0-9a-f]{16})-[0-9]{5,}\.parquet")
OURS = re.compile(rf"{RECORD.pattern}(\.[0-9a-f]{{8}}\.tmp)?")
"""Files of ours, by name: the folder's owner may have others in one called the same."""


def record_uri(out_uri: str, key: str, trials: Range) -> str:
    """Where the record of a range lies."""
    return storage.join(out_uri, FOLDER, f"{key}-{trials.number:05d}.parquet")


def check_free(plan: Plan, out_uri: str, overwrite: bool) -> Card | None:
    """The card of this plan's dataset, where it is there already; nothing is changed.

    Raises FileExistsError where another dataset is there, or the beginning of one, unless `overwrite`.
    """
    present = find_present(out_uri, overwrite)
    if overwrite:
        return None
    if present is not None:
        if present.provenance.get("request") != plan.key:
            raise taken(out_uri, present, "sampled otherwise")
        return present
    keys = [match[1] for name in _names(out_uri) if (match := RECORD.fullmatch(name))]
    if keys and plan.key not in keys:
        record = next(name for name in _names(out_uri) if name.startswith(keys[0]))
        about = ShardRecord.read(storage.join(out_uri, FOLDER, record)).about
        other = [
            f"{name} ({about.get(name)}, now {value})"
            for name, value in plan.choices.items()
            if about.get(name) != value
        ]
        raise FileExistsError(
            f"{out_uri} holds the beginning of another dataset, sampled with other {', '.join(other)}. Finish that one "
            "with its own command, choose another folder, or pass overwrite=True (--overwrite)."
        )
    return None


def done(plan: Plan, out_uri: str) -> list[Range]:
    """The ranges that have a record, and their shard with its size."""
    names = set(_names(out_uri))
    recorded = [
        trials for trials in plan.ranges if storage.name_of(record_uri(out_uri, plan.key, trials)) in names
    ]  # fmt: skip
    sizes = {info.base_name: info.size for info in _files(out_uri)}

    def is_there(trials: Range) -> bool:
        shard = ShardRecord.read(record_uri(out_uri, plan.key, trials)).shard
        return bool(sizes.get(shard["file"]) == shard["n_bytes"])

    with ThreadPoolExecutor(THREADS) as readers:
        whole = list(readers.map(is_there, recorded))
    return [trials for trials, there in zip(recorded, whole, strict=True) if there]


def remove_records(out_uri: str, but: str = "") -> None:
    """Delete the records of all plans, except that of the key `but`, and their folder if nothing is left in it."""
    folder = storage.join(out_uri, FOLDER)
    with storage.reaching(folder):
        filesystem, path = storage.filesystem_of(folder)
        for name in _names(out_uri):
            if OURS.fullmatch(name) and not (but and name.startswith(but)):
                filesystem.delete_file(f"{path}/{name}")
        if not _names(out_uri):
            storage.remove_folder(folder)


def _names(out_uri: str) -> list[str]:
    return [info.base_name for info in _files(storage.join(out_uri, FOLDER))]


def _files(uri: str) -> Sequence[pafs.FileInfo]:
    with storage.reaching(uri):
        filesystem, path = storage.filesystem_of(uri)
        # On some object stores a folder is gone with its last file.
        found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return [info for info in found if info.is_file]
