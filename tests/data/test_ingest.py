from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import describe, ingest
from ldns_ray.cli import run
from ldns_ray.data.ingest import AngleSpec, ArraySpec, npz_trials
from ldns_ray.data.shards import load_trials, read_card, write_dataset

ROOT = Path(__file__).resolve().parents[2]


def aligned(folder: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "spikes": (rng.random((6, 3, 20)) < 0.2).astype(np.uint8),
        "target": np.array([0, 1, 2, 3, 4, 6]),
        "vel": rng.normal(size=(6, 20, 2)),
    }
    np.savez(folder / "a.npz", **(arrays | changes))
    return folder / "a.npz"


def continuous(folder: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "counts": rng.poisson(1.0, (50, 4)).astype(np.uint8),
        "vel": rng.normal(size=(50, 2)),
        "start": np.array([0, 10, 30]),
        "len": np.array([8, 12, 20]),
    }
    np.savez(folder / "c.npz", **(arrays | changes))
    return folder / "c.npz"


LONG: dict[str, Any] = {
    "spikes": "counts", "axes": ("time", "unit"), "bin_ms": 50, "sample_ms": 50,
    "trial_start": "start", "trial_len": "len",
}  # fmt: skip


def test_aligned_trials_are_rebinned(tmp_path: Path) -> None:
    path = aligned(tmp_path)
    arrays = np.load(path)
    trials = list(npz_trials(path, bin_ms=5, covariates=[ArraySpec("hand", "vel", "m/s")]))
    assert [t.trial_id for t in trials] == [f"{i:06d}" for i in range(6)]
    for i, t in enumerate(trials):
        assert t.spikes.shape == (4, 3)
        assert t.spikes.dtype == np.uint8
        for b in range(4):
            at = slice(5 * b, 5 * b + 5)
            np.testing.assert_array_equal(t.spikes[b], arrays["spikes"][i, :, at].sum(axis=1))
            wanted = arrays["vel"][i, at].mean(axis=0)
            np.testing.assert_allclose(t.covariates["hand"][b], wanted, atol=1e-6)


def test_any_order_of_axes_gives_the_same_trials(tmp_path: Path) -> None:
    plain = list(npz_trials(aligned(tmp_path), bin_ms=5))
    spikes = np.load(tmp_path / "a.npz")["spikes"].transpose(2, 0, 1)
    path = aligned(tmp_path, spikes=spikes)
    turned = list(npz_trials(path, bin_ms=5, axes=("time", "trial", "unit")))
    for a, b in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(a.spikes, b.spikes)


def test_counts_may_exceed_a_byte_after_binning(tmp_path: Path) -> None:
    path = aligned(tmp_path, spikes=np.full((6, 3, 20), 200, np.uint8))
    first = next(npz_trials(path, bin_ms=5))
    assert first.spikes.dtype == np.uint16
    assert first.spikes[0, 0] == 1000


def test_covariates_may_already_be_binned(tmp_path: Path) -> None:
    vel = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    trials = list(
        npz_trials(aligned(tmp_path, vel=vel), bin_ms=5, covariates=[ArraySpec("vel", "vel")])
    )
    np.testing.assert_array_equal(trials[2].covariates["vel"], vel[2][:, None])


def test_long_recording_is_cut_at_its_trials(tmp_path: Path) -> None:
    path = continuous(tmp_path)
    arrays = np.load(path)
    trials = list(npz_trials(path, **LONG, covariates=[ArraySpec("vel", "vel")]))
    assert [t.n_bins for t in trials] == [8, 12, 20]
    for t, start in zip(trials, (0, 10, 30), strict=True):
        np.testing.assert_array_equal(t.spikes, arrays["counts"][start : start + t.n_bins])
        wanted = arrays["vel"][start : start + t.n_bins].astype(np.float32)
        np.testing.assert_array_equal(t.covariates["vel"], wanted)


def test_long_recording_is_cut_into_windows(tmp_path: Path) -> None:
    path = continuous(tmp_path)
    options = LONG | {"trial_start": None, "trial_len": None, "bin_ms": 100, "window_samples": 12}
    trials = list(npz_trials(path, **options, covariates=[ArraySpec("vel", "vel")]))
    assert [t.n_bins for t in trials] == [6, 6, 6, 6]
    arrays = np.load(path)
    np.testing.assert_array_equal(trials[1].spikes[0], arrays["counts"][12:14].sum(axis=0))
    wanted = arrays["vel"][12:14].mean(axis=0)
    np.testing.assert_allclose(trials[1].covariates["vel"][0], wanted, atol=1e-6)


