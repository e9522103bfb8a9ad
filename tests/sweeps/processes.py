"""The processes of this test's Ray, which tests watch and kill."""

import contextlib
import time

import psutil

TRIAL = "ImplicitFunc"
TRAINING = ("RayTrainWorker", "TrainController")


def of_ray(*kinds):
    """The processes of actors of these classes."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(kind in " ".join(process.cmdline()) for kind in kinds):
                found.append(process)
    return found


def busiest(processes, seconds=1.0):
    """The one that computes most."""
    before = {p.pid: sum(p.cpu_times()[:2]) for p in processes}
    time.sleep(seconds)
    return max(processes, key=lambda p: sum(p.cpu_times()[:2]) - before[p.pid])


def wait_until(what, limit_s=60.0):
    """Wait for what is true in the end."""
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, f"not so within {limit_s:g} s"
        time.sleep(0.05)
