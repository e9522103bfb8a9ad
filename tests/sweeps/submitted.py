"""Sweeps as a user submits them, processes that tests kill, and what is to be found afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import psutil

from ldns_ray.config import Experiment, changes
from ldns_ray.settings import as_word
from ldns_ray.tracking.connection import connect

ROOT = Path(__file__).resolve().parents[2]


def _heed_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Submitted:
    """A sweep's driver, in a session of its own; its Ray dies with it."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        env = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}  # fmt: skip
        env["OMP_NUM_THREADS"] = "1"
        self.lines: list[str] = []
        self.started = time.monotonic()
        self.errors = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "jobs/sweep_speech.py", *arguments], cwd=ROOT, env=env, text=True,
            stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True, preexec_fn=_heed_ctrl_c,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    def wait_for(self, text: str, limit_s: float = 240.0) -> str:
        """The first line that holds `text`."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if text in line:
                    return line
            assert self.process.poll() is None, "\n".join(self.lines) + self.said()
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"no {text!r} within {limit_s} s of:\n" + "\n".join(self.lines))

    def trial_processes(self) -> list[psutil.Process]:
        """The processes in which trials run."""
        everyone = psutil.Process(self.process.pid).children(recursive=True)
        return [p for p in everyone if "ImplicitFunc" in p.name() or "ImplicitFunc" in " ".join(p.cmdline())]  # fmt: skip

    def kill(self) -> None:
        """The driver is gone, from one moment to the next; so is, soon, its Ray."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(family, timeout=30)

    def end(self, limit_s: float = 600.0) -> str:
        """What it printed, once it has ended well."""
        assert self.process.wait(limit_s) == 0, "\n".join(self.lines) + self.said()
        self._reader.join(10)
        return "\n".join(self.lines)

    def said(self) -> str:
        self.errors.flush()
        return Path(self.errors.name).read_text()[-5000:]


def overrides(experiment: Experiment, **more: Any) -> list[str]:
    """The settings that make of a named experiment this one, as words; `more`: with slashes for dots."""
    chosen = changes(experiment) | {k.replace("__", "."): v for k, v in more.items()}
    return [f"{k}={as_word(v)}" for k, v in chosen.items() if not k.startswith("dataset.")]


def result(root: Path) -> dict[str, Any]:
    """The result of the one sweep under a root."""
    (done,) = root.glob("sweeps/*/sweep.json")
    found: dict[str, Any] = json.loads(done.read_text())
    return found


def states(root: Path) -> list[str]:
    """How the trials of the one sweep under a root ended, according to Optuna, by number."""
    (database,) = root.glob("sweeps/*/optuna.db")
    storage = f"sqlite:///{database}"
    (name,) = optuna.get_all_study_names(storage)
    return [t.state.name for t in optuna.load_study(study_name=name, storage=storage).trials]


def runs(tracking_uri: str, name: str) -> tuple[str, dict[str, list[str]], dict[str, Any]]:
    """In MLflow: how the sweep ended, its trials' runs (name → status of each), and their metric histories.

    Histories: trial → metric → [(step, value), …] as they were logged.
    """
    tracking = connect(tracking_uri, name)
    (parent,) = [
        r for r in tracking.client.search_runs([tracking.experiment_id])
        if r.data.tags.get("ldns.kind") == "sweep"
    ]  # fmt: skip
    children: dict[str, list[str]] = {}
    histories: dict[str, Any] = {}
    for child in tracking.children(parent.info.run_id):
        children.setdefault(child["name"], []).append(child["status"])
        histories[child["name"]] = {
            key: [(m.step, m.value) for m in tracking.client.get_metric_history(child["run_id"], key)]
            for key in child["metrics"]
        }  # fmt: skip
    return parent.info.status, children, histories


def check_histories(histories: Mapping[str, Any], epochs: Mapping[str, int]) -> None:
    """Every epoch of every trial once; everything else once."""
    for trial, metrics in histories.items():
        for key, points in metrics.items():
            stage, _, what = key.partition("/")
            steps = [step for step, _ in points]
            if what == "train_loss":
                assert sorted(steps) == list(range(1, epochs[stage] + 1)), (trial, key, steps)
            assert len(steps) == len(set(steps)), (trial, key, steps)
