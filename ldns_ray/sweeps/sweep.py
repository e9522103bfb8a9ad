"""Hyper-parameter sweeps: Ray Tune and Optuna over the pipeline, scored on spike statistics.

A trial is the whole pipeline with some settings changed; trials with the same autoencoder settings share
one trained autoencoder. Everything is found again by name: submitting a sweep a second time continues
it, or finds it done.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from ldns_ray import storage
from ldns_ray.cli import JobError
from ldns_ray.data.card import Card
from ldns_ray.data.shards import read_card
from ldns_ray.evaluation.plots.sweeps import sweep_figures
from ldns_ray.logged import COMPARED, data_note, introduce, log_evaluation, outcome_note
from ldns_ray.redaction import redacted
from ldns_ray.revision import commit
from ldns_ray.settings import settings
from ldns_ray.sweeps.axes import axes
from ldns_ray.sweeps.collecting import (
    FAILED,
    FINISHED,
    Counts,
    collect,
    evaluate_best,
    pipeline_of,
)
from ldns_ray.sweeps.importances import importances
from ldns_ray.sweeps.locks import alone
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import open_study
from ldns_ray.sweeps.tables import flat
from ldns_ray.sweeps.tuning import run_trials
from ldns_ray.sweeps.wording import domain
from ldns_ray.tracking import notes
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.registry import register
from ldns_ray.tracking.runs import Run
from ldns_ray.tracking.tags import command_line
from ldns_ray.training.distributed import ray_is_shared

Say = Callable[[str], None]


def run_sweep(sweep: Sweep, say: Say = print) -> dict[str, Any]:
    """Run what of the sweep is missing. Returns its result, which is also `sweep.json` under its URI.

    The result has `trials` (a row each, see `collect`), `best` (the row of the best trial), `test` (its evaluation on
    the test split), `champion` (its model in MLflow's registry), `url` of the MLflow run and `compare_url` of its
    trials, and `missing`, the trials that the time did not suffice for.
    Raises JobError if no trial came to a score, or if another process runs the sweep already.
    """
    tracking = connect(sweep.tracking_uri, sweep.name)
    done = storage.join(sweep.uri, "sweep.json")
    result = _finished(sweep, done)
    if result is not None:
        say(f"Sweep {sweep.name}: every trial is done.")
        return result
    card = _check(sweep)
    introduce(tracking)
    with (
        alone(f"sweep-{sweep.fingerprint}", _lock_file(sweep), shared=ray_is_shared()),
        tracking.run(
            f"{sweep.name} sweep", key=sweep.fingerprint, tags={"ldns.kind": "sweep"}
        ) as parent,
    ):
        view = f"Sweep {sweep.fingerprint[:6]}, best first"
        compare_url = tracking.compare_url(
            columns=COMPARED, settings=list(sweep.space), parent=parent.run_id, name=view
        )
        note = functools.partial(_note, sweep, tracking.view_link(view))
        _describe(sweep, card, parent, note())
        say(
            f"Sweep {sweep.name}: {sweep.n_trials} trials on {card.n_trials} trials of {card.n_units} units."
        )
        study = open_study(sweep)
        run_trials(sweep, study, parent, lambda headline: note(result=headline), say)
        rows = collect(sweep, study, tracking, parent.run_id, say)
        best = _best(sweep, rows)
        say(f"Sweep {sweep.name}: {Counts.of(rows)}.")
        _log_trials(sweep, study, parent, rows)
        test = evaluate_best(sweep, best["settings"])
        champion = _log_best(tracking, parent, sweep, best, test)
        page = tracking.link("runs", best["run_id"])
        parent.describe(
            note(best=notes.link(best["name"], page), result=outcome_note(test["summary"]))
        )
        result = {
            "name": sweep.name, "trials": rows, "best": best, "test": test, "champion": champion, "url": parent.url,
            "compare_url": compare_url, "missing": max(0, sweep.n_trials - len(rows)),
        }  # fmt: skip
        storage.write_bytes(done, json.dumps(redacted(result), indent=1).encode())
    return result


def _finished(sweep: Sweep, done: str) -> dict[str, Any] | None:
    """The stored result, if nothing is missing of what was asked for."""
    if not storage.exists(done):
        return None
    result: dict[str, Any] = json.loads(storage.read_bytes(done))
    failed = any(row["status"] == FAILED for row in result["trials"])
    missing = len(result["trials"]) < sweep.n_trials or (sweep.retry_failed and failed)
    return None if missing else result


def _check(sweep: Sweep) -> Card:
    """The dataset's card. Raises ValueError where the data do not suffice for some of the space."""
    for split in ("val", "test"):
        pipeline_of(sweep, {}, split).check()
    for corner in sweep.corners:
        pipeline_of(sweep, corner, "val").check()
    return read_card(sweep.data_uri)


def _lock_file(sweep: Sweep) -> str:
    """A file beside the study for its process to lock; none where the study is in a database of its own."""
    if sweep.optuna_storage:
        return ""
    os.makedirs(sweep.uri, exist_ok=True)
    return os.path.join(sweep.uri, "lock")


def _describe(sweep: Sweep, card: Card, parent: Run, note: str) -> None:
    """What the sweep's run holds before its first trial: settings, space, and data."""
    parent.describe(note)
    parent.params(
        {
            **settings(sweep.experiment),
            **{f"space.{n}": domain(d) for n, d in sweep.space.items()},
        }
    )
    parent.dataset(
        card.name, card.fingerprint, sweep.data_uri, "training",
        {"units": card.n_units, **{k: v["n_trials"] for k, v in card.splits.items()}},
    )  # fmt: skip


def _best(sweep: Sweep, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best of the trials that came to a score. Raises JobError where none did."""
    if rows and rows[0]["status"] == FINISHED:
        return dict(rows[0])
    if not rows:
        raise JobError(f"No trial ended within {sweep.hours:g} h. Submit again to go on.")
    failed = [row for row in rows if row["status"] == FAILED]
    if len(failed) == len(rows):
        raise JobError(
            f"All {len(rows)} trials failed; the last said: {failed[-1]['error']} When that is mended, submit again "
            "with --retry-failed."
        )
    raise JobError(
        f"No trial was finished: {Counts.of(rows)}. Submit again with a larger --n-trials or --hours."
    )


def _note(sweep: Sweep, trials: str, best: str = "", result: str = notes.UNSCORED) -> str:
    """What the sweep's page says; trials, best: where they are, see `notes.sweep_run`."""
    return notes.sweep_run(
        experiment=sweep.experiment.name, data=data_note(pipeline_of(sweep, {}, "val")), n_trials=sweep.n_trials,
        seed=sweep.seed, space={n: domain(d) for n, d in sweep.space.items()}, result=result, best=best,
        trials=trials, command=command_line(), commit=commit(),
    )  # fmt: skip


def _log_trials(sweep: Sweep, study: optuna.Study, parent: Run, rows: list[dict[str, Any]]) -> None:
    """The trials as a table and as pictures."""
    for row in rows:
        if row["status"] == FINISHED:
            parent.metrics({"trial_score": row["score"]}, step=row["number"])
    parent.table("trials", [flat(sweep, row) for row in rows])
    parent.figures(sweep_figures(rows, axes(sweep.space), importances(study)), "sweep")


def _log_best(
    tracking: Tracking, parent: Run, sweep: Sweep, best: dict[str, Any], test: dict[str, Any]
) -> dict[str, Any]:
    """The best trial's evaluation on the test split, and its model in the registry: name, version, said."""
    card = read_card(sweep.data_uri)
    model = tracking.client.get_run(best["run_id"]).data.tags["ldns.logged_model"]
    parent.model(model, "output")
    log_evaluation(
        parent, test["uri"], test["summary"], model=model, dataset=(card.name, card.fingerprint)
    )
    parent.tag({"ldns.best_run": best["run_id"]})
    registered = register(
        tracking, model, f"ldns-{sweep.name}", score=best["score"], dataset=card.fingerprint
    )
    return {
        "name": registered.name, "version": registered.version, "uri": registered.uri, "url": registered.url,
        "said": registered.said,
    }  # fmt: skip
