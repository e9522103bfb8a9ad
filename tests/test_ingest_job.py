from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from jobs import describe, ingest
from ldns_ray.cli import run
from ldns_ray.data.shards import load_trials, read_card
from tests.data.formats.nwb_files import write_mc_maze

ROOT = Path(__file__).resolve().parents[1]


def test_jobs_ingest_and_describe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    spikes = (rng.random((6, 3, 20)) < 0.2).astype(np.uint8)
    file, out = tmp_path / "a.npz", tmp_path / "reach"
    np.savez(file, spikes=spikes, target=np.arange(6), vel=rng.normal(size=(6, 20, 2)))
    options = ["--bin-ms", "5", "--covariate", "vel=vel:m/s", "--angle", "angle=target*45"]
    assert ingest.main(["npz", str(file), "--out", str(out), *options]) == 0
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


def test_debugging_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        raise ValueError("bad\nvalue")

    monkeypatch.setenv("LDNS_DEBUG", "1")
    with pytest.raises(SystemExit, match="1"):
        run(fail)
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("ValueError: bad\nvalue\n")
    monkeypatch.delenv("LDNS_DEBUG")
    with pytest.raises(SystemExit, match="2"):
        run(fail)
    assert capsys.readouterr().err == "error: bad value\n"


def write_cells(path: Path, n_sentences: int, *, longest: int, seed: int) -> list[np.ndarray]:
    """A day of the speech recording: threshold crossings of 256 channels."""
    rng = np.random.default_rng(seed)
    sentences = [rng.poisson(0.5, (n, 256)) for n in rng.integers(2, 30, n_sentences)]
    sentences[0] = rng.poisson(0.5, (longest, 256))
    cells = np.empty((1, n_sentences), dtype=object)
    cells[0, :] = [sentence.astype(float) for sentence in sentences]
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.arange(n_sentences)[:, None] // 4
    scipy.io.savemat(path, {"tx1": cells, "blockIdx": blocks}, do_compression=True)
    return sentences


