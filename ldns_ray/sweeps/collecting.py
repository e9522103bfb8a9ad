"""What a sweep has found: its trials, best first, and the study and MLflow put in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ldns_ray.config import Hardware
from ldns_ray.observers import Tracked
from ldns_ray.pipeline import Pipeline
from ldns_ray.settings import override
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import ENDED, SCORE, error_of, superseded
from ldns_ray.sweeps.trial import ERROR_TAG, TRIAL_TAGS, about, child_key, trial_experiment
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.runs import TRACEBACK

FINISHED, STOPPED, FAILED = "FINISHED", "STOPPED", "FAILED"
STATUS = {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: STOPPED, TrialState.FAIL: FAILED}
STOPPED_TAG = "ldns.stopped_at_epoch"


def collect(
    sweep: Sweep,
    study: optuna.Study,
    tracking: Tracking,
    parent_id: str,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The trials that have ended: those with a score first, best first, then those stopped early, then the failed.

    A row has `name`, `number`, `status` (FINISHED, STOPPED, FAILED), `settings`, `rungs` ([epoch, score] of each),
    `began` and `ended` (Unix seconds), `run_id` and `url` of its run in MLflow; with a score also `score` and
    `metrics`; failed ones `error`. A failed trial that was tried again under another number has none.

    Runs whose process nobody lived to end are ended, and trials that MLflow has lost, or never had, are logged anew.
    """
    children = {child["key"]: child for child in tracking.children(parent_id)}
    given_up = superseded(study)
    rows = []
    for trial in study.get_trials(states=ENDED):
        child = children.pop(child_key(sweep, trial.number + 1), None)
        if trial.state == TrialState.COMPLETE and (
            child is None or "ldns.logged_model" not in child["tags"]
        ):
            child = _logged_anew(sweep, tracking, parent_id, trial)
        row = _row(sweep, trial, child or {})
        if child:
            _end(tracking, child, row)
        if trial.number not in given_up:
            rows.append(row)
    for child in children.values():
        if (
            child["status"] == "RUNNING"
        ):  # interrupted, and no longer among the trials that were asked for
            tracking.client.set_terminated(child["run_id"], "KILLED")
            say(
                f"{child['name'].capitalize()} was interrupted, and is not gone on with: ask for more trials."
            )
    order = [FINISHED, STOPPED, FAILED]
    return sorted(
        rows, key=lambda row: (order.index(row["status"]), row.get("score", 0), row["number"])
    )


def _row(sweep: Sweep, trial: FrozenTrial, child: Mapping[str, Any]) -> dict[str, Any]:
    number, status = trial.number + 1, STATUS[trial.state]
    row: dict[str, Any] = {
        "name": f"trial {number}", "number": number, "status": status, "settings": trial.params,
        "rungs": sorted(trial.intermediate_values.items()),
        "began": _seconds(trial.datetime_start), "ended": _seconds(trial.datetime_complete),
        "run_id": child.get("run_id", ""), "url": child.get("url", ""),
    }  # fmt: skip
    if status == FAILED:
        row["error"] = error_of(trial)
    if status == FINISHED:
        pipeline = pipeline_of(sweep, trial.params, "val")
        record = pipeline.record("evaluation") or pipeline.run()["evaluation"]
        summary = record["summary"]
        row |= {"score": summary[SCORE], "metrics": summary["rows"][0]["metrics"]}
    return row


def _seconds(moment: Any) -> float | None:
    return moment.timestamp() if moment else None


def _end(tracking: Tracking, child: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """End the run of a trial that was stopped, or whose process died, as Optuna has it."""
    status = "FAILED" if row["status"] == FAILED else "FINISHED"
    if row["status"] == STOPPED and STOPPED_TAG not in child["tags"]:
        tracking.client.set_tag(child["run_id"], STOPPED_TAG, str(row["rungs"][-1][0]))
    if row["status"] == FAILED and ERROR_TAG not in child["tags"]:
        tracking.attach(child["run_id"]).text(TRACEBACK, row["error"])
        tracking.client.set_tag(child["run_id"], ERROR_TAG, row["error"])
    if child["status"] != status:
        ended_ms = None if row["ended"] is None else int(row["ended"] * 1000)
        tracking.client.set_terminated(child["run_id"], status, ended_ms)


def _logged_anew(
    sweep: Sweep, tracking: Tracking, parent_id: str, trial: FrozenTrial
) -> dict[str, Any]:
    """The run of a finished trial, made of what its stages left."""
    number = trial.number + 1
    key = child_key(sweep, number)
    with tracking.run(f"trial {number}", key=key, parent=parent_id, tags=TRIAL_TAGS) as run:
        pipeline = pipeline_of(sweep, trial.params, "val")
        what = about(sweep, number, trial.params, tracking, parent_id)
        pipeline.observer = Tracked(run, pipeline, what)
        pipeline.run()
    return {"run_id": run.run_id, "url": run.url, "status": "FINISHED", "tags": run.tags()}


def pipeline_of(sweep: Sweep, point: Mapping[str, Any], split: str) -> Pipeline:
    """The pipeline of a point, scored on a split."""
    experiment = override(trial_experiment(sweep.experiment, point), {"evaluation.split": split})
    return Pipeline(experiment, sweep.data_uri, sweep.root, Hardware(workers=0))


def evaluate_best(sweep: Sweep, point: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a point on the test split: `uri`, `model`, `summary`. All that comes before it is there."""
    pipeline = pipeline_of(sweep, point, "test")
    summary = pipeline.run()["evaluation"]["summary"]
    return {"uri": pipeline.uri("evaluation"), "model": pipeline.model_uri, "summary": summary}


@dataclass(frozen=True)
class Counts:
    """How many trials have ended, and how."""

    finished: int
    stopped: int
    failed: int

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Counts":
        kinds = [row["status"] for row in rows]
        return cls(*(kinds.count(kind) for kind in (FINISHED, STOPPED, FAILED)))

    def __str__(self) -> str:
        said = [f"{self.finished} finished"]
        said += [f"{self.stopped} stopped early"] if self.stopped else []
        said += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(said)
