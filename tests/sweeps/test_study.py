"""A sweep's study: points come from it alone, trials are compared at rungs, every end is told once."""

import math
import shutil
import time

import optuna
import pytest
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ldns_ray.sweeps import study as studies
from ldns_ray.sweeps.study import Halving, StudySearch, rungs


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database with Optuna's tables: making them takes a second."""
    path = tmp_path_factory.mktemp("empty") / "optuna.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def search(tmp_path, empty_database):
    """Makes a search as a new process would: from the study's database alone."""
    shutil.copy(empty_database, tmp_path / "optuna.db")
    space = {"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"]), "n": tune.randint(1, 4)}

    def make(seed=0, **options):
        database = f"sqlite:///{tmp_path}/optuna.db"
        study = optuna.create_study(study_name="s", storage=database, load_if_exists=True)
        return StudySearch(study, OptunaSearch.convert_search_space(space), seed, **options)

    return make


def ends(made):
    return [(t.number, t.state.name, t.value) for t in made.study.trials]


def test_points_lie_in_the_space_and_are_numbered(search):
    made = search()
    points = [made.suggest(str(i)) for i in range(20)]
    assert [p.pop("trial_number") for p in points] == list(range(1, 21))
    assert {p["n"] for p in points} == {1, 2, 3}
    assert {p["kind"] for p in points} == {"a", "b"}
    assert all(0 <= p["x"] <= 1 for p in points)
    assert len({p["x"] for p in points}) == 20


def test_interrupted_points_come_again_as_they_were_and_finished_ones_never(search):
    died = search()
    points = {name: died.suggest(name) for name in "abcd"}
    died.on_trial_complete("b", {"score": 2.0})
    died.on_trial_complete("d", error=True)

    again = search()
    assert [again.suggest(name) for name in "pq"] == [points["a"], points["c"]]
    fresh = again.suggest("r")
    assert fresh["trial_number"] == 5
    assert fresh["x"] not in {p["x"] for p in points.values()}
    for name, score in zip("pqr", (1.0, 3.0, 4.0), strict=True):
        again.on_trial_complete(name, {"score": score})
    assert ends(again) == [
        (0, "COMPLETE", 1.0), (1, "COMPLETE", 2.0), (2, "COMPLETE", 3.0), (3, "FAIL", None), (4, "COMPLETE", 4.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"score": math.inf, "error": "ValueError: no"}, "ValueError: no"),
        ({"score": math.nan}, "The score was nan."),
        ({"score": math.inf}, "The score was inf."),
    ],
)
def test_a_trial_without_a_score_failed_and_says_why(search, result, said):
    made = search()
    made.suggest("a")
    made.on_trial_complete("a", result)
    assert ends(made) == [(0, "FAIL", None)]
    assert studies.error_of(made.study.trials[0]) == said


@pytest.mark.parametrize("result", [None, {}, {"other": 1.0}, {"score": 1.0, "epoch": 3}])
def test_a_trial_that_neither_failed_nor_came_to_its_score_is_tried_again(search, result):
    made = search()
    point = made.suggest("a")
    made.on_trial_complete("a", result)
    assert ends(made) == [(0, "RUNNING", None)]
    assert search().suggest("b") == point


def test_a_point_of_which_half_was_drawn_is_completed(search):
    made = search()
    trial = made.study.ask({"x": made.distributions["x"]})
    again = search().suggest("a")
    assert again["x"] == trial.params["x"]
    assert again.keys() == {"x", "kind", "n", "trial_number"}


def test_what_was_drawn_follows_from_seed_and_number(search):
    first = [search().suggest(str(i)) for i in range(2)]
    assert first[0] == first[1], "the first was interrupted"
    made = search()
    points = [made.suggest(str(i)) for i in range(3)]
    optuna.delete_study(study_name="s", storage=made.study._storage)
    made = search()
    assert [made.suggest(str(i)) for i in range(3)] == points
    optuna.delete_study(study_name="s", storage=made.study._storage)
    assert search(seed=1).suggest("0") != points[0]


