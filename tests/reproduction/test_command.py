"""Whole results, tiny: from dataset to table, and that nothing is done twice."""

import json
from pathlib import Path

import pytest

from ldns_ray.config import experiment
from ldns_ray.reproduction.angle import GUIDANCES, OWN
from ldns_ray.reproduction.recordings import RECORDINGS
from ldns_ray.reproduction.warping import NEW_MOVEMENTS
from ldns_ray.tracking.connection import connect
from tests.pipelines import files

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

TINY = (
    "autoencoder.width=16", "autoencoder.n_blocks=1", "autoencoder.n_latents=4", "autoencoder.optimisation.epochs=2",
    "autoencoder.optimisation.warmup_epochs=1", "diffusion.width=16", "diffusion.n_blocks=1", "diffusion.n_steps=20",
    "diffusion.optimisation.epochs=2", "diffusion.optimisation.warmup_epochs=1",
    "diffusion.optimisation.validate_every=1", "sampling.n_steps=3", "sampling.n_trials=70", "evaluation.n_splits=4",
    "evaluation.n_resamples=10",
)  # fmt: skip
SIMULATED = {
    "lorenz": ("dataset.n_trials=40", "dataset.n_units=12", "dataset.min_bins=48", "dataset.max_bins=48"),
    "speech": ("dataset.n_trials=60", "dataset.n_units=16", "dataset.min_bins=40", "dataset.max_bins=90"),
}  # fmt: skip


@pytest.fixture
def reproduced(job, tracking_uri, request, tmp_path):
    """Makes a result, and makes it again; its numbers, its table to paste, its run, and what the second time said."""

    def run(result):
        words = [result, "--small", "--workers", "0", *TINY, *SIMULATED.get(result, ())]
        if result in RECORDINGS:
            folder = request.getfixturevalue("shared_data")
            words += ["--recording", folder / RECORDINGS[result].file]
        words += ["--root", tmp_path, "--tracking-uri", tracking_uri]
        code, out, err = job("reproduce", *words)
        assert (code, err) == (0, "")
        before = files(tmp_path)
        code, again, err = job("reproduce", *words)
        assert (code, err) == (0, "")
        assert files(tmp_path) == before
        assert again[again.index("###") :] == out[out.index("###") :]
        progress = again[: again.index("###")].strip().splitlines()
        assert progress
        assert all("already done" in line for line in progress)
        folder = Path(out.splitlines()[-1].removeprefix("Results: ").split(" and run ")[0])
        tracking = connect(tracking_uri, f"{result}_small")
        run_id = out.splitlines()[-1].split(" and run ")[1].split(" in ")[0]
        numbers = json.loads((folder / "reproduction.json").read_text())
        return numbers, (folder / "RESULTS.md").read_text(), tracking, run_id

    return run


def metrics_of(tracking, run_id):
    return tracking.client.get_run(run_id).data.metrics


def test_lorenz(reproduced):
    numbers, text, tracking, run_id = reproduced("lorenz")
    found = numbers["found"]
    assert set(found) == {"criteria", "evaluation", "recovery", "agreement", "long"}
    assert found["agreement"]["n_trials"] == 8
    windows = {"real", "usual", "first", "last", "real_first", "real_last"}
    assert set(found["long"]["rates"]) == set(found["long"]["latents"]) == windows
    assert found["long"]["latents"]["real"]["nearest"] > 0
    rates, *agreed = found["criteria"]
    assert (rates["value"], rates["bound"]) == (found["recovery"]["rates"], 0.95)
    assert rates["met"] is False, "three epochs recover no rates"
    assert len(agreed) == 5
    assert f"| {rates['what']} |" in text
    assert "0.9969" in text
    metrics = metrics_of(tracking, run_id)
    assert metrics["recovery/latents_r2"] == pytest.approx(found["recovery"]["latents"])
    assert metrics["long/latents_ks"] == pytest.approx(found["long"]["latents"]["last"]["ks"])
    artifacts = {f.path for f in tracking.client.list_artifacts(run_id)}
    assert artifacts >= {"RESULTS.md", "reproduction.json", "report.html", "plots"}
    pictures = {Path(f.path).stem for f in tracking.client.list_artifacts(run_id, "plots")}
    assert pictures >= {"latents", "isi", "correlations", "latents_last_sixteenth"}
    (child,) = tracking.children(run_id)
    assert child["name"] == "lorenz"
    assert child["tags"]["ldns.logged_model"].startswith("models:/")