def test_days_of_speech_become_sessions_of_one_dataset(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = {
        "train/t12.2022.04.28": write_cells(
            tmp_path / "in/train/t12.2022.04.28.mat", 12, longest=513, seed=0
        ),
        "test/t12.2022.04.28": write_cells(
            tmp_path / "in/test/t12.2022.04.28.mat", 8, longest=512, seed=1
        ),
    }
    out = tmp_path / "speech"
    assert ingest.main(["speech-mat", str(tmp_path / "in"), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "speech: 19 trials (train 11, val 2, test 6), 128 units" in text
    assert "left out: 1 trial (longer than 512 bins)" in text
    card = read_card(out)
    assert (card.bin_width_s, card.max_bins) == (0.02, 512)
    trials = load_trials(out)
    assert len(trials) == 19
    for trial in trials:
        folder, day, number = trial.trial_id.split("/")
        wanted = days[f"{folder}/{day}"][int(number)][:, :128]
        np.testing.assert_array_equal(trial.spikes, wanted)
        assert (trial.split == "train") == (folder == "train")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = ["speech-mat", str(tmp_path / "in/test"), str(tmp_path / "in/train")]
    assert ingest.main([*again, "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(FileExistsError, match=r"made with other files\. .*--overwrite"):
        ingest.main([*again[:2], "--out", str(out)])
    with pytest.raises(FileExistsError, match=r"made with other max_bins \(512, now 400\)\."):
        ingest.main([*again, "--max-bins", "400", "--out", str(out)])


def test_reaches_of_the_paper_take_one_option(tmp_path: Path) -> None:
    maze = write_mc_maze(tmp_path / "maze.nwb")
    out = tmp_path / "maze"
    options = ["--preset", "mc_maze", "--split-rule", "ldns"]
    assert ingest.main(["nwb", str(maze.path), "--out", str(out), *options]) == 0
    card = read_card(out)
    assert (card.n_units, card.min_bins, card.max_bins, card.bin_width_s) == (5, 140, 140, 0.005)
    assert card.covariates == {"velocity": {"size": 2, "unit": "m/s"}}
    assert list(card.conditions) == ["angle"]
    n_train = {split: counts["n_trials"] for split, counts in card.splits.items()}["train"]
    assert n_train == maze.splits.count("train") + maze.splits.count("val") // 2
    coarse = ["--preset", "mc_maze", "--bin-ms", "10", "--covariate", "velocity=hand_vel:mm/s"]
    coarse += ["--angle", "angle=velocity[25]"]
    assert ingest.main(["nwb", str(maze.path), "--out", str(tmp_path / "c"), *coarse]) == 0
    assert read_card(tmp_path / "c").max_bins == 70
    assert read_card(tmp_path / "c").covariates["velocity"]["unit"] == "mm/s"
    with pytest.raises(ValueError, match="nwb needs --bin-ms"):
        ingest.main(["nwb", str(maze.path), "--out", str(tmp_path / "d")])


def test_benchmark_tensors_come_with_their_splits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = {
        f"{part}_spikes_{units}": rng.poisson(0.2, (n, 12, n_units)).astype(np.float32)
        for part, n in (("train", 20), ("eval", 6))
        for units, n_units in (("heldin", 3), ("heldout", 2))
    }
    with h5py.File(tmp_path / "maze.h5", "w") as file:
        for name, array in counts.items():
            file[name] = array
    out = tmp_path / "maze"
    command = ["nlb-h5", str(tmp_path / "*.h5"), "--out", str(out), "--bin-ms", "5"]
    assert ingest.main([*command, "--evaluation", "val+test"]) == 0
    trials = {trial.trial_id: trial for trial in load_trials(out)}
    assert {t.split for name, t in trials.items() if name.startswith("train/")} == {"train"}
    assert {t.split for name, t in trials.items() if name.startswith("eval/")} == {"val", "test"}
    wanted = [counts["eval_spikes_heldin"][5], counts["eval_spikes_heldout"][5]]
    np.testing.assert_array_equal(trials["eval/000005"].spikes, np.concatenate(wanted, axis=1))
    assert read_card(out).unit_names[0] == "heldin000"


@pytest.mark.parametrize(
    ("file", "options", "told"),
    [
        (
            "pmd_reach_plan_train.npz",
            "--spikes spikes_1ms --bin-ms 5 --angle angle=target*45 --stratify target",
            ["units        97", "728 of 140 bins (0.7 s)", "9.84 on average", "at most 3; 95.2 %"],
        ),
        (
            "m1_reach_contdata95.npz",
            "--spikes counts --spikes-axes time,unit --sample-ms 50 --bin-ms 50 --trial-start "
            "trial_start --trial-len trial_len --covariate vel=vel:a.u. --angle "
            "angle=target_deg[target]",
            ["units        95", "1456 of 19-29 bins", "vel (2, a.u.)", "25.56"],
        ),
        (
            "hippocampus_nelpy_linear_track_25ms.npz",
            "--spikes counts --spikes-axes time,unit --sample-ms 25 --bin-ms 25 --window-bins 80 "
            "--covariate pos=pos_px:px",
            ["units        31", "984 of 80 bins (2 s)", "0.47 on average", "99.0 %"],
        ),
    ],
)
def test_real_recordings_take_one_command(
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    options: str,
    told: list[str],
) -> None:
    out = tmp_path / "d"
    assert ingest.main(["npz", str(shared_data / file), "--out", str(out), *options.split()]) == 0
    assert describe.main([str(out), "--verify", "--no-plot"]) == 0
    text = capsys.readouterr().out
    for part in told:
        assert part in text


def test_bad_recordings_are_told_in_one_line(tmp_path: Path) -> None:
    spikes = np.zeros((3, 2, 10))
    spikes[1, 1, 7] = np.nan
    np.savez(tmp_path / "a.npz", spikes=spikes)
    command = [sys.executable, "jobs/ingest.py", "npz", str(tmp_path / "a.npz"), "--bin-ms", "5"]
    command += ["--out", str(tmp_path / "out")]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    for part in ("a.npz: trial '000001'", "bin 7, unit 1", "finite, got nan"):
        assert part in failed.stderr
    assert not (tmp_path / "out" / "dataset.json").exists()
