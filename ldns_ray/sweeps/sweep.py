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
import ray
from optuna.trial import TrialState
from ray import tune

from ldns_ray import storage
from ldns_ray.cli import JobError
from ldns_ray.config import Hardware
from ldns_ray.data import residence
from ldns_ray.data.shards import read_card
from ldns_ray.data.streaming import Stream
from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.logged import (
    COMPARED,
    data_note,
    introduce,
    log_evaluation,
    outcome_note,
)
from ldns_ray.pipeline import Pipeline, verify
from ldns_ray.revision import commit
from ldns_ray.settings import override, settings
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import FINISHED, NUMBER, StudySearch, open_study
from ldns_ray.sweeps.trial import child_key, run_trial, trial_experiment
from ldns_ray.sweeps.wording import as_text, domain, short
from ldns_ray.text_table import format_table
from ldns_ray.tracking import notes
from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.tags import command_line, standard_tags
from ldns_ray.training.distributed import relayed

RESERVED_CPUS = 1
"""CPUs kept free for Ray Data: a sweep that takes them all waits for itself."""

Say = Callable[[str], None]


def run_sweep(sweep: Sweep, say: Say = print) -> dict[str, Any]:
    """Run what of the sweep is missing. Returns its result, which is also `sweep.json` under its URI.

    The result has `trials` (a row each: name, settings, score, metrics, floors, MLflow run), `best`
    (the row of the best trial), `test` (its evaluation on the test split), `url` of the MLflow run and `compare_url`
    of its trials.
    Raises JobError if every trial failed.
    """
    tracking = connect(sweep.tracking_uri, sweep.name)
    done = storage.join(sweep.uri, "sweep.json")
    if storage.exists(done):
        say(f"Sweep {sweep.name}: every trial is done.")
        result: dict[str, Any] = json.loads(storage.read_bytes(done))
        return result
    card = read_card(sweep.data_uri)
    for split in ("val", "test"):
        _pipeline(sweep, {}, split).check()
    introduce(tracking)
    with tracking.run(
        f"{sweep.name} sweep", key=sweep.fingerprint, tags={"ldns.kind": "sweep"}
    ) as parent:
        view = f"Sweep {sweep.fingerprint[:6]}, best first"
        compare_url = tracking.compare_url(
            columns=COMPARED, settings=list(sweep.space), parent=parent.run_id, name=view
        )
        note = functools.partial(_note, sweep, tracking.view_link(view))
        parent.describe(note())
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
        say(
            f"Sweep {sweep.name}: {sweep.n_trials} trials on {card.n_trials} trials of {card.n_units} units."
        )
        study = open_study(sweep)
        errors = _tune(sweep, study, parent.run_id, say)
        result = _collect(sweep, study, tracking, parent.run_id, errors)
        result["url"], result["compare_url"] = parent.url, compare_url
        best = result["best"]
        for i, row in enumerate(result["trials"]):
            if row["status"] == "FINISHED":
                parent.metrics({"trial_score": row["score"]}, step=i)
        test = _test(sweep, best["settings"])
        result["test"] = test
        model = tracking.client.get_run(best["run_id"]).data.tags["ldns.logged_model"]
        parent.model(model, "output")
        log_evaluation(
            parent, test["uri"], test["summary"], model=model, dataset=(card.name, card.fingerprint)
        )
        parent.table("trials", [_flat(sweep, row) for row in result["trials"]])
        parent.tag({"ldns.best_run": best["run_id"]})
        page = tracking.link("runs", best["run_id"])
        parent.describe(note(notes.link(best["name"], page), outcome_note(test["summary"])))
        storage.write_bytes(done, json.dumps(result, indent=1).encode())
    return result