def test_a_search_in_several_processes_is_that_of_one(search):
    """The next point follows from every trial that has ended, whichever process ran it."""
    searched = []
    for trials_per_process in (48, 11):
        points = []
        while len(points) < 48:
            made = search()
            for name in range(min(trials_per_process, 48 - len(points))):
                point = made.suggest(str(name))
                points.append(point)
                made.on_trial_complete(str(name), {"score": abs(point["x"] - 0.5) + 1})
        searched.append(points)
        optuna.delete_study(study_name="s", storage=made.study._storage)
    assert searched[0] == searched[1]
    assert len({point["x"] for point in searched[0]}) == 48
    late = [abs(p["x"] - 0.5) for p in searched[0][28:]]
    assert sum(late) / len(late) < 0.2, "random points: 0.25"


def test_what_points_leave_out_is_drawn_for_each_of_them(search):
    """By the trial's number, however many points wait: none gets what another, or the trial after them, gets."""
    made = search()
    for n in (1, 2, 3):
        made.study.enqueue_trial({"n": n})
    points = [made.suggest(str(i)) for i in range(5)]
    assert [p["n"] for p in points[:3]] == [1, 2, 3]
    assert len({p["x"] for p in points}) == 5
    optuna.delete_study(study_name="s", storage=made.study._storage)
    made = search()
    drawn = [made.suggest(str(i)) for i in range(5)]
    assert [p["x"] for p in points[3:]] == [p["x"] for p in drawn[3:]]


def test_failed_trials_are_never_learnt_from(search):
    """Wherever the points lie that failed, the next point follows from the scores of the others alone."""
    suggested = []
    for failed_at in (0.1, 0.9):
        made = search()
        for i in range(24):
            failed, x = i % 2 == 1, (i + 0.5) / 24
            made.study.add_trial(
                optuna.create_trial(
                    state=optuna.trial.TrialState.FAIL
                    if failed
                    else optuna.trial.TrialState.COMPLETE,
                    value=None if failed else abs(x - 0.5),
                    params={"x": failed_at if failed else x, "kind": "a", "n": 1},
                    distributions=made.distributions,
                )
            )
        suggested.append(made.suggest("next"))
        optuna.delete_study(study_name="s", storage=made.study._storage)
    assert suggested[0] == suggested[1]
    assert suggested[0]["x"] not in (0.1, 0.9)


def test_an_error_is_told_of_failed_trials_alone(search):
    """A trial that failed and was tried again may have come to its score."""
    made = search()
    made.suggest("a")
    made.note("a", "OSError: gone")
    made.on_trial_complete("a", {"score": 1.0})
    made.suggest("b")
    made.on_trial_complete("b", error=True)
    assert [studies.error_of(trial) for trial in made.study.trials] == ["", studies.NO_WORD]


def test_failed_trials_are_tried_again_under_new_numbers(search):
    """Once each, however often that is asked; another failure may be tried again too."""
    made = search()
    points = {name: made.suggest(name) for name in "abc"}
    made.on_trial_complete("a", {"score": 1.0})
    made.on_trial_complete("b", error=True)
    made.on_trial_complete("c", error=True)
    assert studies.try_failed_again(made.study) == 2
    assert studies.try_failed_again(made.study) == 0
    again = search()
    new = [again.suggest(name) for name in "bc"]
    assert [p.pop("trial_number") for p in new] == [4, 5]
    assert new == [{k: points[n][k] for k in ("x", "kind", "n")} for n in "bc"]
    again.on_trial_complete("b", {"score": 2.0})
    again.on_trial_complete("c", error=True)
    counted = studies.counted(again.study)
    assert [(t.number, t.state.name) for t in counted] == [
        (0, "COMPLETE"),
        (3, "COMPLETE"),
        (4, "FAIL"),
    ]
    assert studies.try_failed_again(again.study) == 1
    assert search().suggest("d")["trial_number"] == 6


def test_no_trial_starts_after_the_time(search):
    made = search(until=time.monotonic() + 60)
    point = made.suggest("a")
    late = search(until=time.monotonic() - 1)
    assert late.suggest("b") == point, "what was interrupted is brought to its end"
    assert late.suggest("c") == Searcher.FINISHED
    assert len(late.study.trials) == 1


# -- Rungs


