"""What a dataset says of itself: its card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from ldns_ray.data.schema import SCHEMA_VERSION


@dataclass(frozen=True)
class Card:
    """What a dataset holds: the content of its dataset.json.

    covariates, conditions: name -> {"size": channels, "unit": physical unit}.
    splits: split -> {"n_trials", "n_bins"}; only the splits that have trials.
    shards: one {"file", "sha256", "n_trials", "n_bytes"} per Parquet file.
    provenance: free JSON, such as simulator settings or the model a sample came from.
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

    @property
    def n_trials(self) -> int:
        return sum(split["n_trials"] for split in self.splits.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "dataset.json") -> Card:
        """Parse a card; `where` is the file named in errors (ValueError)."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where} is not valid JSON: {error}. Write the dataset again."
            ) from None
        if not isinstance(content, dict):
            raise ValueError(f"{where} must hold a JSON object, got {type(content).__name__}.")
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{where}: schema_version must be {SCHEMA_VERSION}, got {version!r}. "
                "Read it with the release that wrote it, or ingest the recording again."
            )
        names = [f.name for f in fields(cls)]
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"{where}: missing {', '.join(missing)}. Write the dataset again.")
        _check_shards(content["shards"], where)
        return cls(**{name: content[name] for name in names})


def _check_shards(shards: Any, where: str) -> None:
    if not isinstance(shards, list):
        raise ValueError(f"{where}: shards must be a list, got {type(shards).__name__}.")
    for shard in shards:
        missing = {"file", "sha256", "n_trials", "n_bytes"} - set(shard)
        if missing:
            raise ValueError(f"{where}: a shard lacks {', '.join(sorted(missing))}, got {shard}.")
        file = shard["file"]
        if not isinstance(file, str) or file in ("", ".", "..") or set(file) & set("/\\:"):
            raise ValueError(f"{where}: shard files must be plain names, got {file!r}.")
