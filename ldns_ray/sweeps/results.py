"""What a sweep has found: its trials best first, the best on the test split, tables, and the study put in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ldns_ray.cli import JobError
from ldns_ray.config import Hardware
from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.pipeline import Pipeline
from ldns_ray.settings import override
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import ENDED, SCORE, error_of
from ldns_ray.sweeps.trial import ERROR_TAG, child_key, trial_experiment
from ldns_ray.sweeps.wording import as_text, broken, cut, short, shortest
from ldns_ray.text_table import format_table, width
from ldns_ray.tracking.experiments import Tracking

FINISHED, STOPPED, FAILED = "FINISHED", "STOPPED", "FAILED"
STATUS = {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: STOPPED, TrialState.FAIL: FAILED}
TRACEBACK = "traceback.txt"
COLUMNS = 120
"""Of tables and errors in a terminal, where possible."""
HEAD_COLUMNS = 12
"""Of a column's head, before it is broken into lines."""


def collect(
    sweep: Sweep, study: optuna.Study, tracking: Tracking, parent_id: str
) -> list[dict[str, Any]]:
    """The trials that have ended: those with a score first, best first, then those stopped early, then the failed.

    A row has `name`, `number`, `status` (FINISHED, STOPPED, FAILED), `settings`, `rungs` ([epoch, score] of each),
    `began` and `ended` (Unix seconds), `run_id` and `url` of its run in MLflow; with a score also `score` and
    `metrics`; failed ones `error`. Runs of trials whose process nobody lived to end are ended here.

    Raises JobError if every trial failed.
    """
    children = {child["key"]: child for child in tracking.children(parent_id)}
    rows = []
    for trial in study.get_trials(states=ENDED):
        child = children.get(child_key(sweep, trial.number + 1), {})
        rows.append(_row(sweep, trial, child))
        if child:
            _end(tracking, child, rows[-1])
    order = [FINISHED, STOPPED, FAILED]
    rows.sort(key=lambda row: (order.index(row["status"]), row.get("score", 0), row["number"]))
    if rows and rows[0]["status"] == FAILED:
        raise JobError(f"All {len(rows)} trials failed; the last said: {rows[-1]['error']}")
    return rows


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
        summary = pipeline_of(sweep, trial.params, "val").run()["evaluation"]["summary"]
        row |= {"score": summary[SCORE], "metrics": summary["rows"][0]["metrics"]}
    return row


def _seconds(moment: Any) -> float | None:
    return moment.timestamp() if moment else None


def _end(tracking: Tracking, child: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """End the run of a trial that was stopped, or whose process died, as Optuna has it."""
    status = "FAILED" if row["status"] == FAILED else "FINISHED"
    if row["status"] == STOPPED and "ldns.stopped_at_epoch" not in child["tags"]:
        epoch = str(row["rungs"][-1][0])
        tracking.client.set_tag(child["run_id"], "ldns.stopped_at_epoch", epoch)
    if row["status"] == FAILED and ERROR_TAG not in child["tags"]:
        tracking.attach(child["run_id"]).text(TRACEBACK, row["error"])
        tracking.client.set_tag(child["run_id"], ERROR_TAG, row["error"])
    if child["status"] != status:
        ended_ms = None if row["ended"] is None else int(row["ended"] * 1000)
        tracking.client.set_terminated(child["run_id"], status, ended_ms)


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


def flat(sweep: Sweep, row: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as a row of MLflow's table."""
    flat = {"trial": row["name"], "status": row["status"], "score": row.get("score")}
    flat |= {short(k): row["settings"].get(k) for k in sweep.space}
    for metric in SCORED:
        measured = row.get("metrics", {}).get(metric.name, {})
        flat[metric.label] = measured.get("distance")
        flat[f"{metric.label}, floor"] = measured.get("floor")
    return flat | {"error": row.get("error", "")}


def format_result(space: Sequence[str], result: Mapping[str, Any]) -> str:
    """The trials as a table for a terminal: best first, each metric beside its floor.

    Where that is too wide, the metrics have a table of their own, and if need be, so have the settings of each
    section. Settings that all trials have in common, and the errors of failed trials, are lines below.
    """
    rows = result["trials"]
    texts = {name: [_chosen(row, name) for row in rows] for name in space}
    common = [name for name in space if len(rows) > 1 and len(set(texts[name])) == 1]
    varied = {name: texts[name] for name in space if name not in common}
    names = ("trial", [row["name"] for row in rows])
    trials = [names, ("score", [_score(row) for row in rows])]
    metrics = [(m.label, [_measured(row, m.name) for row in rows]) for m in SCORED]

    tables = [_table([*trials, *_columns(varied), *metrics])]
    if _width(tables[0]) > COLUMNS:
        finished = [i for i, row in enumerate(rows) if row["status"] == FINISHED]
        of_finished = [(head, [cells[i] for i in finished]) for head, cells in (names, *metrics)]
        tables = [_table([*trials, *_columns(varied)]), _table(of_finished)]
    if _width(tables[0]) > COLUMNS:
        sections: dict[str, dict[str, list[str]]] = {}
        for name, cells in varied.items():
            sections.setdefault(name.partition(".")[0], {})[name] = cells
        tables[:1] = [
            _table([(section, names[1]), trials[1], *_columns(settings)])
            for section, settings in sections.items()
        ]
    if common:
        tables.append(f"All trials: {', '.join(f'{short(n)} {texts[n][0]}' for n in common)}")
    errors = [f"{row['name']} failed: {row['error']}" for row in rows if row["status"] == FAILED]
    if errors:
        tables.append("\n".join(cut(error, COLUMNS) for error in errors))
    return "\n\n".join(tables)


def _columns(settings: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Columns of settings under the shortest names that tell them apart."""
    return list(zip(shortest(list(settings)), settings.values(), strict=True))


def _table(columns: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Columns with their heads, which are broken into lines where they are wider than what is below them."""
    heads = [broken(head, max(HEAD_COLUMNS, *map(width, cells))) for head, cells in columns]
    return format_table([heads, *zip(*(cells for _, cells in columns), strict=True)])


def _width(table: str) -> int:
    return max(map(width, table.splitlines()))


def _chosen(row: Mapping[str, Any], name: str) -> str:
    """A setting of a trial, which may have ended before it had one."""
    return as_text(row["settings"][name]) if name in row["settings"] else "-"


def _score(row: Mapping[str, Any]) -> str:
    """A trial's score, or what stands in its place."""
    if row["status"] == FINISHED:
        return f"{row['score']:.2f}"
    if row["status"] == FAILED:
        return "failed"
    epoch, score = row["rungs"][-1]
    return f"({score:.2f} at epoch {epoch})"


def _measured(row: Mapping[str, Any], metric: str) -> str:
    """A trial's metric and its floor."""
    if row["status"] != FINISHED:
        return "-"
    measured = row["metrics"][metric]
    return f"{measured['distance']:.4f} ({measured['floor']:.4f})"
