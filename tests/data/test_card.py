from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldns_ray.data.card import FREE_FIELDS, Card

SHA256 = "0123456789abcdef" * 4


def card() -> Card:
    shard = {
        "file": f"train-00000-{SHA256[:16]}.parquet", "split": "train", "n_trials": 1, "n_bins": 4, "n_bytes": 1,
        "sha256": SHA256,
    }  # fmt: skip
    return Card(
        name="x", n_units=1, bin_width_s=0.01, covariates={"vel": {"size": 2, "unit": "m/s"}}, conditions={},
        n_latents=0, has_rates=False, splits={"train": {"n_trials": 1, "n_bins": 4}}, min_bins=4, max_bins=4,
        shards=[shard], source="", citation="", licence="", schema_version=2, fingerprint="0" * 16,
        provenance={}, unit_names=["u"], warnings=["Silent units: 1 of 1 (u)."],
    )  # fmt: skip


def altered(field: str, value: Any) -> str:
    """The card's JSON with another value at a path such as "shards.0.file"; checksum and all else as they were."""
    content: Any = json.loads(card().to_json())
    *path, last = [int(key) if key.isdecimal() else key for key in field.split(".")]
    inner = content
    for key in path:
        inner = inner[key]
    inner[last] = value
    return json.dumps(content)


def test_card_survives_json() -> None:
    assert Card.from_json(card().to_json()) == card()


@pytest.mark.parametrize("version", [1, 3, 99, "2", None, 2.0, True, [[]]])
def test_other_schema_versions_are_refused(version: object) -> None:
    told = (
        "d.json: schema_version must be 2, got .*release that wrote it.*ingest the recording again"
    )
    with pytest.raises(ValueError, match=told):
        Card.from_json(altered("schema_version", version), "d.json")


@pytest.mark.parametrize("field", ["n_units", "checksum", "shards", "warnings"])
def test_missing_fields_are_named(field: str) -> None:
    content = json.loads(card().to_json())
    del content[field]
    with pytest.raises(ValueError, match=f"d.json: missing {field}.*--overwrite"):
        Card.from_json(json.dumps(content), "d.json")


HUGE = 10**400


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", 3, "name must be a string, got 3"),
        ("citation", "\ud800", "citation must be Unicode text"),
        ("n_units", 0, "n_units must be a whole number from 1, got 0"),
        ("n_units", True, "n_units must be a whole number from 1, got True"),
        ("n_units", 1.0, "n_units must be a whole number"),
        ("n_units", HUGE, r"n_units must be a whole number from 1, got 1000.*\.\.\."),
        ("n_units", 2, "unit_names must be 2 names, got 1"),
        ("bin_width_s", 0, "bin_width_s must be a positive, finite number, got 0"),
        ("bin_width_s", float("nan"), "bin_width_s must be .* got nan"),
        ("bin_width_s", float("inf"), "bin_width_s must be .* got inf"),
        ("bin_width_s", HUGE, "bin_width_s must be a positive, finite number, got 1000"),
        ("bin_width_s", "0.01", "bin_width_s must be .* got '0.01'"),
        ("covariates", [], r"covariates must be an object, got \[\]"),
        ("covariates", {"": {"size": 1, "unit": ""}}, "covariates must be named"),
        ("covariates.vel", 2, r"covariates\['vel'\] must be an object with size, unit, got 2"),
        ("covariates.vel.size", -1, r"covariates\['vel'\].size must be a whole number from 0"),
        ("covariates.vel.unit", None, r"covariates\['vel'\].unit must be a string, got None"),
        ("n_latents", -1, "n_latents must be a whole number from 0, got -1"),
        ("has_rates", 1, "has_rates must be true or false, got 1"),
        ("splits", {}, "splits must be an object of some of train, val, test"),
        ("splits", {"valid": {"n_trials": 1, "n_bins": 4}}, "splits must be an object of some of"),
        ("splits.train.n_bins", "4", r"splits.train.n_bins must be a whole number from 1, got '4'"),
        ("splits.train.n_bins", 5, "splits must be what the shards hold, .*'n_bins': 4.* got"),
        ("min_bins", 5, "min_bins must be at most max_bins, 4, got 5"),
        ("max_bins", 0, "max_bins must be a whole number from 1, got 0"),
        ("shards", [], "shards must be a list of shards"),
        ("shards", [3], r"shards\[0\] must be an object with file, split, .*, got 3"),
        ("shards", [{"file": "a"}], r"shards\[0\] must be an object with file, split, n_trials"),
        ("shards.0.n_bytes", -1, r"shards\[0\].n_bytes must be a whole number from 1, got -1"),
        ("shards.0.sha256", "x", r"shards\[0\].sha256 must be 64 hexadecimal digits, got 'x'"),
        ("shards", card().shards * 2, "shards must be files without repetitions"),
        ("fingerprint", "g" * 16, "fingerprint must be 16 hexadecimal digits"),
        ("provenance", "p", "provenance must be an object, got 'p'"),
        ("unit_names", "u", "unit_names must be a list of strings, got 'u'"),
        ("unit_names", [1], r"unit_names\[0\] must be a string, got 1"),
        ("warnings", {}, "warnings must be a list of strings, got {}"),
    ],
)
def test_fields_of_other_types_and_ranges_are_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"d.json: {message}"):
        Card.from_json(altered(field, value), "d.json")


