"""One process at a time does a stage, and one runs a sweep."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from ldns_ray.cli import JobError
from ldns_ray.sweeps import locks
from ldns_ray.sweeps.locks import alone, stage_guard


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

    waits = []
    with stage_guard("e", is_done, lambda: waits.append("e")):
        assert len(asked) >= 5
    assert waits == ["e"]


def test_an_exception_gives_the_stage_up(ray_session):
    with pytest.raises(OSError, match="full"), stage_guard("f", lambda: False):
        raise OSError("disk full")
    start = time.monotonic()
    with stage_guard("f", lambda: False):
        assert time.monotonic() - start < 20


# -- One sweep at a time


def test_a_sweep_runs_once_in_a_cluster(ray_session, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_POLL_SECONDS", 0.1)
    with alone("sweep-a"):
        with alone("sweep-b"):
            pass
        with (
            pytest.raises(JobError, match="Another process runs sweep-a already. Wait for it"),
            alone("sweep-a", patience_s=0.3),
        ):
            pytest.fail("two at once")
    with alone("sweep-a", patience_s=5):
        pass


def test_a_sweep_runs_once_on_a_file_system(tmp_path):
    """Two processes with a Ray each, or none; the file is free again when its process is killed."""
    file = tmp_path / "lock"
    code = "import sys, time; from ldns_ray.sweeps.locks import alone\nwith alone('s', sys.argv[1]): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(JobError, match="runs s already"), alone("s", str(file), patience_s=0):
            pytest.fail("two at once")
        other.kill()
    with alone("s", str(file), patience_s=0):
        pass
