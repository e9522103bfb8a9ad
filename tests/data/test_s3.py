"""Datasets on an object store: a real S3 server on this machine."""

from __future__ import annotations

import time

import pyarrow.fs as pafs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldns_ray import storage
from ldns_ray.data import shards
from ldns_ray.data.schema import Trial
from ldns_ray.data.verification import check_sizes
from tests.data.datasets import assert_same, in_order, interrupted, named, ragged, write
from tests.data.strategies import anything


def names(uri: str) -> list[str]:
    filesystem, folder = storage.filesystem_of(uri)
    infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.is_file)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(trials=anything(), n_shards=st.integers(1, 9))
def test_what_goes_in_comes_out(s3: str, trials: list[Trial], n_shards: int) -> None:
    n_bytes = sum(trial.spikes.nbytes for trial in in_order(trials))
    card = write(trials, s3, shard_bytes=max(1, n_bytes // n_shards), overwrite=True)
    assert_same(shards.load_trials(s3), in_order(trials))
    assert card == shards.verify_dataset(s3)
    assert names(s3) == named(card)


def test_overwriting_and_interrupted_writing(s3: str) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        shards.write_dataset(
            interrupted(ragged(), 29), s3, name="x", bin_width_s=0.01, shard_bytes=4000
        )
    assert names(s3) == []
    first = write(ragged(), s3, shard_bytes=6000)
    assert write(ragged()[::-1], s3) == first
    with pytest.raises(FileExistsError, match=f"{s3} holds another dataset"):
        write(ragged(seed=1), s3)
    with pytest.raises(RuntimeError, match="power cut"):
        shards.write_dataset(
            interrupted(ragged(seed=1), 29), s3, name="x", bin_width_s=0.01, shard_bytes=4000, overwrite=True
        )  # fmt: skip
    assert names(s3) == named(first)
    assert shards.verify_dataset(s3) == first
    second = write(ragged(seed=1), s3, overwrite=True)
    assert names(s3) == named(second)
    assert_same(shards.load_trials(s3, "val"), [t for t in ragged(seed=1) if t.split == "val"])


def test_damage_is_named(s3: str) -> None:
    card = write(ragged(), s3, shard_bytes=6000)
    first, second = (storage.join(s3, shard["file"]) for shard in card.shards[:2])
    content = bytearray(storage.read_bytes(first))
    content[100] ^= 1
    storage.write_bytes(first, bytes(content))
    with pytest.raises(ValueError, match=f"{first} was changed"):
        shards.verify_dataset(s3)
    with pytest.raises((ValueError, OSError), match=f"{first} cannot be read"):
        shards.load_trialset(s3)
    storage.write_bytes(first, bytes(content[:-1]))
    with pytest.raises(ValueError, match=f"{first} must be .*truncated"):
        check_sizes(s3, card.shards)
    filesystem, path = storage.filesystem_of(first)
    filesystem.delete_file(path)
    with pytest.raises(FileNotFoundError, match=f"{first} is missing"):
        shards.verify_dataset(s3)
    assert storage.exists(second)
    assert write(ragged(), s3, shard_bytes=6000) == card == shards.verify_dataset(s3)


def test_addresses_in_uris_are_kept(
    s3_server: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = s3_server.removeprefix("http://")
    uri = f"{s3}?endpoint_override={endpoint}&scheme=http"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    card = write(ragged(), uri)
    assert_same(shards.load_trials(uri), ragged())
    lost = f"{s3}/{card.shards[0]['file']}?endpoint_override={endpoint}&scheme=http"
    filesystem, path = storage.filesystem_of(lost)
    filesystem.delete_file(path)
    with pytest.raises(FileNotFoundError) as told:
        shards.verify_dataset(uri)
    assert str(told.value).startswith(f"{lost} is missing")
    with pytest.raises(FileNotFoundError, match="No dataset.json under s3://ldns/nothing"):
        shards.read_card(f"s3://ldns/nothing?endpoint_override={endpoint}&scheme=http")


def test_a_missing_bucket_is_told_before_trials_are_made(s3: str) -> None:
    def never() -> Trial:
        raise AssertionError("a trial was asked for")

    uri = "s3://no-such-bucket/d"
    with pytest.raises(
        OSError, match=f"{uri} cannot be reached: Bucket 'no-such-bucket' not found"
    ):
        shards.write_dataset((never() for _ in range(1)), uri, name="x", bin_width_s=0.01)
    with pytest.raises(FileNotFoundError, match=f"No dataset.json under {uri}"):
        shards.read_card(uri)
    with pytest.raises(OSError, match=f"{uri}/x cannot be reached: .*bucket"):
        storage.write_bytes(f"{uri}/x", b"")


@pytest.mark.slow
@pytest.mark.parametrize("act", ["read", "write"])
def test_a_wrong_address_is_told_within_seconds(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries three times."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(OSError, match="^s3://ldns/d cannot be reached: .*AWS_ENDPOINT_URL") as told:
        if act == "read":
            shards.load_trialset("s3://ldns/d")
        else:
            write(ragged(), "s3://ldns/d", overwrite=True)
    assert time.monotonic() - began < 30
    assert "\n" not in str(told.value)
