"""Whether a dataset's files are those that its card names: their sizes at once, their content by checksum."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data.card import Card, read_card
from ldns_ray.data.card_checks import REWRITE
from ldns_ray.storage import Uri

THREADS = 8
"""More than many machines have processors: shards of an object store are mostly waited for."""


@contextlib.contextmanager
def naming_shard(where: str) -> Iterator[None]:
    """What goes wrong while the shard `where` is read is told with its name, and what to do.

    A missing file stays a FileNotFoundError; what pyarrow cannot read becomes a ValueError, or an OSError where it was.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{where} is missing. {REWRITE}") from None
    except storage.UnreachableError:
        raise
    except (pa.ArrowException, OSError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        reason = str(error).splitlines()[0]
        raise kind(f"{where} cannot be read, or was changed: {reason}. {REWRITE}") from error


def check_sizes(uri: Uri, shards: Sequence[Mapping[str, Any]]) -> None:
    """Check that shards, entries of a card, are there with their sizes: one request each, no content.

    Raises FileNotFoundError or ValueError, naming the first that is missing or truncated.
    """
    with storage.reaching(uri):
        filesystem, folder = storage.filesystem_of(uri)
        infos = filesystem.get_file_info([f"{folder}/{shard['file']}" for shard in shards])
    bad: list[OSError | ValueError] = []
    for shard, info in zip(shards, infos, strict=True):
        where = storage.join(uri, shard["file"])
        if info.type != pafs.FileType.File:
            bad.append(FileNotFoundError(f"{where} is missing"))
        elif info.size != shard["n_bytes"]:
            bad.append(
                ValueError(
                    f"{where} must be {shard['n_bytes']} bytes, got {info.size}: truncated or changed"
                )
            )
    _raise_first(bad)


def verify_dataset(uri: Uri, split: str | None = None) -> Card:
    """The card, after every shard of a split, or of all, was compared with its checksum.

    Raises FileNotFoundError or ValueError naming the first shard that is missing, truncated or changed.
    """
    card = read_card(uri)
    shards = card.shards_of(split)
    check_sizes(uri, shards)
    filesystem, folder = storage.filesystem_of(uri)
    with storage.reaching(uri), ThreadPoolExecutor(THREADS) as threads:
        paths = [f"{folder}/{shard['file']}" for shard in shards]
        digests = list(threads.map(functools.partial(storage.digest_file, filesystem), paths))
    _raise_first(
        [
            ValueError(f"{storage.join(uri, shard['file'])} was changed: its checksum is another")
            for shard, got in zip(shards, digests, strict=True)
            if got != shard["sha256"]
        ]
    )
    return card


def _raise_first(bad: Sequence[OSError | ValueError]) -> None:
    """Raise the first, with the number of all, and what to do."""
    if not bad:
        return
    such = f" ({len(bad)} shards are wrong)" if len(bad) > 1 else ""
    raise type(bad[0])(f"{bad[0]}{such}. {REWRITE}")
