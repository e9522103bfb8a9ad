from __future__ import annotations

import json

import pytest

from ldns_ray.data.card import Card


def card() -> Card:
    shard = {"file": "shard-00000.parquet", "sha256": "0", "n_trials": 1, "n_bytes": 1}
    return Card(
        name="x", n_units=1, bin_width_s=0.01, covariates={}, conditions={}, n_latents=0,
        has_rates=False, splits={"train": {"n_trials": 1, "n_bins": 4}}, min_bins=4, max_bins=4,
        shards=[shard], source="", citation="", licence="", schema_version=1, fingerprint="f",
        provenance={}, unit_names=["u"],
    )  # fmt: skip


def test_card_survives_json() -> None:
    assert Card.from_json(card().to_json()) == card()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "d.json: schema_version must be 1, got 2"),
        ({"n_units": None}, "d.json: missing n_units"),
        ({"shards": [{"file": "a"}]}, "a shard lacks n_bytes, n_trials, sha256"),
    ],
)
def test_unusable_cards_are_refused(changes: dict[str, object], message: str) -> None:
    content = json.loads(card().to_json()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        Card.from_json(json.dumps(content), "d.json")


@pytest.mark.parametrize("file", ["../x.parquet", "/etc/passwd", "a\\b", "..", "", "s3:x", 3])
def test_shard_names_with_paths_are_refused(file: object) -> None:
    content = json.loads(card().to_json())
    content["shards"][0]["file"] = file
    with pytest.raises(ValueError, match="shard files must be plain names"):
        Card.from_json(json.dumps(content))


def test_card_must_be_json() -> None:
    with pytest.raises(ValueError, match="d.json is not valid JSON"):
        Card.from_json("{", "d.json")
