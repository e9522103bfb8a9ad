"""Freed memory is reused: counted in page faults, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import resource, sys
import numpy as np
from ldns_ray.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
    keep_freed_memory()

def step():
    parts = [np.ones(2_000_000) for _ in range(4)]  # 16 MB each
    del parts

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="tells glibc, which is Linux's")
def test_steps_after_the_first_touch_no_new_pages():
    def faults(how):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], cwd=ROOT, capture_output=True, text=True, check=True
        )  # fmt: skip
        return int(done.stdout)

    assert faults("keep") * 5 < faults("as it is")
