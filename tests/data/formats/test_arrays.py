"""Recordings in arrays: what comes out of each layout."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.specs import ArrayAngle, ValueSpec
from ldns_ray.data.recordings import Recording
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset
from ldns_ray.data.splits import UNASSIGNED, share_out
from tests.data.formats.npz_files import CUT, LONG, aligned, continuous


def read(path: Path, **options: Any) -> list[Trial]:
    return list(recording(path, **options).trials)


def recording(path: Path, **options: Any) -> Recording:
    return ArrayReader(**({"bin_ms": 5} | options)).read(str(path))


# -- Aligned trials


def test_aligned_trials_are_rebinned(tmp_path: Path) -> None:
    path = aligned(tmp_path)
    arrays = np.load(path)
    trials = read(path, covariates=(ValueSpec("hand", "vel", "m/s"),))
    assert [t.trial_id for t in trials] == [f"{i:06d}" for i in range(6)]
    for i, t in enumerate(trials):
        assert t.spikes.shape == (4, 3)
        assert t.spikes.dtype == np.uint8
        for b in range(4):
            at = slice(5 * b, 5 * b + 5)
            np.testing.assert_array_equal(t.spikes[b], arrays["spikes"][i, :, at].sum(axis=1))
            wanted = arrays["vel"][i, at].mean(axis=0)
            np.testing.assert_allclose(t.covariates["hand"][b], wanted, atol=1e-6)


@pytest.mark.parametrize("bin_ms", [1, 5])
def test_any_order_of_axes_gives_the_same_trials(tmp_path: Path, bin_ms: int) -> None:
    plain = read(aligned(tmp_path), bin_ms=bin_ms)
    spikes = np.load(tmp_path / "a.npz")["spikes"].transpose(2, 0, 1)
    path = aligned(tmp_path, spikes=spikes)
    turned = read(path, bin_ms=bin_ms, axes=("time", "trial", "unit"))
    for a, b in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(a.spikes, b.spikes)


@pytest.mark.parametrize("kind", [bool, np.int8, np.int64, np.uint64, np.float32, ">f8"])
def test_whole_numbers_of_any_type_are_counts(tmp_path: Path, kind: Any) -> None:
    plain = read(aligned(tmp_path))
    spikes = np.load(tmp_path / "a.npz")["spikes"].astype(kind)
    for bin_ms in (1, 5):
        other = read(aligned(tmp_path, spikes=spikes), bin_ms=bin_ms)
        assert {t.spikes.dtype for t in other} == {np.dtype(np.uint8)}
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a.spikes, b.spikes)


def test_counts_may_exceed_a_byte_after_binning(tmp_path: Path) -> None:
    path = aligned(tmp_path, spikes=np.full((6, 3, 20), 200, np.uint8))
    first = read(path)[0]
    assert first.spikes.dtype == np.uint16
    assert first.spikes[0, 0] == 1000


def test_recordings_without_a_spike_are_recordings(tmp_path: Path) -> None:
    trials = read(aligned(tmp_path, spikes=np.zeros((6, 3, 20), bool)))
    assert sum(int(t.spikes.sum()) for t in trials) == 0
    assert {t.spikes.shape for t in trials} == {(4, 3)}


def test_covariates_may_already_be_binned(tmp_path: Path) -> None:
    vel = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    trials = read(aligned(tmp_path, vel=vel), covariates=(ValueSpec("vel", "vel"),))
    np.testing.assert_array_equal(trials[2].covariates["vel"], vel[2][:, None])


# -- One long recording


def test_long_recording_is_cut_at_its_trials(tmp_path: Path) -> None:
    path = continuous(tmp_path, stop=np.array([8, 22, 50], np.uint16))
    arrays = np.load(path)
    trials = read(path, **CUT, covariates=(ValueSpec("vel", "vel"),))
    assert [t.n_bins for t in trials] == [8, 12, 20]
    for t, start in zip(trials, (0, 10, 30), strict=True):
        np.testing.assert_array_equal(t.spikes, arrays["counts"][start : start + t.n_bins])
        wanted = arrays["vel"][start : start + t.n_bins].astype(np.float32)
        np.testing.assert_array_equal(t.covariates["vel"], wanted)
    stopped = read(path, **LONG, trial_start="start", trial_stop="stop")
    for a, b in zip(trials, stopped, strict=True):
        np.testing.assert_array_equal(a.spikes, b.spikes)


def test_trials_end_to_end_need_no_starts(tmp_path: Path) -> None:
    path = continuous(tmp_path, len=np.array([[8], [22], [20]]))
    trials = read(path, **LONG, trial_len="len")
    assert [t.n_bins for t in trials] == [8, 22, 20]
    joined = np.concatenate([t.spikes for t in trials])
    np.testing.assert_array_equal(joined, np.load(path)["counts"])


@pytest.mark.parametrize(("unit", "scale"), [("ms", 1.0), ("s", 1e-3)])
def test_trials_may_be_given_as_times(tmp_path: Path, unit: Any, scale: float) -> None:
    """Those of one duration have one length, wherever between two samples they start."""
    start_ms = np.array([0, 494, 1210.001, 1526])
    times = {"start": start_ms * scale, "stop": (start_ms + 400) * scale, "len": np.full(4, 400.0) * scale}  # fmt: skip
    path = continuous(tmp_path, **times)
    counts = np.load(path)["counts"]
    for end in ({"trial_stop": "stop"}, {"trial_len": "len"}):
        trials = read(path, **LONG, trial_start="start", times_in=unit, **end)
        for trial, first in zip(trials, (0, 10, 24, 31), strict=True):
            np.testing.assert_array_equal(trial.spikes, counts[first : first + 8])


def test_long_recording_is_cut_into_windows(tmp_path: Path) -> None:
    path = continuous(tmp_path)
    options = LONG | {"bin_ms": 100, "window_samples": 12}
    cut = recording(path, **options, covariates=(ValueSpec("vel", "vel"),))
    trials = list(cut.trials)
    assert [t.n_bins for t in trials] == [6, 6, 6, 6]
    assert cut.dropped == {"end of the recording, shorter than a window": 1}
    arrays = np.load(path)
    np.testing.assert_array_equal(trials[1].spikes[0], arrays["counts"][12:14].sum(axis=0))
    wanted = arrays["vel"][12:14].mean(axis=0)
    np.testing.assert_allclose(trials[1].covariates["vel"][0], wanted, atol=1e-6)
    assert recording(path, **(options | {"window_samples": 10})).dropped == {}


# -- What arrays say of trials


@pytest.mark.parametrize("text", ["angle=target*45", "angle=degrees[target]", "angle=direct"])
def test_angles_are_kept_as_cos_and_sin(tmp_path: Path, text: str) -> None:
    degrees = np.arange(8) * 45.0
    path = aligned(tmp_path, degrees=degrees, direct=degrees[[0, 1, 2, 3, 4, 6]])
    trials = read(path, angles=(ArrayAngle.parse(text),))
    angles = np.array([t.conditions["angle"] for t in trials])
    root = np.sqrt(0.5)
    wanted = [[1, 0], [root, root], [0, 1], [-root, root], [-1, 0], [0, -1]]
    np.testing.assert_allclose(angles, wanted, atol=1e-7)
    raw = trials[5].conditions["direct" if "direct" in text else "target"]
    assert raw.tolist() == [270.0 if "direct" in text else 6.0]


def test_labels_come_from_their_arrays(tmp_path: Path) -> None:
    split = np.array(["train", "val", "test", "train", "val+test", UNASSIGNED])
    days = np.array([b"a", b"a", b"b", b"b", b"c", b"c"])
    path = aligned(tmp_path, part=split, day=days, number=np.arange(6)[:, None] + 70)
    trials = read(path, split="part", session="day", trial_id="number")
    assert [t.split for t in trials] == split.tolist()
    assert [t.session for t in trials] == list("aabbcc")
    assert trials[0].trial_id == "000070"
    assert {t.session for t in read(path, session="monkey J")} == {"monkey J"}
    plain = read(path)
    assert {t.split for t in plain} == {UNASSIGNED}
    assert {t.session for t in plain} == {""}
    assert {t.session for t in read(aligned(tmp_path, session=np.full(6, 3)))} == {"3"}


def test_a_recording_says_what_its_trials_carry(tmp_path: Path) -> None:
    path = aligned(tmp_path, names=np.array(["a1", "a2", "b1"]), channels=np.array([4, 4, 12]))
    options: dict[str, Any] = {
        "covariates": (ValueSpec("hand", "vel", "m/s"),),
        "conditions": (ValueSpec("goal", "target", "index"),),
    }
    opened = recording(path, **options, unit_names="names", stratify="target")
    assert opened.unit_names == ["a1", "a2", "b1"]
    assert recording(path, unit_names="channels").unit_names == ["4", "4", "12"]
    assert (opened.covariate_units, opened.condition_units) == ({"hand": "m/s"}, {"goal": "index"})
    assert opened.strata == []
    next(opened.trials)
    assert opened.strata == ["000000"]
    assert len(list(opened.trials)) == 5
    assert opened.strata == [f"{i:06d}" for i in (0, 1, 2, 3, 4, 6)]
    plain = recording(path)
    assert len(list(plain.trials)) == 6
    assert (plain.strata, list(plain.unit_names), plain.dropped) == ([], [], Counter())


@pytest.mark.parametrize(
    "strata",
    [
        np.array([9, 10, 200, 9, 10, 200]),
        np.array([9.0, 10, 200, 9, 10, 200]),
        np.array(["up", "down", "left", "up", "down", "left"]),
        np.array([[9, 1], [10, 0], [9, 0], [9, 1], [10, 0], [9, 0]]),
    ],
)
def test_labels_of_strata_are_shared_out_as_their_array_is(
    tmp_path: Path, strata: np.ndarray
) -> None:
    opened = recording(aligned(tmp_path, group=strata), stratify="group")
    assert len(list(opened.trials)) == 6
    for seed in range(8):
        by_array = share_out([UNASSIGNED] * 6, (0.5, 0.25, 0.25), seed, strata)
        by_label = share_out([UNASSIGNED] * 6, (0.5, 0.25, 0.25), seed, np.array(opened.strata))
        assert by_label == by_array


def test_readers_travel() -> None:
    reader = ArrayReader(**CUT, covariates=(ValueSpec("vel", "vel"),))
    assert pickle.loads(pickle.dumps(reader)) == reader
    assert hash(reader) == hash(replace(reader))
    assert reader.bin_width_s == 0.05


# -- Real recordings


REACH_PLAN = ArrayReader(
    bin_ms=5, spikes="spikes_1ms", session="session", stratify="target",
    angles=(ArrayAngle.parse("angle=target*45"),),
)  # fmt: skip
REACH = ArrayReader(
    bin_ms=50, sample_ms=50, spikes="counts", axes=("time", "unit"), session="session",
    trial_start="trial_start", trial_len="trial_len",
    covariates=(ValueSpec.parse("vel=vel:cm/s"),), angles=(ArrayAngle.parse("angle=target_deg[target]"),),
)  # fmt: skip
TRACK = ArrayReader(
    bin_ms=50, sample_ms=25, spikes="counts", axes=("time", "unit"), session="session",
    window_samples=80, covariates=(ValueSpec.parse("pos=pos_px:px"),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "reader", "fingerprint"),
    [
        ("pmd_reach_plan_train.npz", REACH_PLAN, "ec568eb6e5d12583"),
        ("m1_reach_contdata95.npz", REACH, "cad5853ce8f56868"),
        ("hippocampus_nelpy_linear_track_25ms.npz", TRACK, "af82151beeb9af5e"),
    ],
)
def test_a_recording_gives_the_dataset_it_has_always_given(
    shared_data: Path, tmp_path: Path, file: str, reader: ArrayReader, fingerprint: str
) -> None:
    opened = reader.read(str(shared_data / file))
    trials = list(opened.trials)
    strata = np.array(opened.strata) if opened.strata else None
    splits = share_out([t.split for t in trials], seed=42, strata=strata)
    card = write_dataset(
        (replace(t, split=split) for t, split in zip(trials, splits, strict=True)),
        tmp_path / "d",
        name="d",
        bin_width_s=reader.bin_width_s,
        covariate_units=opened.covariate_units,
        condition_units=opened.condition_units,
    )
    assert card.fingerprint == fingerprint


def test_reach_plan_recording(shared_data: Path) -> None:
    path = shared_data / "pmd_reach_plan_train.npz"
    trials = list(replace(REACH_PLAN, trial_id="trial_id").read(str(path)).trials)
    arrays = np.load(path)
    wanted = arrays["spikes_1ms"].reshape(728, 97, 140, 5).sum(-1).transpose(0, 2, 1)
    np.testing.assert_array_equal(np.stack([t.spikes for t in trials]), wanted)
    assert [int(t.trial_id) for t in trials] == arrays["trial_id"].tolist()
    assert [t.conditions["target"][0] for t in trials] == arrays["target"].tolist()
