"""Datasets sampled range by range: the same files whoever does it, and nothing done twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldns_ray.data.shards import read_card, verify_dataset, write_dataset
from ldns_ray.models.blocks import BLOCK
from ldns_ray.models.ldns import LDNS
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.sampling.plan import Range, bytes_per_bin, plan_samples
from ldns_ray.sampling.ranges import sampled, write_range
from ldns_ray.storage import files_of
from tests.models import untrained
from tests.pipelines import contents

pytestmark = pytest.mark.usefixtures("one_thread")

HOW = {"sampler": "dpmpp_2m_sde", "n_steps": 2, "seed": 3, "shard_bytes": 1}
"""One block of trials a shard."""


class Interrupted(Exception):
    pass


class Watched:
    """Works as `InProcess` does, keeps the ranges that it did, and ends after `n` of them."""

    device = "cpu"

    def __init__(self, n=None):
        self.n, self.did = n, []

    def __call__(self, model, plan, out_uri, ranges, on_trials):
        for trials in ranges:
            if len(self.did) == self.n:
                raise Interrupted
            write_range(model, plan, out_uri, trials, plan.rows(trials), on_trials)
            self.did.append(trials.number)


# -- The plan


def test_ranges_are_blocks_that_cover_all_trials_once(sampler_uri):
    model = LDNS.load(sampler_uri)
    of_trial = np.mean(untrained.TRAINING_BINS) * bytes_per_bin(model)
    for n, blocks in ((1, 1), (BLOCK, 1), (1000, 1), (1000, 3)):
        how = HOW | {"shard_bytes": int(of_trial * BLOCK * blocks) + 1}
        ranges = plan_samples(model, sampler_uri, n, **how).ranges
        assert [trials.number for trials in ranges] == list(range(len(ranges)))
        assert [i for r in ranges for i in range(r.start, r.stop)] == list(range(n))
        assert {r.start % BLOCK for r in ranges} == {0}
        assert {r.stop - r.start for r in ranges[:-1]} <= {blocks * BLOCK}
    assert bytes_per_bin(model) == 5 + 4 * (5 + 3 + 2)


def test_a_key_follows_from_all_that_the_samples_follow_from(sampler_uri, tmp_path):
    model = LDNS.load(sampler_uri)
    untrained.model(("angle", "length"), ("velocity",), droppable=True, seed=1).save(tmp_path)
    same = {"n_bins": [12, 13]}
    plans = [
        plan_samples(model, sampler_uri, 2, **HOW),
        plan_samples(model, str(tmp_path), 2, **HOW),
        plan_samples(model, sampler_uri, 3, **HOW),
        plan_samples(model, sampler_uri, 2, **HOW | same),
        plan_samples(model, sampler_uri, 2, **HOW | {"n_bins": [12, 12]}),
        *(
            plan_samples(model, sampler_uri, 2, **HOW | other)
            for other in ({"sampler": "ddim"}, {"n_steps": 3}, {"seed": 4}, {"guidance": 2.0},
                          {"device": "cuda"}, {"shard_bytes": 10**6})
        ),
    ]  # fmt: skip
    assert len({plan.key for plan in plans}) == len(plans)
    assert plan_samples(model, sampler_uri, 2, **HOW | same).key == plans[3].key
    assert plans[3].without_given().key == plans[3].key


def test_ranges_draw_what_all_trials_together_draw(sampler_uri):
    model = LDNS.load(sampler_uri)
    plan = plan_samples(model, sampler_uri, 100, **HOW)
    assert plan.given is None
    whole = model.sample(100, n_steps=2, seed=3)
    trials = [t for r in plan.ranges for t in sampled(model, plan, r, None, lambda *_: None)]
    assert [t.trial_id for t in trials] == [f"sample-{i:07d}" for i in range(100)]
    for i, trial in enumerate(trials):
        np.testing.assert_array_equal(trial.spikes, whole.spikes[i])
        np.testing.assert_array_equal(trial.latents, whole.latents[i])
        np.testing.assert_array_equal(trial.conditions["angle"], whole.conditions["angle"][i])
        np.testing.assert_array_equal(trial.covariates["velocity"], whole.covariates["velocity"][i])


# -- The dataset


def test_the_card_is_that_of_a_dataset_written_at_once(sampler_uri, tmp_path):
    """Fingerprint, counts and warnings: from the records, without reading the trials again."""
    model = LDNS.load(sampler_uri)
    card = sample_dataset(sampler_uri, str(tmp_path / "ranges"), 200, **HOW)
    plan = plan_samples(model, sampler_uri, 200, **HOW)
    once = write_dataset(
        sampled(model, plan, Range(0, 0, 200), None, lambda *_: None), tmp_path / "once",
        name=card.name, bin_width_s=model.bin_width_s, unit_names=model.unit_names, source=card.source,
        provenance=card.provenance,
    )  # fmt: skip
    assert len(card.shards) == 4
    assert replace(card, shards=once.shards) == once
    assert verify_dataset(tmp_path / "ranges") == card
    # A dataset of one range is the file that writing it at once would make.
    one = sample_dataset(sampler_uri, str(tmp_path / "one"), 200, **HOW | {"shard_bytes": 2**20})
    assert one.shards == once.shards


def test_nothing_is_done_twice(sampler_uri, tmp_path):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    sample_dataset(sampler_uri, whole, 300, **HOW)
    reports = []
    for n in (2, 1):
        with pytest.raises(Interrupted):
            sample_dataset(sampler_uri, parts, 300, work=Watched(n), overwrite=False, **HOW)
    assert not (tmp_path / "parts" / "dataset.json").exists()
    rest = Watched()
    sample_dataset(
        sampler_uri, parts, 300, work=rest, overwrite=False, on_progress=reports.append, **HOW
    )
    assert rest.did == [3, 4]
    assert [(p.n_done, p.n_kept) for p in reports] == [(256, 192), (300, 192)]
    assert contents(parts) == contents(whole)
    # What is complete is left as it is.
    before = {p: p.stat().st_mtime_ns for p in Path(parts).iterdir()}
    idle = Watched()
    sample_dataset(sampler_uri, parts, 300, work=idle, overwrite=False, **HOW)
    assert idle.did == []
    assert {p: p.stat().st_mtime_ns for p in Path(parts).iterdir()} == before


def test_on_an_object_store_too(sampler_uri, s3, tmp_path):
    with pytest.raises(Interrupted):
        sample_dataset(sampler_uri, f"{s3}/s", 200, work=Watched(2), overwrite=False, **HOW)
    rest = Watched()
    card = sample_dataset(sampler_uri, f"{s3}/s", 200, work=rest, overwrite=False, **HOW)
    assert rest.did == [2, 3]
    assert card == sample_dataset(sampler_uri, str(tmp_path / "s"), 200, **HOW)
    names = [*(shard["file"] for shard in card.shards), "dataset.json"]
    assert sorted(files_of(f"{s3}/s")) == sorted(names)


def test_a_range_without_its_shard_is_done_again(sampler_uri, tmp_path):
    out = tmp_path / "s"
    with pytest.raises(Interrupted):
        sample_dataset(sampler_uri, str(out), 200, work=Watched(3), **HOW)
    first, second, third = sorted(out.glob("test-*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    rest = Watched()
    sample_dataset(sampler_uri, str(out), 200, work=rest, **HOW)
    assert rest.did == [0, 1, 3]
    verify_dataset(out)


def test_the_beginning_of_another_dataset_is_not_taken_for_ones_own(sampler_uri, tmp_path):
    out = str(tmp_path / "s")
    with pytest.raises(Interrupted):
        sample_dataset(sampler_uri, out, 200, work=Watched(2), overwrite=False, **HOW)
    other = HOW | {"seed": 4}
    match = (
        r"beginning of another dataset, sampled with other seed \(3, now 4\)\. .* \(--overwrite\)"
    )
    with pytest.raises(FileExistsError, match=match):
        sample_dataset(sampler_uri, out, 200, overwrite=False, **other)
    work = Watched()
    card = sample_dataset(sampler_uri, out, 200, work=work, overwrite=True, **other)
    assert work.did == [0, 1, 2, 3]
    assert (
        card.fingerprint
        == sample_dataset(sampler_uri, str(tmp_path / "t"), 200, **other).fingerprint
    )
    with pytest.raises(FileExistsError, match=r"holds another dataset .* sampled otherwise"):
        sample_dataset(sampler_uri, out, 200, overwrite=False, **HOW)
    assert read_card(out) == card


def test_bad_requests_leave_no_trace(sampler_uri, tmp_path):
    for wrong, message in (
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"condition": {"angle": np.ones((5, 2))}}, "covariate 'velocity' is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_dataset(sampler_uri, str(tmp_path / "s"), **{"n": 5} | HOW | wrong)
    assert not (tmp_path / "s").exists()
