"""Comparing datasets of samples from the command line: what is printed, what is left, what is refused."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from ldns_ray.data.batches import trials_of
from ldns_ray.data.shards import load_trialset, read_card, write_dataset

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def compare(job, trained, tracking_uri, tmp_path):
    """Compares the datasets with the recording of the trained model; what was printed, and the folder of results."""

    def run(*words):
        code, out, err = job(
            "evaluate", trained.data_uri, *words, "--tracking-uri", tracking_uri, "--root", tmp_path / "root"
        )  # fmt: skip
        assert (code, err) == (0, "")
        (folder,) = (tmp_path / "root" / "comparisons").iterdir()
        return out, folder

    return run


def test_several_models_stand_in_one_table_and_one_report(
    job, compare, trained, tracking_uri, tmp_path
):
    others = tmp_path / "others"
    job(
        "sample", trained.model_uri, "--n-steps", "3", "--n", "9", "--out", others, "--tracking-uri", tracking_uri
    )  # fmt: skip
    out, folder = compare(trained.samples_uri, others, "--splits", "4", "--resamples", "5")
    header, _, *rows = out.splitlines()[1:8]
    assert header.split()[0] == "score"
    names = ["dataset", "others", "PSTH + Poisson", "FA + VAR + Poisson"]
    assert [row.split("  ")[0] for row in rows] == [*names, "Training trials"]
    assert f"Report: {folder / 'report.html'}" in out
    assert out.splitlines()[-1].startswith(f"Results: {folder} and run ")
    page = (folder / "report.html").read_text()
    assert all(name in page for name in names)
    assert f"python jobs/evaluate.py {trained.data_uri} {trained.samples_uri}" in page
    assert {p.stem for p in (folder / "plots").iterdir()} == {
        "overview", "rasters", "population_counts", "correlations", "isi", "rates", "correlograms",
    }  # fmt: skip
    told = pq.read_table(folder / "units.parquet")["trials"].to_pylist()
    assert list(dict.fromkeys(told)) == ["real", *names]


def copies_of_training_trials(trained, uri):
    trials = load_trialset(trained.data_uri, "train", [])
    copies = [
        replace(t, trial_id=f"copy-{i}", split="test")
        for i, t in enumerate(trials_of(trials, "train"))
    ]
    write_dataset(copies, uri, name="copies", bin_width_s=trials.bin_width_s)


def test_samples_that_replay_training_trials_are_flagged(compare, trained, tmp_path):
    copies_of_training_trials(trained, str(tmp_path / "copies"))
    out, folder = compare(f"replay={tmp_path / 'copies'}", "--splits", "2", "--resamples", "0")
    assert "replay: novelty 0.00" in out
    assert "Warning: replay replays training trials" in out
    assert "replays training trials" in (folder / "report.html").read_text()


def test_samples_that_are_the_reference_itself_are_flagged(compare, trained):
    out, _ = compare(f"all={trained.data_uri}", "--splits", "2", "--resamples", "0")
    n, of = (
        read_card(trained.data_uri).splits["test"]["n_trials"],
        trained.experiment.dataset.n_trials,
    )
    assert f"Warning: {n} of {of} trials of all are reference trials, spike for spike" in out


def test_without_training_trials_there_are_no_baselines(compare, trained):
    out, _ = compare(
        f"mine={trained.samples_uri}", "--split", "train", "--splits", "2", "--resamples", "0"
    )
    assert "PSTH" not in out
    assert "novelty" not in out
    assert out.splitlines()[3].startswith("mine")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("x", "x"), "Two sampled datasets are called x"),
        (("real",), "'real' is taken"),
        ((" ",), "given as NAME=DATASET or DATASET, got ' ="),
    ],
)
def test_names_that_say_nothing_are_refused(refuses, trained, tracking_uri, names, said):
    given = [f"{name}={trained.samples_uri}" for name in names]
    assert said in refuses("evaluate", trained.data_uri, *given, "--tracking-uri", tracking_uri)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--split", "tset"], "'tset'"),
        (["--splits", "0"], "n_splits must be at least 1"),
        (["--resamples", "-1"], "n_resamples must be at least 0"),
        (["--seed", "-1"], "--seed must be in [0, 2^48), got -1"),
        (["--label", "word"], "'word'"),
    ],
)
def test_bad_requests_for_a_comparison_are_refused(
    refuses, trained, tracking_uri, tmp_path, options, expected
):
    command = ["evaluate", trained.data_uri, trained.samples_uri, "--tracking-uri", tracking_uri]
    assert expected in refuses(*command, "--root", tmp_path, *options)
