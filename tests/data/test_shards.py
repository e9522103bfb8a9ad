from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldns_ray.data import shard_writer, shards
from ldns_ray.data.schema import Trial
from ldns_ray.data.tables import trialset_from_tables
from tests.data.datasets import (
    assert_same,
    files,
    in_order,
    interrupted,
    named,
    ragged,
    wide,
    write,
)
from tests.data.strategies import HOSTILE, anything


@settings(max_examples=30, deadline=None)
@given(trials=anything(), n_shards=st.integers(1, 9))
def test_what_goes_in_comes_out(trials: list[Trial], n_shards: int) -> None:
    n_bytes = sum(trial.spikes.nbytes for trial in in_order(trials))
    with tempfile.TemporaryDirectory() as name:
        card = write(trials, name, shard_bytes=max(1, n_bytes // n_shards))
        assert_same(shards.load_trials(name), in_order(trials))
        assert card == shards.read_card(name) == shards.verify_dataset(name)
        assert files(Path(name)) == named(card)
        for split in card.splits:
            wanted = [trial for trial in in_order(trials) if trial.split == split]
            assert_same(shards.load_trials(name, split), wanted)


@settings(max_examples=25, deadline=None)
@given(n_trials=st.integers(1, 9), seed=st.integers(0, 2**16), full=st.booleans())
def test_fingerprint_is_the_same_for_any_layout(n_trials: int, seed: int, full: bool) -> None:
    trials = ragged(n_trials, seed, full)
    with tempfile.TemporaryDirectory() as name:
        many = write(trials, Path(name, "many"), shard_bytes=1)
        assert len(many.shards) == n_trials
        few = write(trials[::-1], Path(name, "few"))
        assert len(few.shards) == len(few.splits)
        assert few.fingerprint == many.fingerprint


def test_a_shard_holds_one_split_and_is_named_after_its_content(tmp_path: Path) -> None:
    trials = ragged()
    card = write(trials, tmp_path, shard_bytes=2000)
    assert len(card.shards) > 4
    for shard in card.shards:
        table = pq.read_table(tmp_path / shard["file"])
        assert set(table["split"].to_pylist()) == {shard["split"]}
        assert shard["n_trials"] == len(table)
        assert shard["n_bins"] == sum(table["n_bins"].to_pylist())
    numbers = {s: [x["file"][:-25] for x in card.shards_of(s)] for s in card.splits}
    assert numbers["val"] == [f"val-{i:05d}" for i in range(len(numbers["val"]))]
    assert numbers["train"] == [f"train-{i:05d}" for i in range(len(numbers["train"]))]
    assert all(shard["file"][-24:-8] == shard["sha256"][:16] for shard in card.shards)


def test_reading_a_split_opens_its_files_alone(tmp_path: Path) -> None:
    card = write(ragged(), tmp_path)
    for shard in card.shards_of("val"):
        (tmp_path / shard["file"]).unlink()
    assert len(shards.load_trialset(tmp_path, "train")) == 20
    assert shards.verify_dataset(tmp_path, "train") == card
    with pytest.raises(FileNotFoundError, match=r"val-00000-\w+.parquet is missing.*--overwrite"):
        shards.load_trialset(tmp_path)


def test_columns_on_disk_are_plain_arrow(tmp_path: Path) -> None:
    card = write(ragged(), tmp_path)
    schema = pq.read_schema(tmp_path / card.shards[0]["file"])
    floats = ["covariate:vel", "condition:angle", "rates", "latents"]
    assert {field.name: str(field.type) for field in schema} == {
        "trial_id": "string", "session": "string", "split": "string", "n_bins": "int32",
        "spikes": "list<element: uint8 not null>", **dict.fromkeys(floats, "list<element: float not null>"),
    }  # fmt: skip
    assert not any(field.nullable for field in schema)


def test_all_shards_have_one_type_of_counts(tmp_path: Path) -> None:
    trials = ragged()
    trials[-2] = wide(trials[-2])
    assert trials[-2].split == "train"
    card = write(trials, tmp_path, shard_bytes=2000)
    assert len(card.shards) > 4
    assert files(tmp_path) == named(card)
    for shard in card.shards:
        kind = pq.read_schema(tmp_path / shard["file"]).field("spikes").type.value_type
        assert kind == pa.uint16()
    assert_same(shards.load_trials(tmp_path), trials)
    shards.verify_dataset(tmp_path)


def test_a_large_count_amid_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row groups before it are of uint8 already."""
    monkeypatch.setattr(shard_writer, "ROW_GROUP_BYTES", 1000)
    trials = ragged()
    trials[20] = wide(trials[20])
    card = write(trials, tmp_path)
    assert_same(shards.load_trials(tmp_path), trials)
    assert files(tmp_path) == named(card)
    groups = [pq.ParquetFile(tmp_path / shard["file"]).num_row_groups for shard in card.shards]
    assert max(groups) > 2


def test_memory_of_a_write_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n_trials, highest = 240, 0

    def stream() -> Iterator[Trial]:
        nonlocal highest
        for i in range(n_trials):
            highest = max(highest, tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
            spikes = rng.integers(0, 256, (1000, 100), dtype=np.uint8)
            yield Trial(spikes, f"{i:04d}", "s", ("train", "val", "test")[i % 3])

    before = pa.total_allocated_bytes()
    tracemalloc.start()
    card = shards.write_dataset(stream(), tmp_path, name="x", bin_width_s=0.01, shard_bytes=2**20)
    tracemalloc.stop()
    assert len(card.shards) > 20
    assert highest - before < 0.3 * n_trials * 10**5


def test_card_tells_what_is_there(tmp_path: Path) -> None:
    trials = ragged()
    units = {"covariate_units": {"vel": "m/s"}, "condition_units": {"angle": "rad"}}
    write(trials, tmp_path / "d", citation="Someone 2024", provenance={"seed": 1}, **units)
    card = shards.read_card(tmp_path / "d")
    assert card.covariates == {"vel": {"size": 2, "unit": "m/s"}}
    assert card.conditions == {"angle": {"size": 2, "unit": "rad"}}
    assert (card.n_units, card.n_latents, card.has_rates) == (5, 3, True)
    assert card.splits["val"] == {
        "n_trials": 10, "n_bins": sum(t.n_bins for t in trials if t.split == "val"),
    }  # fmt: skip
    assert card.max_bins == max(t.n_bins for t in trials)
    assert (card.citation, card.provenance) == ("Someone 2024", {"seed": 1})
    assert card.unit_names == ["unit000", "unit001", "unit002", "unit003", "unit004"]


def test_card_warns_and_its_fingerprint_does_not_depend_on_that(tmp_path: Path) -> None:
    trials = [replace(trial, spikes=0 * trial.spikes) for trial in ragged()]
    card = write(trials, tmp_path)
    assert any(text.startswith("Silent units: 5 of 5") for text in card.warnings)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["Seen."]}))
    assert shards.read_card(tmp_path) == replace(card, warnings=["Seen."])
    assert write(trials, tmp_path).warnings == ["Seen."]


def test_split_and_columns_are_pruned(tmp_path: Path) -> None:
    trials = ragged()
    write(trials, tmp_path / "d", shard_bytes=2000)
    val = shards.load_trialset(tmp_path / "d", "val", columns=["latents"])
    wanted = [trial for trial in trials if trial.split == "val"]
    assert val.trial_ids == [trial.trial_id for trial in wanted]
    np.testing.assert_array_equal(val.latents_list()[4], wanted[4].latents)
    assert val.rates is None
    assert not val.covariates
    assert not val.conditions
    for read in (
        shards.load_trialset,
        shards.load_trials,
        shards.read_dataset,
        shards.verify_dataset,
    ):
        with pytest.raises(ValueError, match="no split 'test'; there are: train, val"):
            read(tmp_path / "d", "test")
    with pytest.raises(ValueError, match="no column 'pos'; there are: .*covariate:vel"):
        shards.load_trialset(tmp_path / "d", columns=["pos"])


def test_missing_dataset_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No dataset.json under .*/d\. Write one with"):
        shards.read_card(tmp_path / "d")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin_width_s": 0.0}, "bin_width_s must be positive, got 0.0"),
        ({"bin_width_s": -0.01}, "bin_width_s must be positive, got -0.01.*0.005 for bins of 5 ms"),
        ({"bin_width_s": np.nan}, "bin_width_s must be positive, got nan.*finite"),
        ({"bin_width_s": np.inf}, "bin_width_s must be positive, got inf.*finite"),
        ({"bin_width_s": "5"}, "bin_width_s must be positive, got '5'"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1, got 0"),
        ({"unit_names": ["a"]}, "unit_names must name 5 units, got 1"),
        ({"unit_names": [1, 2, 3, 4, 5]}, r"unit_names\[0\] must be a string, got 1"),
        ({"covariate_units": {"pos": "m"}}, "no covariate 'pos' .*; there are: vel"),
        ({"covariate_units": {"vel": 3}}, "unit of covariate 'vel' must be a string, got 3"),
        ({"citation": None}, "citation must be a string, got None"),
        ({"name": "\ud800"}, "name must be Unicode text"),
        ({"provenance": {"model": object()}}, "provenance must be numbers, strings, .*object"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(ragged(), tmp_path / "d", **options)
    assert not (tmp_path / "d").exists() or files(tmp_path / "d") == []


def test_no_trials_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'x' needs at least 1 trial, got none"):
        write([], tmp_path / "d")


def test_invalid_trials_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    trials = ragged()
    trials[20] = replace(trials[20], spikes=trials[20].spikes - 1.0)
    with pytest.raises(
        ValueError, match="trial 't020', bin .*, unit .*: spike counts must not be neg"
    ):
        write(trials, tmp_path / "d", shard_bytes=500)
    assert files(tmp_path / "d") == []


def test_uris_work_and_unknown_ones_are_named(tmp_path: Path) -> None:
    uri = f"{(tmp_path / 'a b').as_uri()}"
    card = shards.write_dataset(ragged(), uri, name="x", bin_width_s=0.01)
    assert shards.verify_dataset(tmp_path / "a b") == card
    with pytest.raises(ValueError, match="Cannot open nowhere://x"):
        shards.read_card("nowhere://x")


def test_any_fsspec_filesystem_works() -> None:
    uri = "memory://ldns/d"
    card = write(ragged(), uri, shard_bytes=2000)
    assert_same(shards.load_trials(uri), ragged())
    with pytest.raises(FileExistsError, match=r"memory://ldns/d holds another dataset"):
        write(ragged(seed=1), uri)
    with pytest.raises(RuntimeError, match="power cut"):
        shards.write_dataset(
            interrupted(ragged(seed=1), 20), uri, name="x", bin_width_s=0.01, shard_bytes=500, overwrite=True
        )  # fmt: skip
    assert shards.verify_dataset(uri) == card
    write(ragged(seed=1), uri, overwrite=True)
    assert_same(shards.load_trials(uri), ragged(seed=1))


def test_folders_with_a_question_mark_are_folders(tmp_path: Path) -> None:
    folder = tmp_path / "what?" / "d"
    card = write(ragged(), folder)
    assert files(folder) == named(card)
    (folder / card.shards[0]["file"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"what\?/d/train-00000-\w+.parquet is missing"):
        shards.verify_dataset(folder)


def test_ray_reads_hostile_names_and_ragged_trials(ray_session: None, tmp_path: Path) -> None:
    import ray

    rng = np.random.default_rng(0)
    trials = [
        Trial(
            spikes=rng.integers(0, 400, (1 + i, 3)),
            trial_id=name,
            session=HOSTILE[-i],
            split=("train", "val")[i % 2],
            covariates={"a.b": rng.normal(size=(1 + i, 2)), "line\nbreak": np.zeros((1 + i, 0))},
            conditions={"a:b": rng.normal(size=1), "../../x": np.zeros(0)},
        )
        for i, name in enumerate(HOSTILE)
    ]
    card = write(trials, tmp_path, shard_bytes=1000)
    assert len(card.shards) > 3
    lost = card.shards_of("train")[0]["file"]
    (tmp_path / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"{lost} is missing"):
        shards.read_dataset(tmp_path, "train")
    there = trialset_from_tables(
        ray.get(shards.read_dataset(tmp_path, "val").to_arrow_refs()), card
    )
    here = shards.load_trialset(tmp_path, "val")
    assert there.trial_ids == here.trial_ids
    assert there.sessions == here.sessions
    np.testing.assert_array_equal(there.spikes, here.spikes)
    np.testing.assert_array_equal(there.covariates["a.b"], here.covariates["a.b"])
    np.testing.assert_array_equal(there.conditions["a:b"], here.conditions["a:b"])
    assert there.covariates["line\nbreak"].shape == (len(there.spikes), 0)
    assert there.conditions["../../x"].shape == (len(there), 0)
