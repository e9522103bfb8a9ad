"""From shards that lie in a folder to the dataset that its card says is there."""

from __future__ import annotations

import os
import re

import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data.card import CARD_FILE, Card, find_card
from ldns_ray.data.card_checks import SHARD_NAME
from ldns_ray.data.verification import check_sizes
from ldns_ray.storage import Uri

OURS = re.compile(
    rf"({SHARD_NAME.pattern}|{re.escape(CARD_FILE)})\.[0-9a-f]{{8}}\.tmp"
    rf"|{SHARD_NAME.pattern}|shard-[0-9]{{5}}\.parquet"
)
"""Shards, also of schema version 1, and whatever was about to be renamed when its writer was killed."""
LEFTOVER_S = 60.0
"""Of our files that no card names, older ones are taken for those of a writer that was killed. A younger one may be
of a writer at work, which would otherwise find it missing, and fail."""


def is_whole(uri: Uri, card: Card) -> bool:
    """Whether all shards of a card are there with their sizes."""
    try:
        check_sizes(uri, card.shards)
    except (FileNotFoundError, ValueError):
        return False
    return True


def check_same(uri: Uri, present: Card, fingerprint: str) -> None:
    """Raises FileExistsError if the dataset that is there is another."""
    if present.fingerprint != fingerprint:
        raise taken(uri, present, f"the new one has {fingerprint}")


def taken(uri: Uri, present: Card, how: str) -> FileExistsError:
    """The error for a folder that holds another dataset. how: it is another."""
    return FileExistsError(
        f"{os.fspath(uri)} holds another dataset (fingerprint {present.fingerprint}), {how}. Choose another "
        "folder, or pass overwrite=True (--overwrite)."
    )


def publish(uri: Uri, card: Card, overwrite: bool) -> Card:
    """Make the shards of a card the dataset under `uri`; the card that is then there.

    It is another's where the same dataset was finished meanwhile. Raises FileExistsError where a different one
    was, unless `overwrite`, and FileNotFoundError where another writer has removed shards of this one.
    """
    present = find_present(uri, overwrite)
    if present is not None and not overwrite:
        check_same(uri, present, card.fingerprint)
        if is_whole(uri, present):
            return present
    with storage.reaching(uri):
        filesystem, folder = storage.filesystem_of(uri)
        _check_undisturbed(uri, card)
        storage.write_atomically(filesystem, f"{folder}/{CARD_FILE}", card.to_json().encode())
        _remove_unnamed(filesystem, folder, card, present)
        _check_undisturbed(uri, card)
    return card


def find_present(uri: Uri, overwrite: bool) -> Card | None:
    """The card that is there, if any. Raises ValueError for one that cannot be read, unless it may be overwritten."""
    try:
        return find_card(uri)
    except ValueError:
        if overwrite:
            return None  # whatever it was
        raise


def _check_undisturbed(uri: Uri, card: Card) -> None:
    if not is_whole(uri, card):
        raise FileNotFoundError(
            f"{os.fspath(uri)} was written by another process at the same time, which removed shards of this "
            "dataset. Choose another folder, or write it again when the other has ended."
        )


def _remove_unnamed(
    filesystem: pafs.FileSystem, folder: str, card: Card, replaced: Card | None
) -> None:
    """Remove the shards of the card that was replaced, and what killed writers left, but nothing of `card`."""
    named = {shard["file"] for shard in card.shards}
    old = {shard["file"] for shard in replaced.shards} if replaced is not None else set()
    infos = filesystem.get_file_info(pafs.FileSelector(folder))
    # By the clock of the store: it has just written the card.
    now_ns = max((info.mtime_ns or 0 for info in infos if info.base_name == CARD_FILE), default=0)
    for info in infos:
        if not (info.is_file and OURS.fullmatch(info.base_name)) or info.base_name in named:
            continue
        age_s = (now_ns - info.mtime_ns) / 1e9 if info.mtime_ns is not None else 0.0
        if info.base_name in old or age_s > LEFTOVER_S:
            filesystem.delete_file(info.path)
