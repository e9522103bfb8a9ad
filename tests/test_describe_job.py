"""What the job that describes datasets prints and draws."""

import numpy as np

from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import write_dataset


def test_describing_what_is_not_there_is_refused(refuses, trained, tmp_path):
    assert "'tset'" in refuses("describe", trained.data_uri, "--split", "tset")
    picture = tmp_path / "p.png"
    line = refuses("describe", trained.data_uri, "--plot", picture, "--trial", "x")
    assert "no trial 'x' among 24; the first are: speech000000, speech000001" in line
    assert "--plot must be a .png file" in refuses("describe", trained.data_uri, "--plot", "p.pdf")
    assert not picture.exists()


def test_describe(job, trained):
    code, out, err = job("describe", trained.data_uri, "--verify", "--no-plot")
    assert (code, err) == (0, "")
    for text in (
        "units        16",
        f"trials       24 of {trained.card.min_bins}-{trained.card.max_bins} bins",
        "silent units: none",
    ):
        assert text in out
    assert trained.card.fingerprint in out
    assert "Checksums match" in out
    assert out.splitlines()[-1] == f"Dataset: {trained.data_uri}"


def test_a_description_is_drawn_where_one_works(job, trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for split, name in ((None, "dataset-speech.png"), ("val", "dataset-speech-val.png")):
        options = ["--split", split] if split else []
        code, out, err = job("describe", trained.data_uri, *options)
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == f"Picture: {name}"
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    n_trials = trained.card.splits["val"]["n_trials"]
    table = out[out.index("session ") :].splitlines()
    assert table[0].split()[:3] == ["session", "trials", "val"]
    assert sum(int(row.split()[1]) for row in table[2:] if row.startswith("block")) == n_trials
    job("describe", trained.data_uri, "--plot", tmp_path / "new" / "p.png")
    assert (tmp_path / "new" / "p.png").exists()


def test_long_descriptions_stay_narrow(job, tmp_path):
    """Long names are cut, long texts broken, long lists ended."""
    rng = np.random.default_rng(0)
    trials = [
        Trial(
            spikes=rng.poisson(0.2, (8, 30)).astype(np.uint8) * (np.arange(30) > 14).astype(np.uint8),
            trial_id=f"{i:03d}",
            session=f"a-recording-with-quite-a-long-name-{i:03d}-and-more-{i:03d}",
            split="train",
            covariates={"pose": rng.normal(size=(8, 40)).astype(np.float32)},
            conditions={"target": np.array([i % 25], np.float32), "free": rng.normal(size=2).astype(np.float32)},
        )
        for i in range(50)
    ]  # fmt: skip
    write_dataset(trials, tmp_path / "d", name="x", bin_width_s=0.01, citation="word " * 60)
    code, out, err = job("describe", tmp_path / "d", "--no-plot")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 110
    assert sum(line.startswith("a-recording") for line in lines) == 20
    assert any(line.startswith("a-recording") and "-more-019 " in line for line in lines)
    assert "… and 30 more" in lines
    assert sum(line.startswith("pose") for line in lines) == 20
    assert "silent units: 15 (unit000, unit001," in out
    assert "unit011 and 3 more)" in " ".join(out.split())
    at = next(i for i, line in enumerate(lines) if line.startswith("target"))
    assert lines[at].startswith("target       25 values (trials): 0 (2), 1 (2), ")
    assert lines[at + 1].startswith(" " * 13)
    assert any(line.startswith("free         many values: -") for line in lines)


def test_warnings_of_a_card_are_told(job, tmp_path):
    spikes = np.zeros((4, 2), np.uint8)
    spikes[:, 1] = 1
    trial = Trial(spikes=spikes, trial_id="a", session="day", split="train")
    write_dataset([trial], tmp_path / "d", name="d", bin_width_s=0.01)
    _, out, _ = job("describe", tmp_path / "d", "--no-plot")
    assert "warning      Silent units: 1 of 2 (unit000).\n" in out
    assert "Trials shorter than 10 bins: 1 of 1" in out
