from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs import describe, ingest
from ldns_ray.cli import run
from ldns_ray.data.shards import read_card

ROOT = Path(__file__).resolve().parents[2]


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


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str]) -> int:
        raise ValueError("bad\nvalue")

    monkeypatch.setenv("LDNS_DEBUG", "1")
    with pytest.raises(ValueError, match="bad"):
        run(fail)
    monkeypatch.delenv("LDNS_DEBUG")
    with pytest.raises(SystemExit, match="2"):
        run(fail)
