"""A sweep's trials: points from the study alone; one process at a time does a stage."""

import time
from pathlib import Path

import optuna
import pytest
import ray
from ray import tune

from ldns_ray.sweeps import locks
from ldns_ray.sweeps.locks import stage_guard
from ldns_ray.sweeps.study import StudySearch

# -- Points from the study


@pytest.fixture
def search(tmp_path):
    """Makes a search as a new process would: from the study's database alone."""
    space = {"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"]), "n": tune.randint(1, 4)}

    def make(seed=0):
        database = f"sqlite:///{tmp_path}/optuna.db"
        study = optuna.create_study(study_name="s", storage=database, load_if_exists=True)
        return StudySearch(study, space, seed)

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


@pytest.mark.parametrize("result", [None, {}, {"other": 1.0}])
def test_a_trial_without_a_score_failed(search, result):
    made = search()
    made.suggest("a")
    made.on_trial_complete("a", result)
    assert ends(made) == [(0, "FAIL", None)]


# -- One process at a time


@ray.remote(num_cpus=0)
class Other:
    """Another process that wants to do a stage."""

    def __init__(self):
        locks.LOCK_POLL_SECONDS = 0.1

    def hold(self, name, seconds, done=None):
        """Do the stage; what is returned is when, and whether it was there already."""
        with stage_guard(name, lambda: done is not None and Path(done).exists()):
            start = time.time()
            if done is not None and Path(done).exists():
                return start, start, True
            time.sleep(seconds)
            if done is not None:
                Path(done).touch()
            return start, time.time(), False

    def hold_for_ever(self, name, flag):
        with stage_guard(name, lambda: False):
            Path(flag).touch()
            time.sleep(600)


@pytest.fixture(scope="module")
def others(ray_session):
    actors = [Other.remote() for _ in range(2)]
    yield actors
    for actor in actors:
        ray.kill(actor)


def test_one_process_does_a_stage_and_others_find_it_done(others, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_POLL_SECONDS", 0.1)
    done = str(tmp_path / "done")
    found = ray.get([other.hold.remote("a", 1.0, done) for other in others])
    assert sorted(there for _, _, there in found) == [False, True]
    worked = next(f for f in found if not f[2])
    waited = next(f for f in found if f[2])
    assert waited[0] >= worked[1]


def test_processes_do_a_stage_one_after_the_other(others):
    """A stage that is given up is not done: the next one does it."""
    (a, b, _), (c, d, _) = ray.get([other.hold.remote("b", 1.0) for other in others])
    assert b <= c or d <= a


def test_different_stages_are_done_at_the_same_time(others, tmp_path):
    (a, b, _), (c, d, _) = ray.get(
        [other.hold.remote(name, 2.0) for other, name in zip(others, "cd", strict=True)]
    )
    assert a < d
    assert c < b


def test_a_killed_holder_hands_over(ray_session, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_POLL_SECONDS", 0.1)
    flag = tmp_path / "held"
    holder = Other.remote()
    holder.hold_for_ever.remote("e", str(flag))
    deadline = time.monotonic() + 60
    while not flag.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    asked = []

    def is_done():
        asked.append(time.monotonic())
        if len(asked) == 5:  # it waited; now the holder dies
            ray.kill(holder)
        assert time.monotonic() < deadline
        return False

    with stage_guard("e", is_done):
        assert len(asked) >= 5


def test_an_exception_gives_the_stage_up(ray_session):
    with pytest.raises(OSError, match="full"), stage_guard("f", lambda: False):
        raise OSError("disk full")
    start = time.monotonic()
    with stage_guard("f", lambda: False):
        assert time.monotonic() - start < 20
