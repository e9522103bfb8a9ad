"""One trial of a sweep: the pipeline at a point of the search space, as a run in MLflow."""

from collections.abc import Mapping
from typing import Any

import torch
from ray import tune
from ray.util.queue import Queue

from ldns_ray.config import Experiment, Hardware
from ldns_ray.observers import Several, Terminal, Tracked
from ldns_ray.pipeline import Pipeline, unguarded
from ldns_ray.settings import override
from ldns_ray.sweeps.locks import stage_guard
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import NUMBER, SCORE
from ldns_ray.sweeps.wording import as_text, short
from ldns_ray.tracking import notes
from ldns_ray.tracking.connection import connect


def trial_experiment(experiment: Experiment, point: Mapping[str, Any]) -> Experiment:
    """The experiment of a point of the search space, scored on the validation split."""
    return override(experiment, {**point, "evaluation.split": "val"})


def run_trial(
    config: dict[str, Any],
    *,
    sweep: Sweep,
    parent_id: str,
    tags: Mapping[str, str],
    threads: int,
    at_once: int,
    tables: Any,
    lines: Queue,
) -> None:
    """The pipeline at a point of the search space, as a child of the sweep's run in MLflow.

    Args:
        config: the point, and the trial's number.
        sweep: what it belongs to.
        at_once: trials that run at the same time, and may do the same stages.
        tables: the dataset's Arrow blocks by split, see `Pipeline.tables`.
        lines: where its lines for the terminal go.
    """
    torch.set_num_threads(threads)
    number = config[NUMBER]
    point = {k: v for k, v in config.items() if k != NUMBER}
    prefix = f"trial {number:<2}  "
    described = ", ".join(f"{short(k)} {as_text(v)}" for k, v in point.items())
    lines.put(prefix + described)
    tracking = connect(sweep.tracking_uri, sweep.name)
    key = child_key(sweep, number)
    with tracking.run(f"trial {number}", key=key, parent=parent_id, tags=tags) as run:
        pipeline = Pipeline(
            trial_experiment(sweep.experiment, point), sweep.data_uri, sweep.root,
            Hardware(workers=0, data=sweep.data), guard=stage_guard if at_once > 1 else unguarded, tables=tables,
            at_once=at_once, verified=True,
        )  # fmt: skip
        sweep_page = notes.link(f"sweep {sweep.name}", tracking.link("runs", parent_id))
        what = f"Trial {number} of the {sweep_page}, with {described}."
        pipeline.observer = Several([Terminal(prefix, lines.put), Tracked(run, pipeline, what)])
        summary = pipeline.run()["evaluation"]["summary"]
        tune.report({SCORE: summary[SCORE]})


def child_key(sweep: Sweep, number: int) -> str:
    """What a trial's run in MLflow is found by."""
    return f"{sweep.fingerprint}-{number}"