@pytest.mark.parametrize(
    ("epochs", "factor", "expected"),
    [
        (900, 3, (100, 300)),
        (1000, 3, (111, 333)),
        (1000, 2, (250, 500)),
        (9, 3, (1, 3)),
        (3, 3, (1,)),
        (1, 3, ()),
        (900, 0, ()),
    ],
)
def test_rungs_are_powers_of_the_factor_apart(epochs, factor, expected):
    assert rungs(epochs, factor) == expected


class Reported:
    """A trial as Tune's controller has it, as far as a scheduler looks at it."""

    def __init__(self, trial_id):
        self.trial_id = trial_id


def report(made, name, epoch, score):
    """What becomes of a trial that reports a score at an epoch, as Tune would ask."""
    result = {"score": score, "epoch": epoch}
    decision = Halving(made).on_trial_result(None, Reported(name), result)
    if decision == TrialScheduler.STOP:
        made.on_trial_complete(name, result)
    return decision


def finish(made, n, score=1.0):
    """So many trials that reach both rungs and their end."""
    for i in range(n):
        name = f"finished {i}"
        made.suggest(name)
        for epoch in (2, 6):
            assert report(made, name, epoch, score + i) == TrialScheduler.CONTINUE
        made.on_trial_complete(name, {"score": score + i})


def test_the_first_trials_are_never_stopped(search):
    made = search(rungs=(2, 6))
    finish(made, studies.RANDOM_TRIALS)
    assert {state for _, state, _ in ends(made)} == {"COMPLETE"}


def test_a_third_goes_on(search):
    """A trial goes on that is among the best third of those that have come as far."""
    made = search(rungs=(2, 6))
    finish(made, studies.RANDOM_TRIALS)  # scores 1 to 10 at both rungs
    for name, score, expected in (
        ("worst", 11.0, TrialScheduler.STOP),
        ("middle", 5.5, TrialScheduler.STOP),
        ("third", 3.5, TrialScheduler.CONTINUE),  # the fourth of thirteen
        ("fourth", 4.5, TrialScheduler.STOP),
        ("best", 0.5, TrialScheduler.CONTINUE),
    ):
        made.suggest(name)
        assert report(made, name, 2, score) == expected, name
    assert report(made, "best", 6, 20.0) == TrialScheduler.STOP
    made.suggest("other")
    assert report(made, "other", 4, 100.0) == TrialScheduler.CONTINUE, "no rung"
    assert [t.state.name for t in made.study.trials[10:]] == [
        "PRUNED", "PRUNED", "RUNNING", "PRUNED", "PRUNED", "RUNNING"
    ]  # fmt: skip
    assert made.study.trials[14].intermediate_values == {2: 0.5, 6: 20.0}


def test_rungs_are_remembered_by_the_study(search):
    """A process that goes on compares with all trials before it, and hears an interrupted trial's reports again."""
    died = search(rungs=(2, 6))
    finish(died, studies.RANDOM_TRIALS)
    died.suggest("a")
    assert report(died, "a", 2, 0.5) == TrialScheduler.CONTINUE
    made = search(rungs=(2, 6))
    made.suggest("b")
    assert report(made, "b", 2, 0.5) == TrialScheduler.CONTINUE
    assert report(made, "b", 6, 0.4) == TrialScheduler.CONTINUE
    made.suggest("c")
    assert report(made, "c", 2, 9.0) == TrialScheduler.STOP
    assert made.study.trials[10].intermediate_values == {2: 0.5, 6: 0.4}


def test_all_go_on_without_rungs(search):
    made = search()
    for i in range(15):
        made.suggest(str(i))
        assert report(made, str(i), 2, float(i)) == TrialScheduler.CONTINUE
        made.on_trial_complete(str(i), {"score": 1.0})


def test_stopped_trials_count_for_what_is_suggested_next(search):
    """The sampler sees them, worse than any that finished."""
    made = search(rungs=(2, 6))
    finish(made, studies.RANDOM_TRIALS)
    made.suggest("a")
    assert report(made, "a", 2, 50.0) == TrialScheduler.STOP
    stopped = made.study.trials[-1]
    assert (stopped.state.name, stopped.value) == ("PRUNED", 50.0)
