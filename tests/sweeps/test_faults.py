"""Sweeps of which some trials fail: the others go on, and every failure is told, kept and learnt nothing from."""

import json
import re
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from ray import tune

from ldns_ray.pipeline import Pipeline
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import StudySearch, open_study
from ldns_ray.sweeps.sweep import run_sweep
from ldns_ray.sweeps.tables import format_result
from ldns_ray.sweeps.trial import trial_experiment
from ldns_ray.tracking.connection import connect
from tests.sweeps.planned import RATE
from tests.sweeps.processes import TRIAL, of_ray
from tests.sweeps.submitted import result
from tests.tracking.stored import artifact_of, history_of

pytestmark = pytest.mark.slow

BETA = "diffusion.smooth_l1_beta"
WIDTH = "diffusion.width"
RETRIES = 1
GOOD, DIVERGES, TOO_WIDE, UNWRITABLE, DIES = (
    {RATE: rate, WIDTH: width, BETA: beta}
    for rate, width, beta in (
        (1e-3, 16, 0.04), (1e30, 16, 0.04), (1e-3, 4_000_000, 0.04), (1e-3, 16, 0.08), (1e-3, 16, 0.06)
    )
)  # fmt: skip
POINTS = (DIVERGES, TOO_WIDE, UNWRITABLE, DIES, GOOD)


class Killer(threading.Thread):
    """Kills the processes of a trial, each as soon as the trial's diffusion model trains."""

    def __init__(self, lines, trial):
        super().__init__(daemon=True)
        self.lines, self.trial, self.killed, self.stop = lines, trial, [], threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()

    def run(self):
        read = 0
        while not self.stop.wait(0.02):
            for line in self.lines[read:]:
                read += 1
                if line.startswith(f"{self.trial}  diffusion ") and "started" in line:
                    (process,) = of_ray(TRIAL)
                    process.send_signal(signal.SIGKILL)
                    self.killed.append(process.pid)


@pytest.fixture(scope="module")
def faulty(trained, ray_session, tracking_uri, tmp_path_factory):
    """A sweep over POINTS that has ended, its lines, its killed processes, and the memory that it left."""
    root = tmp_path_factory.mktemp("faulty")
    space = {
        RATE: tune.choice([1e-3, 1e30]), WIDTH: tune.choice([16, 4_000_000]), BETA: tune.uniform(0.02, 0.1)
    }  # fmt: skip
    sweep = Sweep(
        "faulty", trained.experiment, space, trained.data_uri, str(root), tracking_uri,
        n_trials=len(POINTS), points=POINTS, retries=RETRIES,
    )  # fmt: skip
    unwritable = Pipeline(
        trial_experiment(sweep.experiment, UNWRITABLE), sweep.data_uri, sweep.root
    )
    folder = Path(unwritable.uri("observation"))
    folder.parent.mkdir()
    folder.touch()  # a file where the stage's folder is to be
    lines = []
    swap = psutil.swap_memory().used
    with Killer(lines, "trial 4") as killer:
        result = run_sweep(sweep, lines.append)
    tracking = connect(tracking_uri, "faulty")
    parent = tracking.find(sweep.fingerprint)
    children = {child["name"]: child for child in tracking.children(parent)}
    return SimpleNamespace(
        sweep=sweep, result=result, lines=lines, killed=killer.killed, swapped=psutil.swap_memory().used - swap,
        tracking=tracking, parent=parent, children=children, study=open_study(sweep),
    )  # fmt: skip


def row(faulty, number):
    (found,) = [row for row in faulty.result["trials"] if row["number"] == number]
    return found


def text_of(faulty, number, name):
    run_id = faulty.children[f"trial {number}"]["run_id"]
    return artifact_of(faulty.tracking, run_id, name).decode()


ERRORS = {
    1: "FloatingPointError: The training loss became nan in epoch 1.",
    2: "RuntimeError: [enforce fail at alloc_cpu",
    3: "NotADirectoryError: [Errno 20] Cannot create directory",
    4: "Its process died without a word: out of memory, or killed.",
}