def _note(sweep: Sweep, trials: str, best: str = "", result: str = notes.UNSCORED) -> str:
    """What the sweep's page says; trials, best: where they are, see `notes.sweep_run`."""
    return notes.sweep_run(
        experiment=sweep.experiment.name, data=data_note(_pipeline(sweep, {}, "val")), n_trials=sweep.n_trials,
        seed=sweep.seed, space={n: domain(d) for n, d in sweep.space.items()}, result=result, best=best,
        trials=trials, command=command_line(), commit=commit(),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Trials


def _concurrency(sweep: Sweep) -> int:
    """Trials that fit the cluster at the same time, CPUs for Ray Data left aside."""
    resources = ray.cluster_resources()
    fits = (resources.get("CPU", 1) - RESERVED_CPUS) / sweep.cpus_per_trial
    if sweep.gpus_per_trial:
        fits = min(fits, resources.get("GPU", 0) / sweep.gpus_per_trial)
    if fits < 1:
        raise ValueError(
            f"A trial needs {sweep.cpus_per_trial:g} CPUs and {sweep.gpus_per_trial:g} GPUs beside {RESERVED_CPUS} CPU "
            f"for data, the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs. "
            "Lower --cpus-per-trial or --gpus-per-trial, or add nodes."
        )
    return min(int(fits), sweep.max_concurrent or int(fits), sweep.n_trials)


def _tune(sweep: Sweep, study: optuna.Study, parent_id: str, say: Say) -> dict[int, str]:
    """Run the trials that the study has not seen the end of. What those that failed said, by number."""
    missing = sweep.n_trials - len(study.get_trials(states=FINISHED))
    if missing <= 0:
        return {}
    concurrent = _concurrency(sweep)
    say(f"Sweep {sweep.name}: {verify(sweep.data_uri)}.")
    tables = _shared_tables(sweep, concurrent, say)
    tags = {k: v for k, v in standard_tags().items() if "source" in k} | {"ldns.kind": "trial"}
    threads = max(1, (os.cpu_count() or 1) // concurrent)
    with relayed(say) as lines:
        trainable = tune.with_parameters(
            run_trial, sweep=sweep, parent_id=parent_id, tags=tags, threads=threads,
            at_once=concurrent, tables=tables, lines=lines,
        )  # fmt: skip
        grid = tune.Tuner(
            tune.with_resources(
                trainable, {"cpu": sweep.cpus_per_trial, "gpu": sweep.gpus_per_trial}
            ),
            tune_config=tune.TuneConfig(
                num_samples=missing,
                search_alg=StudySearch(study, sweep.space, sweep.seed),
                max_concurrent_trials=concurrent,
            ),
            run_config=tune.RunConfig(name="tune", storage_path=sweep.uri, verbose=0),
        ).fit()
    failed = [(r.config or {}, r.error) for r in (grid[i] for i in range(len(grid))) if r.error]
    return {config[NUMBER]: str(error).strip().splitlines()[-1] for config, error in failed}


def _shared_tables(sweep: Sweep, concurrent: int, say: Say) -> dict[str, Any] | None:
    """By split, blocks in the object store that all trials of a node share; None where each reads for itself."""
    card = read_card(sweep.data_uri)
    columns = ["spikes", *(f"condition:{name}" for name in card.conditions)]
    streams = {split: Stream(sweep.data_uri, split, columns) for split in card.splits}
    n_bytes = sum(stream.n_bytes for stream in streams.values())
    rooms = (
        residence.object_store(n_bytes),
        residence.nodes(n_bytes, concurrent, sweep.cpus_per_trial, sweep.gpus_per_trial),
    )
    where = residence.choose(sweep.data, rooms)
    say(f"Sweep {sweep.name}: {where}.")
    if not (where.resident and rooms[0].suffices):
        return None
    return {split: s.materialized().to_arrow_refs() for split, s in streams.items()}


# ---------------------------------------------------------------------------------------------
# Result


def _collect(
    sweep: Sweep, study: optuna.Study, tracking: Tracking, parent_id: str, errors: Mapping[int, str]
) -> dict[str, Any]:
    """The trials of the study, best first, with what the pipeline and MLflow keep of them."""
    children = {child["key"]: child for child in tracking.children(parent_id)}
    for child in children.values():  # its process died: nobody ended its run
        if child["status"] == "RUNNING":
            tracking.client.set_terminated(child["run_id"], "FAILED")
    rows = []
    for trial in study.get_trials(states=FINISHED):
        number = trial.number + 1
        row: dict[str, Any] = {"name": f"trial {number}", "settings": trial.params}
        if trial.state is TrialState.FAIL:
            said = errors.get(number, "see its traceback in MLflow")
            rows.append(row | {"status": "FAILED", "error": said})
            continue
        child = children[child_key(sweep, number)]
        summary = _pipeline(sweep, trial.params, "val").run()["evaluation"]["summary"]
        row |= {"score": summary["score"], "metrics": summary["rows"][0]["metrics"]}
        rows.append(row | {"status": "FINISHED", "run_id": child["run_id"], "url": child["url"]})
    rows.sort(key=lambda r: r.get("score", float("inf")))
    if rows[0]["status"] == "FAILED":
        raise JobError(f"All {len(rows)} trials failed; the last said: {rows[-1]['error']}")
    return {"name": sweep.name, "trials": rows, "best": rows[0]}


def _pipeline(sweep: Sweep, point: Mapping[str, Any], split: str) -> Pipeline:
    """The pipeline of a point, scored on a split."""
    experiment = override(trial_experiment(sweep.experiment, point), {"evaluation.split": split})
    return Pipeline(experiment, sweep.data_uri, sweep.root, Hardware(workers=0))


def _test(sweep: Sweep, point: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a point on the test split; all that comes before it is there."""
    pipeline = _pipeline(sweep, point, "test")
    summary = pipeline.run()["evaluation"]["summary"]
    return {"uri": pipeline.uri("evaluation"), "model": pipeline.model_uri, "summary": summary}


def _flat(sweep: Sweep, row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"trial": row["name"], "status": row["status"], "score": row.get("score")}
    flat |= {short(k): row["settings"].get(k) for k in sweep.space}
    for metric in SCORED:
        measured = row.get("metrics", {}).get(metric.name, {})
        flat[metric.label] = measured.get("distance")
        flat[f"{metric.label}, floor"] = measured.get("floor")
    return flat


def format_result(sweep_space: Sequence[str], result: Mapping[str, Any]) -> str:
    """The trials as a table for a terminal: best first, each metric beside its floor."""
    table = [["trial", "score", *(short(n) for n in sweep_space), *(m.label for m in SCORED)]]
    for row in result["trials"]:
        chosen = [as_text(row["settings"].get(n)) for n in sweep_space]
        if row["status"] != "FINISHED":
            table.append([row["name"], "-", *chosen, *["-"] * len(SCORED)])
            continue
        measured = [row["metrics"][metric.name] for metric in SCORED]
        cells = [f"{x['distance']:.4f} ({x['floor']:.4f})" for x in measured]
        table.append([row["name"], f"{row['score']:.2f}", *chosen, *cells])
    return format_table(table)
