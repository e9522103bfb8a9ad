"""What a dataset says of itself: its card, the file dataset.json."""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from dataclasses import dataclass, fields
from typing import Any

import pyarrow.fs as pafs

from ldns_ray import storage
from ldns_ray.data.card_checks import REWRITE, check_fields
from ldns_ray.data.schema import SCHEMA_VERSION
from ldns_ray.storage import Uri

CARD_FILE = "dataset.json"
FREE_FIELDS = ("name", "source", "citation", "licence", "provenance", "warnings")
"""What may be edited by hand: it has no part in reading the trials, nor in the checksum."""


@dataclass(frozen=True)
class Card:
    """What a dataset holds: the content of its dataset.json.

    covariates, conditions: name -> {"size": channels, "unit": physical unit}.
    splits: split -> {"n_trials", "n_bins"}; only the splits that have trials.
    shards: one {"file", "split", "n_trials", "n_bins", "n_bytes", "sha256"} per Parquet file, which
        holds trials of one split alone. "n_bytes" is the size of the file.
    provenance: free JSON, such as simulator settings or the model a sample came from.
    warnings: what someone should know before training on it, a sentence each.
    """

    name: str
    n_units: int
    bin_width_s: float
    covariates: dict[str, dict[str, Any]]
    conditions: dict[str, dict[str, Any]]
    n_latents: int
    has_rates: bool
    splits: dict[str, dict[str, int]]
    min_bins: int
    max_bins: int
    shards: list[dict[str, Any]]
    source: str
    citation: str
    licence: str
    schema_version: int
    fingerprint: str
    provenance: dict[str, Any]
    unit_names: list[str]
    warnings: list[str]

    @property
    def n_trials(self) -> int:
        return sum(split["n_trials"] for split in self.splits.values())

    @property
    def checksum(self) -> str:
        """First 16 hex digits of a SHA-256 over all that matters for reading: all but `FREE_FIELDS`."""
        content = {key: value for key, value in self._content().items() if key not in FREE_FIELDS}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def shards_of(self, split: str | None = None) -> list[dict[str, Any]]:
        """The entries of the shards with trials of a split, or of all.

        Raises ValueError for a split that the dataset has not.
        """
        check_split(self, split)
        return [shard for shard in self.shards if split in (None, shard["split"])]

    def _content(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to_json(self) -> str:
        return json.dumps(self._content() | {"checksum": self.checksum}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = CARD_FILE) -> Card:
        """Parse a card; `where` is the file named in errors.

        Raises ValueError, naming the field, for whatever `to_json` cannot have written.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not valid JSON: {error}. {REWRITE}") from None
        if not isinstance(content, dict):
            raise ValueError(f"{where} must hold a JSON object, got {type(content).__name__}.")
        version = content.get("schema_version")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise ValueError(
                f"{where}: schema_version must be {SCHEMA_VERSION}, got {reprlib.repr(version)}. Read it with "
                "the release that wrote it, or ingest the recording again, with overwrite=True (--overwrite)."
            )
        names = [f.name for f in fields(cls)]
        missing = [name for name in (*names, "checksum") if name not in content]
        if missing:
            raise ValueError(f"{where}: missing {', '.join(missing)}. {REWRITE}")
        check_fields(content, where)
        card = cls(**{name: content[name] for name in names})
        if card.checksum != content["checksum"]:
            raise ValueError(
                f"{where} was changed: its checksum must be {reprlib.repr(content['checksum'])}, got "
                f"{card.checksum}. Only {', '.join(FREE_FIELDS)} may be edited. Undo that, or "
                f"{REWRITE[0].lower()}{REWRITE[1:]}"
            )
        return card


def check_split(card: Card, split: str | None) -> None:
    """Raises ValueError for a split that the dataset has not; None stands for all trials."""
    if split is not None and split not in card.splits:
        there = ", ".join(card.splits)
        raise ValueError(f"dataset {card.name!r} has no split {split!r}; there are: {there}.")


def find_card(uri: Uri) -> Card | None:
    """The card of the dataset under `uri`, or None where there is none.

    Raises ValueError for a card that is not valid, and where it or a shard is a link that leads out of the folder.
    """
    where = storage.join(uri, CARD_FILE)
    storage.refuse_links_out(uri, [CARD_FILE])
    with storage.reaching(uri):
        filesystem, folder = storage.filesystem_of(uri)
        path = f"{folder}/{CARD_FILE}"
        if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
            return None
        with filesystem.open_input_file(path) as file:
            content = file.read()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not valid JSON: {error}. {REWRITE}") from None
    card = Card.from_json(text, where)
    storage.refuse_links_out(uri, [shard["file"] for shard in card.shards])
    return card


def read_card(uri: Uri) -> Card:
    """The card of the dataset under `uri`; FileNotFoundError where there is none."""
    card = find_card(uri)
    if card is None:
        raise FileNotFoundError(
            f"No {CARD_FILE} under {os.fspath(uri)}. Write one with: python jobs/ingest.py --help"
        )
    return card
