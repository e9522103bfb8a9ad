from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldns_ray.data import shards
from ldns_ray.data.schema import Trial
from tests.data.datasets import assert_same, ragged, write


@settings(max_examples=25, deadline=None)
@given(
    n_trials=st.integers(1, 9),
    n_shards=st.integers(1, 9),
    seed=st.integers(0, 2**16),
    full=st.booleans(),
    wide=st.booleans(),
)
def test_round_trip(n_trials: int, n_shards: int, seed: int, full: bool, wide: bool) -> None:
    trials = ragged(n_trials, seed, full)
    if wide:
        spikes = trials[-1].spikes.astype(np.uint16)
        spikes[0, 0] = 300
        trials[-1] = replace(trials[-1], spikes=spikes)
    n_bytes = sum(trial.spikes.nbytes * (14 if full else 1) for trial in trials)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = write(trials[::-1], folder / "many", shard_bytes=max(1, n_bytes // n_shards))
        assert_same(shards.load_trials(folder / "many"), trials)
        assert card == shards.verify_dataset(folder / "many")
        assert card.n_trials == n_trials
        assert sum(s["n_trials"] for s in card.shards) == n_trials
        # One trial a shard, in another order: another layout, the same dataset.
        single = write(trials, folder / "single", shard_bytes=1)
        assert len(single.shards) == n_trials
        assert single.fingerprint == card.fingerprint
        files = sorted(path.name for path in (folder / "single").iterdir())
        assert files == ["dataset.json", *(f"shard-{i:05d}.parquet" for i in range(n_trials))]


def test_columns_on_disk_are_plain_arrow(tmp_path: Path) -> None:
    write(ragged(), tmp_path / "d")
    schema = pq.read_schema(tmp_path / "d" / "shard-00000.parquet")
    types = {field.name: str(field.type) for field in schema}
    floats = ["covariate:vel", "condition:angle", "rates", "latents"]
    assert types == {
        "trial_id": "string", "session": "string", "split": "string", "n_bins": "int32",
        "spikes": "list<element: uint8>", **dict.fromkeys(floats, "list<element: float>"),
    }  # fmt: skip


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
    with pytest.raises(ValueError, match="no split 'test'; there are: train, val"):
        shards.load_trialset(tmp_path / "d", "test")
    with pytest.raises(ValueError, match="no column 'pos'; there are: .*covariate:vel"):
        shards.load_trialset(tmp_path / "d", columns=["pos"])


def test_missing_dataset_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No dataset.json under .*/d\. Write one with"):
        shards.read_card(tmp_path / "d")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


def test_same_content_is_left_alone_and_other_content_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    first = write(ragged(), folder, shard_bytes=2000)
    before = contents(folder)
    assert write(ragged()[::-1], folder) == first
    with pytest.raises(FileExistsError, match="holds another dataset .*overwrite"):
        write(ragged(seed=1), folder)
    assert contents(folder) == before
    second = write(ragged(seed=1), folder, overwrite=True)
    assert second.fingerprint != first.fingerprint
    assert shards.verify_dataset(folder) == second
    assert sorted(contents(folder)) == ["dataset.json", "shard-00000.parquet"]


def test_interrupted_write_leaves_no_dataset_and_the_next_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "d"

    def broken() -> Iterator[Trial]:
        yield from ragged()
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        shards.write_dataset(broken(), folder, name="x", bin_width_s=0.01, shard_bytes=500)
    assert contents(folder) == {}
    # What a killed process would leave.
    (folder / "incoming-0123").mkdir()
    for name in ("incoming-0123/shard-00000.parquet", "shard-00007.parquet", "dataset.json.1.tmp"):
        (folder / name).write_bytes(b"half")
    with pytest.raises(FileNotFoundError):
        shards.read_card(folder)
    write(ragged(), folder)
    assert sorted(contents(folder)) == ["dataset.json", "shard-00000.parquet"]


def test_failed_overwrite_keeps_the_old_dataset(tmp_path: Path) -> None:
    first = write(ragged(), tmp_path / "d")
    bad = [*ragged(seed=1), replace(ragged()[0], trial_id="z", split="nowhere")]
    with pytest.raises(ValueError, match="trial 'z': split must be one of"):
        write(bad, tmp_path / "d", overwrite=True)
    assert shards.verify_dataset(tmp_path / "d") == first


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "d"
    card = write(ragged(), folder, shard_bytes=2000)
    assert len(card.shards) > 2
    shard = folder / "shard-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(content if damage == "changed" else content[:-10])
    with pytest.raises((ValueError, FileNotFoundError), match=f"shard-00001.parquet .*{damage}"):
        shards.verify_dataset(folder)
    repaired = write(ragged(), folder, shard_bytes=2000, overwrite=True)
    assert shards.verify_dataset(folder).fingerprint == repaired.fingerprint == card.fingerprint


def test_card_of_another_schema_is_refused_but_can_be_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    write(ragged(), folder)
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(ValueError, match=r"/d/dataset.json: schema_version must be 1, got 99"):
        shards.read_card(folder)
    write(ragged(), folder, overwrite=True)
    assert shards.read_card(folder).schema_version == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin_width_s": 0.0}, "bin_width_s must be positive, got 0.0"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1, got 0"),
        ({"unit_names": ["a"]}, "unit_names must name 5 units, got 1"),
        ({"covariate_units": {"pos": "m"}}, "no covariate 'pos' .*; there are: vel"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(ragged(), tmp_path / "d", **options)
    with pytest.raises(FileNotFoundError):
        shards.read_card(tmp_path / "d")


def test_no_trials_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'x' needs at least 1 trial, got none"):
        write([], tmp_path / "d")


def test_uris_work_and_unknown_ones_are_named(tmp_path: Path) -> None:
    uri = f"{(tmp_path / 'a b').as_uri()}"
    card = shards.write_dataset(ragged(), uri, name="x", bin_width_s=0.01)
    assert shards.verify_dataset(tmp_path / "a b") == card
    memory = shards.write_dataset(ragged(), "memory://ldns/d", name="x", bin_width_s=0.01)
    assert_same(shards.load_trials("memory://ldns/d"), ragged())
    assert memory.fingerprint == card.fingerprint
    with pytest.raises(ValueError, match="Cannot open nowhere://x"):
        shards.read_card("nowhere://x")


def test_ray_refuses_an_unknown_split(tmp_path: Path) -> None:
    write(ragged(), tmp_path / "d")
    with pytest.raises(ValueError, match="no split 'test'; there are: train, val"):
        shards.read_dataset(tmp_path / "d", "test")