def test_speech(reproduced):
    numbers, text, _, _ = reproduced("speech")
    thirds = numbers["found"]["by_length"]["thirds"]
    assert len(thirds) == 3
    unseen = numbers["found"]["unseen"]
    known = experiment(
        "speech_small", **dict(word.split("=") for word in SIMULATED["speech"])
    ).dataset
    short, long = sorted(map(int, unseen))
    assert short < known.min_bins
    assert long > known.max_bins
    assert all(
        x["n_bins"] and x["like"] == "64 real trials of that length" for x in unseen.values()
    )
    assert "lengths that no trial had" in text


def test_reach(reproduced):
    numbers, text, tracking, run_id = reproduced("reach")
    rows = [row["name"] for row in numbers["found"]["evaluation"]["rows"]]
    assert rows == [
        "LDNS + spike history, DDPM 20", "LDNS + spike history, SDE-DPM 3", "LDNS + Poisson, DDPM 20",
        "LDNS + Poisson, SDE-DPM 3", "PSTH + Poisson", "FA + VAR + Poisson", "Training trials",
    ]  # fmt: skip
    lines = numbers["found"]["few_steps"]["LDNS + spike history"]
    judged = {x["what"]: x for x in numbers["found"]["criteria"]}
    outside = judged["metrics of SDE-DPM 3 farther off than the interval of DDPM 20"]
    assert outside["value"] == [line["within"] for line in lines].count(False)
    assert judged["score, best baseline's"]["met"] is False, "three epochs beat no baseline"
    assert judged["held-out trials"] == {
        "what": "held-out trials", "value": 145, "bound": 140, "at_least": True, "met": True
    }  # fmt: skip
    assert (
        "LDNS + spike history: do 3 steps of SDE-DPM (`dpmpp_2m_sde`) do as well as the 20 of DDPM?"
        in text
    )
    assert "Counts hidden from the autoencoder" in text
    children = tracking.children(run_id)
    assert len(children) == 2
    said = tracking.client.get_run(children[0]["run_id"]).data.tags["mlflow.note.content"]
    assert said.startswith("Evaluated in [the run of the whole result](#/experiments/")
    assert metrics_of(tracking, run_id)["score/PSTH Poisson"] > 0


def test_reach_angle(reproduced):
    numbers, text, tracking, run_id = reproduced("reach_angle")
    found = numbers["found"]
    guided = found["evaluation"]["conditional"]
    assert list(guided) == [OWN, *(f"guidance {g:g}" for g in GUIDANCES)]
    sizes = {row["name"]: row["n_trials"] for row in found["evaluation"]["rows"]}
    assert (sizes[OWN], sizes["guidance 2"]) == (70, 145)
    assert guided["guidance 1"]["classes"]["accuracy_real"] > 0.9
    assert set(found["left_out"]) == {"90", "225"}
    for x in found["left_out"].values():
        assert x["error_real"] < 15
        assert x["limit"] == 25
        assert set(x["guided"]) == {"1", "1.5", "2"}
    judged = {x["what"]: (x["value"], x["bound"]) for x in found["criteria"]}
    assert len(judged) == 6
    x = found["left_out"]["225"]
    assert judged["angle error at 225°, never seen, guidance 1.5"] == (
        x["guided"]["1.5"]["error_sampled"], x["limit"],
    )  # fmt: skip
    assert "| 225° |" in text
    names = [child["name"] for child in tracking.children(run_id)]
    assert sorted(names) == ["reach_angle", "reach_angle without 225°", "reach_angle without 90°"]


def test_reach_velocity(reproduced):
    numbers, text, tracking, run_id = reproduced("reach_velocity")
    asked = numbers["found"]["decoded"]["asked"]
    assert list(asked) == [*(f"guidance {g:g}" for g in GUIDANCES), *NEW_MOVEMENTS]
    assert asked["mirrored"]["smoothed spikes"]["real"] == pytest.approx(0.44, abs=0.02)
    assert asked["mirrored"]["rates"]["real"] == asked["guidance 1"]["rates"]["real"]
    assert "| changed: mirrored |" in text
    assert asked["guidance 1"]["novelty"] == 1, "these are the held-out movements"
    assert asked["mirrored"]["novelty"] > 0.9
    assert "mirrored/r2_rates" in metrics_of(tracking, run_id)