def test_the_sweep_ends_and_counts_them(faulty):
    assert [(r["name"], r["status"]) for r in faulty.result["trials"]] == [
        ("trial 5", "FINISHED"), ("trial 1", "FAILED"), ("trial 2", "FAILED"), ("trial 3", "FAILED"),
        ("trial 4", "FAILED"),
    ]  # fmt: skip
    assert result(Path(faulty.sweep.root)) == json.loads(json.dumps(faulty.result))
    assert faulty.result["missing"] == 0
    assert faulty.result["best"]["number"] == 5
    assert faulty.lines[-1] == "Sweep faulty: 1 finished, 4 failed."
    assert faulty.lines[-2].startswith("faulty  5/5 done, 4 failed, best ")
    table = format_result(list(faulty.sweep.space), faulty.result)
    assert re.findall(r"^trial (\d)  +failed ", table, re.M) == ["1", "2", "3", "4"]
    assert re.findall(r"^trial (\d) failed: ", table, re.M) == ["1", "2", "3", "4"]
    run = faulty.tracking.client.get_run(faulty.parent)
    assert (run.info.status, run.data.metrics["trials_failed"]) == ("FINISHED", 4)
    assert run.data.metrics["trials_running"] == 0
    counted = history_of(faulty.tracking, faulty.parent, "trials_failed")
    assert counted == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 4.0)]


@pytest.mark.parametrize("number", ERRORS)
def test_a_failure_is_kept_where_one_looks_for_it(faulty, number):
    said, child = ERRORS[number], faulty.children[f"trial {number}"]
    trial = faulty.study.trials[number - 1]
    assert trial.state == TrialState.FAIL
    for told in (
        trial.user_attrs["error"],
        row(faulty, number)["error"],
        child["tags"]["ldns.error"],
    ):
        assert told.startswith(said)
    assert child["status"] == "FAILED"
    assert said in text_of(faulty, number, "traceback.txt")
    assert "score" not in child["metrics"]
    ended = faulty.tracking.client.get_run(child["run_id"]).info.end_time / 1000
    assert ended == pytest.approx(row(faulty, number)["ended"], abs=5)


def test_what_may_pass_is_tried_again_and_what_cannot_is_not(faulty):
    begun = [
        sum(line.startswith(f"trial {number}  begins") for line in faulty.lines)
        for number in (1, 2, 3, 4, 5)
    ]
    assert begun == [1, 1 + RETRIES, 1 + RETRIES, 1 + RETRIES, 1]
    assert len(faulty.killed) == 1 + RETRIES
    kept = [faulty.children[f"trial {n}"]["tags"].get("ldns.failures") for n in (1, 2, 3, 4, 5)]
    assert kept == ["1", "2", "2", None, None], "who is killed can keep nothing"
    for attempt in (1, 2):
        assert "can't allocate memory" in text_of(faulty, 2, f"failures/{attempt}.txt")


def test_memory_is_refused_at_once(faulty):
    """The weights would be 96 TB: nothing is swapped out, and each attempt ends where the network is made."""
    assert "you tried to allocate 96000000000000 bytes" in row(faulty, 2)["error"]
    assert faulty.swapped < 50e6
    assert "diffusion/train_loss" not in faulty.children["trial 2"]["metrics"]


def test_the_next_point_is_that_of_a_study_without_failures(faulty):
    (whole,) = [t for t in faulty.study.trials if t.state == TrialState.COMPLETE]
    alone = optuna.create_study(direction="minimize")
    for i in range(len(POINTS)):
        other = optuna.create_trial(state=TrialState.FAIL)
        alone.add_trial(whole if i == whole.number else other)
    suggested = [
        StudySearch(study, faulty.sweep.distributions, faulty.sweep.seed).suggest("next")
        for study in (faulty.study, alone)
    ]
    assert suggested[0] == suggested[1]