@pytest.mark.parametrize(
    "file",
    ["../x.parquet", "/etc/passwd", "a\\b", "..", "", "s3:x", 3, None, "train-00000-0123456789abcdef.parquet\n",
     "../train-00000-0123456789abcdef.parquet", "val-00000-0123456789abcdef.parquet",
     "train-00000-fedcba9876543210.parquet", "train-٠٠٠٠٠-0123456789abcdef.parquet"],
)  # fmt: skip
def test_shards_have_plain_names_of_their_split_and_content(file: object) -> None:
    told = r"d.json: shards\[0\].file must be a (plain name of its split and checksum|string)"
    with pytest.raises(ValueError, match=told):
        Card.from_json(altered("shards.0.file", file), "d.json")


@pytest.mark.parametrize(
    "text",
    ["{", "", "[" * 10**5, '{"schema_version": 2, "n_units": 1' + "0" * 5000 + "}", "\0", '{"a": nan}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="d.json is not valid JSON.*--overwrite"):
        Card.from_json(text, "d.json")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="d.json must hold a JSON object, got"):
        Card.from_json(text, "d.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [("bin_width_s", 0.02), ("unit_names", ["v"]), ("covariates.vel.unit", "cm/s"), ("n_latents", 1),
     ("fingerprint", "1" * 16), ("shards.0.n_bytes", 2), ("checksum", "0" * 16), ("checksum", [[]])],
)  # fmt: skip
def test_a_changed_card_is_refused(field: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match="d.json was changed: its checksum must be .*may be edited"
    ):
        Card.from_json(altered(field, value), "d.json")


@pytest.mark.parametrize("field", FREE_FIELDS)
def test_free_texts_may_be_edited(field: str) -> None:
    value: Any = {"provenance": {"a": [1]}, "warnings": ["Seen."]}.get(field, "other")
    edited = Card.from_json(altered(field, value), "d.json")
    assert edited == replace(card(), **{field: value})
    assert edited.checksum == card().checksum


def test_nothing_else_may_be_edited() -> None:
    """Every field that is not free has a part in the checksum."""
    changes: dict[str, Any] = {
        "n_units": 2, "bin_width_s": 0.5, "covariates": {}, "conditions": {"a": {"size": 1, "unit": ""}},
        "n_latents": 1, "has_rates": True, "splits": {}, "min_bins": 1, "max_bins": 9, "shards": [],
        "schema_version": 3, "fingerprint": "1", "unit_names": ["v"],
    }  # fmt: skip
    assert {*changes, *FREE_FIELDS} == set(Card.__dataclass_fields__)
    checksums = {replace(card(), **{name: value}).checksum for name, value in changes.items()}
    assert len({*checksums, card().checksum}) == len(changes) + 1


RUBBISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(HUGE)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES = [*Card.__dataclass_fields__, "checksum", "covariates.vel", "splits.train", "shards.0", "unit_names.0",
          "warnings.0", *(f"shards.0.{key}" for key in card().shards[0])]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(PLACES), value=RUBBISH)
def test_rubbish_is_refused_or_harmless(field: str, value: Any) -> None:
    told = ""
    try:
        read = Card.from_json(altered(field, value), "d.json")
    except ValueError as error:
        told = str(error)
    assert told.startswith("d.json") or (not told and read.checksum == card().checksum)