@pytest.mark.parametrize("text", ["angle=target*45", "angle=degrees[target]", "angle=direct"])
def test_angles_are_kept_as_cos_and_sin(tmp_path: Path, text: str) -> None:
    degrees = np.arange(8) * 45.0
    path = aligned(tmp_path, degrees=degrees, direct=degrees[[0, 1, 2, 3, 4, 6]])
    trials = list(npz_trials(path, bin_ms=5, angles=[AngleSpec.parse(text)]))
    angles = np.array([t.conditions["angle"] for t in trials])
    root = np.sqrt(0.5)
    wanted = [[1, 0], [root, root], [0, 1], [-root, root], [-1, 0], [0, -1]]
    np.testing.assert_allclose(angles, wanted, atol=1e-7)
    raw = trials[5].conditions["direct" if "direct" in text else "target"]
    assert raw.tolist() == [270.0 if "direct" in text else 6.0]


def test_labels_come_from_their_arrays(tmp_path: Path) -> None:
    split = np.array(["train", "val", "test", "train", "val", "test"])
    days = np.array(list("aabbcc"))
    path = aligned(tmp_path, part=split, day=days, number=np.arange(6) + 70)
    trials = list(npz_trials(path, bin_ms=5, split="part", session="day", trial_id="number"))
    assert [t.split for t in trials] == split.tolist()
    assert [t.session for t in trials] == days.tolist()
    assert trials[0].trial_id == "000070"
    assert next(npz_trials(path, bin_ms=5, session="monkey J")).session == "monkey J"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"spikes": "spike"}, "a.npz has no array 'spike' for spikes; there are: spikes, target"),
        ({}, {"bin_ms": 2.5}, "whole multiple of the sample width, got 2.5 ms bins of 1 ms samples"),
        ({}, {"bin_ms": 0.5}, "whole multiple of the sample width"),
        ({}, {"bin_ms": 3}, "trial 0 has 20 samples of 1 ms, not a whole number of 3 ms bins"),
        ({}, {"axes": ("trial", "time")}, "must name its 3 axes.* got trial,time for shape"),
        ({}, {"axes": ("trial", "unit", "unit")}, "must name its 3 axes"),
        ({}, {"trial_start": "target"}, "'spikes' has a trial axis"),
        ({}, {"covariates": [ArraySpec("v", "target")]}, "covariate 'v' 'target' must follow"),
        ({"vel": np.zeros((5, 20, 2))}, {"covariates": [ArraySpec("v", "vel")]}, r"got shape .5, 20"),
        ({"target": np.zeros(5)}, {"stratify": "target"}, r"one entry per trial .6., got shape .5,"),
        ({"target": np.zeros(5)}, {"conditions": [ArraySpec("t", "target")]}, "condition 't'"),
        ({"p": np.array(["dev"] * 6)}, {"split": "p"}, "'p' must hold train, val, test, got 'dev'"),
        ({"d": np.arange(4)}, {"angles": [AngleSpec("a", "target", table="d")]},
         "'target' must index the 4 entries of 'd', got 0 … 6"),
        ({"spikes": np.full((6, 3, 20), 0.5)}, {}, "trial '000000', in 1 ms bins, bin 0, unit 0: .*whole"),
        ({"spikes": -np.ones((6, 3, 20))}, {}, "a.npz: trial '000000'.* not be negative, got -1.0"),
        ({"spikes": np.array([{}])}, {}, "array 'spikes' holds Python objects"),
    ],
)  # fmt: skip
def test_bad_aligned_input_is_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = aligned(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        list(npz_trials(path, **({"bin_ms": 5} | options)))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"len": np.array([8, 12, 21])}, {}, "trial 2 must lie within the recording's 50 samples, "
         "got samples 30 … 50"),
        ({"start": np.array([-1, 10, 30])}, {}, "trial 0 must lie within"),
        ({"len": np.array([8, 0, 20])}, {}, "trial 1 must lie within"),
        ({"len": np.array([8, 12])}, {}, r"trial_len 'len' must have one entry per trial \(3\)"),
        ({"len": np.array([8.0, 12, 20])}, {}, "'len' must be whole numbers"),
        ({}, {"trial_len": None}, "needs trial_start and trial_len, or windows"),
        ({}, {"window_samples": 5}, "needs trial_start and trial_len, or windows"),
        ({"vel": np.zeros((49, 2))}, {"covariates": [ArraySpec("v", "vel")]}, "covariate 'v'"),
        ({}, {"bin_ms": 150}, "trial 0 has 8 samples of 50 ms, not a whole number of 150 ms"),
    ],
)  # fmt: skip
def test_bad_long_input_is_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = continuous(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        list(npz_trials(path, **(LONG | options)))


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No file .*none.npz"):
        npz_trials(tmp_path / "none.npz", bin_ms=5)
    (tmp_path / "text.npz").write_text("not an archive")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    for name in ("text.npz", "plain.npy"):
        with pytest.raises(ValueError, match=f"{name} is not a .npz file"):
            npz_trials(tmp_path / name, bin_ms=5)


def test_specs_are_parsed() -> None:
    assert ArraySpec.parse("vel=hand_vel:m/s") == ArraySpec("vel", "hand_vel", "m/s")
    assert ArraySpec.parse("vel:m/s") == ArraySpec("vel", "vel", "m/s")
    assert ArraySpec.parse("vel") == ArraySpec("vel", "vel", "")
    assert AngleSpec.parse("a=t*-22.5") == AngleSpec("a", "t", -22.5)
    for bad in ("=", "a=b=c"):
        with pytest.raises(ValueError, match="expected NAME=ARRAY:UNIT"):
            ArraySpec.parse(bad)
    for bad in ("target", "a=t*x", "a=t*1-2"):
        with pytest.raises(ValueError, match="expected NAME=ARRAY .degrees."):
            AngleSpec.parse(bad)


def test_reach_plan_recording(shared_data: Path, tmp_path: Path) -> None:
    trials = npz_trials(
        shared_data / "pmd_reach_plan_train.npz", spikes="spikes_1ms", bin_ms=5, trial_id="trial_id",
        angles=[AngleSpec.parse("angle=target*45")], stratify="target",
    )  # fmt: skip
    card = write_dataset(trials, tmp_path / "d", name="reach", bin_width_s=0.005)
    back = load_trials(tmp_path / "d")
    assert len(back) == 728
    assert {t.spikes.shape for t in back} == {(140, 97)}
    arrays = np.load(shared_data / "pmd_reach_plan_train.npz")
    wanted = arrays["spikes_1ms"].reshape(728, 97, 140, 5).sum(-1).transpose(0, 2, 1)
    order = np.argsort(arrays["trial_id"])
    np.testing.assert_array_equal(np.stack([t.spikes for t in back]), wanted[order])
    assert {split: x["n_trials"] for split, x in card.splits.items()} == {
        "train": 437, "val": 146, "test": 145,
    }  # fmt: skip
    targets = {split: Counter(t.conditions["target"][0] for t in back if t.split == split)
               for split in card.splits}  # fmt: skip
    for target in range(8):
        n = sum(counts[target] for counts in targets.values())
        assert abs(targets["train"][target] - 0.6 * n) <= 2


def test_jobs_ingest_and_describe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reach"
    options = ["--bin-ms", "5", "--covariate", "vel=vel:m/s", "--angle", "angle=target*45"]
    assert ingest.main(["npz", str(aligned(tmp_path)), "--out", str(out), *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Dataset: {out}")
    card = read_card(out)
    assert card.name == "reach"
    assert card.covariates == {"vel": {"size": 2, "unit": "m/s"}}
    assert describe.main([str(out), "--verify", "--plot", str(tmp_path / "p.png")]) == 0
    text = capsys.readouterr().out
    assert "silent units: none" in text
    assert "vel (2, m/s)" in text
    assert text.splitlines()[-1] == f"Picture: {tmp_path / 'p.png'}"
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_job_simulates(tmp_path: Path) -> None:
    small = ["--out", str(tmp_path / "s"), "--n-trials", "8", "--n-units", "4", "--max-bins", "120"]
    assert ingest.main(["simulate", "speech", *small]) == 0
    assert read_card(tmp_path / "s").provenance["settings"]["max_bins"] == 120
    with pytest.raises(ValueError, match="--max-bins is no option of lorenz"):
        ingest.main(["simulate", "lorenz", *small])


def test_a_job_ends_with_one_line_on_bad_input(tmp_path: Path) -> None:
    command = [sys.executable, "jobs/describe.py", str(tmp_path)]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr == (
        f"error: No dataset.json under {tmp_path}. Write one with: python jobs/ingest.py --help\n"
    )


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str]) -> int:
        raise ValueError("bad\nvalue")

    monkeypatch.setenv("LDNS_DEBUG", "1")
    with pytest.raises(ValueError, match="bad"):
        run(fail)
    monkeypatch.delenv("LDNS_DEBUG")
    with pytest.raises(SystemExit, match="2"):
        run(fail)
