"""One pass over a dataset: every trial once, a shard at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from ldns_ray.data import passes
from ldns_ray.data.batches import trials_of
from ldns_ray.data.passes import iter_trialsets
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trials, load_trialset
from tests.data.datasets import assert_same, ragged, write


def collected(folder: Path, split: str | None = None) -> list[Trial]:
    trials = [t for name, part in iter_trialsets(folder, split) for t in trials_of(part, name)]
    return sorted(trials, key=lambda trial: trial.trial_id)


@pytest.mark.parametrize("split", [None, "train", "val"])
def test_a_pass_meets_every_trial_once(tmp_path: Path, split: str | None) -> None:
    card = write(ragged(40)[::-1], tmp_path, shard_bytes=4000)
    assert len(card.shards) > 2
    assert_same(collected(tmp_path, split), load_trials(tmp_path, split))
    for name, part in iter_trialsets(tmp_path):
        assert part.trial_ids == sorted(part.trial_ids)
        own = load_trialset(tmp_path, name)
        assert set(part.trial_ids) <= set(own.trial_ids)


def test_sets_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large a shard is; but for trials that are larger themselves."""
    card = write(ragged(40), tmp_path)
    assert [shard["split"] for shard in card.shards] == ["train", "val"]
    for n_trials in (3, 1):
        monkeypatch.setattr(passes, "SET_ENTRIES", n_trials * card.max_bins * card.n_units)
        sizes = [len(part) for _, part in iter_trialsets(tmp_path)]
        assert max(sizes) <= n_trials
        assert len(sizes) == sum(-(-shard["n_trials"] // n_trials) for shard in card.shards)
        assert_same(collected(tmp_path), load_trials(tmp_path))
    monkeypatch.setattr(passes, "SET_ENTRIES", 1)
    assert_same(collected(tmp_path, "val"), load_trials(tmp_path, "val"))


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    write(ragged(), tmp_path)
    (shard,) = tmp_path.glob("val-*.parquet")
    whole = shard.read_bytes()
    for content, told in (
        (whole[:-10], "truncated or changed"),
        (b"x" * len(whole), "cannot be read, or was changed"),
    ):
        shard.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{shard.name} .*{told}.*--overwrite") as caught:
            collected(tmp_path)
        assert "\n" not in str(caught.value)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{shard.name} is missing\. Write"):
        collected(tmp_path)
    assert collected(tmp_path, "train")


def test_columns_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    write(ragged(), tmp_path)
    ((_, part), *_) = iter_trialsets(tmp_path, "val", ["condition:angle"])
    assert set(part.conditions) == {"angle"}
    assert (dict(part.covariates), part.rates, part.latents) == ({}, None, None)
    assert part.n_units == 5


def test_shards_are_opened_one_after_another(tmp_path: Path) -> None:
    """What is behind the shard at hand has not been opened: it may go missing meanwhile."""
    card = write(ragged(40), tmp_path, shard_bytes=4000)
    first, *others = card.shards
    parts = iter_trialsets(tmp_path)
    n_trials = len(next(parts)[1])
    for shard in others:
        (tmp_path / shard["file"]).unlink()
    while n_trials < first["n_trials"]:
        n_trials += len(next(parts)[1])
    with pytest.raises(FileNotFoundError, match=others[0]["file"]):
        next(parts)


def test_shards_of_other_splits_are_not_opened(tmp_path: Path) -> None:
    card = write(ragged(40), tmp_path, shard_bytes=4000)
    val = load_trials(tmp_path, "val")
    for shard in card.shards_of("train"):
        (tmp_path / shard["file"]).unlink()
    assert_same(collected(tmp_path, "val"), val)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    write(ragged(), tmp_path)
    with pytest.raises(ValueError, match="has no split 'test'; there are: train, val"):
        next(iter_trialsets(tmp_path, "test"))
    with pytest.raises(ValueError, match="has no column 'covariate:x'"):
        next(iter_trialsets(tmp_path, columns=["covariate:x"]))
    with pytest.raises(FileNotFoundError, match="jobs/ingest.py"):
        next(iter_trialsets(tmp_path / "nowhere"))
