"""Hyper-parameter sweeps: Ray Tune and Optuna over the pipeline, scored on spike statistics.

A trial is the whole pipeline with some settings changed; trials with the same autoencoder settings share
one trained autoencoder. Everything is found again by name: submitting a sweep a second time continues
it, or finds it done.
"""

import contextlib
import json
import os
import queue as standard_queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import ray
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain
from ray.util.queue import Queue

from ldns_ray import storage
from ldns_ray.cli import JobError
from ldns_ray.config import (
    Experiment,
    Hardware,
    did_you_mean,
    fingerprint,
    override,
    settings,
    to_dict,
)
from ldns_ray.data.shards import fits_in_object_store, read_card, read_dataset
from ldns_ray.evaluation.comparison import SHORT_NAMES, format_table
from ldns_ray.observers import Several, Terminal, Tracked, evaluation_metrics, log_files
from ldns_ray.pipeline import Pipeline, unguarded
from ldns_ray.tracking.runs import Tracking, connect, standard_tags

RESERVED_CPUS = 1
"""CPUs kept free for Ray Data: a sweep that takes them all waits for itself."""
LOCK_POLL_SECONDS = 2.0
NUMBER = "trial_number"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """What to search, on which data, and where everything goes."""

    name: str
    experiment: Experiment
    space: Mapping[str, Any]
    """Dotted setting → Tune domain."""
    data_uri: str
    root: str
    tracking_uri: str
    n_trials: int = 4
    seed: int = 0
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_concurrent: int = 0
    """Trials at the same time; 0: as many as the cluster holds with CPUs left for Ray Data."""
    optuna_storage: str = ""
    """Database URL of the Optuna study; empty: a SQLite file under a local storage root."""

    def __post_init__(self) -> None:
        if self.n_trials < 1:
            raise ValueError(f"n_trials must be at least 1, got {self.n_trials}.")
        if not self.space:
            raise ValueError("The search space is empty. Add a dotted setting and a Tune domain.")
        known = settings(self.experiment)
        for name, domain in self.space.items():
            if name not in known:
                raise ValueError(
                    f"Unknown setting {name!r} in the search space. {did_you_mean(name, known)}"
                )
            if not isinstance(domain, Domain):
                raise ValueError(
                    f"{name} in the search space must be a Tune domain such as tune.choice([…]), got {domain!r}."
                )
            if name == "evaluation.split":
                raise ValueError(
                    "evaluation.split cannot be searched: trials are scored on val, the best on test."
                )
            for value in _extremes(domain):
                override(self.experiment, {name: value})

    @property
    def fingerprint(self) -> str:
        """Depends on what is searched, not on what it is searched with."""
        described = {
            n: f"{type(d).__name__} {d.domain_str} {d.sampler}" for n, d in self.space.items()
        }
        dataset = read_card(self.data_uri).fingerprint
        return fingerprint(
            "sweep", self.name, self.experiment, described, dataset, self.n_trials, self.seed
        )

    @property
    def uri(self) -> str:
        return storage.join(self.root, "sweeps", f"{self.name}-{self.fingerprint}")


def _extremes(domain: Domain) -> Sequence[Any]:
    """Values that show whether all of the domain is allowed: every choice, or both ends and one within."""
    categories = getattr(domain, "categories", None)
    if categories is not None:
        return list(categories)
    ends = [getattr(domain, name, None) for name in ("lower", "upper")]
    if isinstance(ends[1], int):
        ends[1] -= 1  # Tune's integer domains leave the upper end out
    return [
        value
        for value in (*ends, domain.sample())
        if value is not None and abs(value) != float("inf")
    ]


def run_sweep(sweep: Sweep, say: Say = print) -> dict[str, Any]:
    """Run what of the sweep is missing. Returns its result, which is also `sweep.json` under its URI.

    The result has `trials` (a row each: name, settings, score, metrics, floors, MLflow run), `best`
    (the row of the best trial), `test` (its evaluation on the test split) and `url` of the MLflow run.
    Raises JobError if every trial failed.
    """
    tracking = connect(sweep.tracking_uri, sweep.name)
    done = storage.join(sweep.uri, "sweep.json")
    if storage.exists(done):
        say(f"Sweep {sweep.name}: every trial is done.")
        result: dict[str, Any] = json.loads(storage.read_bytes(done))
        return result
    card = read_card(sweep.data_uri)
    with tracking.run(
        f"{sweep.name} sweep", key=sweep.fingerprint, tags={"ldns.kind": "sweep"}, description=_describe(sweep)
    ) as parent:  # fmt: skip
        parent.params(
            {
                **settings(sweep.experiment),
                **{f"space.{n}": _domain(d) for n, d in sweep.space.items()},
            }
        )
        parent.dataset(
            card.name, card.fingerprint, sweep.data_uri, "training",
            {"units": card.n_units, **{k: v["n_trials"] for k, v in card.splits.items()}},
        )  # fmt: skip
        say(
            f"Sweep {sweep.name}: {sweep.n_trials} trials on {card.n_trials} trials of {card.n_units} units."
        )
        grid = _tune(sweep, parent.run_id, say)
        result = _collect(sweep, tracking, parent.run_id, grid)
        result["url"] = parent.url
        best = result["best"]
        for i, row in enumerate(result["trials"]):
            if row["status"] == "FINISHED":
                parent.metrics({"trial_score": row["score"]}, step=i)
        test = _test(sweep, best["settings"])
        result["test"] = test
        parent.metrics(evaluation_metrics(test["summary"]))
        parent.table("trials", [_flat(sweep, row) for row in result["trials"]])
        parent.tag({"ldns.best_run": best["run_id"]})
        names = [f"{p}.png" for p in test["summary"]["plots"]]
        log_files(parent, storage.join(test["uri"], "plots"), names)
        storage.write_bytes(done, json.dumps(result, indent=1).encode())
    return result


def _describe(sweep: Sweep) -> str:
    lines = [
        f"Hyper-parameter sweep of `{sweep.experiment.name}`: {sweep.n_trials} trials, Optuna TPE, seed {sweep.seed}.",
        "The score is *realism*: the geometric mean of four spike-statistic distances between samples and real "
        "trials over the same distances between two halves of the real trials. 1 is as close as the data is to "
        "itself; lower is better. Trials are scored on the validation split; the metrics of this run are the "
        "best trial's on the test split.",
        *(f"- `{n}`: {_domain(d)}" for n, d in sweep.space.items()),
    ]  # fmt: skip
    return "\n\n".join(lines)


def _domain(domain: Domain) -> str:
    return f"{type(domain).__name__.lower()} {domain.domain_str}"


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


def _tune(sweep: Sweep, parent_id: str, say: Say) -> Any:
    concurrent = _concurrency(sweep)
    tables: dict[str, Any] | None = None
    if fits_in_object_store(read_card(sweep.data_uri)):
        # Read once; every trial on a node shares these blocks.
        splits = ("train", "val", "test")
        tables = {s: read_dataset(sweep.data_uri, s).materialize().to_arrow_refs() for s in splits}
    lines = Queue(actor_options={"num_cpus": 0})
    stop = threading.Event()
    printer = threading.Thread(target=_print_lines, args=(lines, say, stop), daemon=True)
    printer.start()
    threads = max(1, (os.cpu_count() or 1) // concurrent)
    plain = _TrialSettings(
        sweep.experiment, sweep.data_uri, sweep.root, sweep.tracking_uri, sweep.name, sweep.fingerprint,
        parent_id, tuple(sweep.space), threads, concurrent > 1,
        {k: v for k, v in standard_tags().items() if "source" in k} | {"ldns.kind": "trial"},
    )  # fmt: skip
    trainable = tune.with_resources(
        tune.with_parameters(_trial, trial_settings=plain, tables=tables, lines=lines),
        {"cpu": sweep.cpus_per_trial, "gpu": sweep.gpus_per_trial},
    )
    tune_uri = storage.join(sweep.uri, "tune")
    # Tune writes down which trials there are once in this many seconds; what it has not written down when
    # its process is killed, it draws anew.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
    try:
        if tune.Tuner.can_restore(storage.join(tune_uri, "trials")):
            tuner = tune.Tuner.restore(
                storage.join(tune_uri, "trials"), trainable=trainable, resume_unfinished=True, resume_errored=True
            )  # fmt: skip
        else:
            tuner = tune.Tuner(
                trainable,
                param_space=dict(sweep.space),
                tune_config=tune.TuneConfig(
                    num_samples=sweep.n_trials,
                    search_alg=_search(sweep),
                    max_concurrent_trials=concurrent,
                ),
                run_config=tune.RunConfig(name="trials", storage_path=tune_uri, verbose=0),
            )
        return tuner.fit()
    finally:
        stop.set()
        printer.join(timeout=10)
        lines.shutdown()


class NumberedSearch(OptunaSearch):
    """Optuna's suggestions, numbered from 1 in the order they were made, under the key `NUMBER`."""

    n_suggested = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        point = super().suggest(trial_id)
        if point is None:
            return None
        self.n_suggested += 1
        return {**point, NUMBER: self.n_suggested}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        # A driver that was killed after the study heard of a trial's end, and before Tune wrote it down,
        # runs the trial again when it continues; the study knows the result already.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            super().on_trial_result(trial_id, result)


def _study_url(sweep: Sweep) -> str:
    """The database of the sweep's Optuna study."""
    url = sweep.optuna_storage
    if not url:
        if "://" in sweep.root:
            raise ValueError(
                f"The Optuna study cannot live under {sweep.root}. Pass --optuna-storage URL of a database."
            )
        os.makedirs(sweep.uri, exist_ok=True)
        url = f"sqlite:///{os.path.abspath(sweep.uri)}/optuna.db"
    return url


def _search(sweep: Sweep) -> NumberedSearch:
    """Multivariate TPE with its study in a database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=sweep.seed)
    database = optuna.storages.RDBStorage(_study_url(sweep))
    return NumberedSearch(
        metric="score", mode="min", sampler=sampler, study_name=sweep.fingerprint, storage=database
    )


@dataclass(frozen=True)
class _TrialSettings:
    experiment: Experiment
    data_uri: str
    root: str
    tracking_uri: str
    sweep_name: str
    sweep_fingerprint: str
    parent_id: str
    searched: tuple[str, ...]
    threads: int
    shared: bool
    tags: Mapping[str, str]


def trial_experiment(experiment: Experiment, point: Mapping[str, Any]) -> Experiment:
    """The experiment of a point of the search space, scored on the validation split."""
    return override(experiment, {**point, "evaluation.split": "val"})


def _trial(
    config: dict[str, Any], *, trial_settings: _TrialSettings, tables: Any, lines: Queue
) -> None:
    """One trial: the pipeline at a point of the search space."""
    s = trial_settings
    torch.set_num_threads(s.threads)
    trial_id, name = tune.get_context().get_trial_id(), f"trial {config[NUMBER]}"
    config = {k: v for k, v in config.items() if k != NUMBER}
    experiment = trial_experiment(s.experiment, config)
    terminal = Terminal(f"{name:<8}  ", lines.put)
    lines.put(f"{name:<8}  " + ", ".join(f"{_short(k)} {_value(v)}" for k, v in config.items()))
    tracking = connect(s.tracking_uri, s.sweep_name)
    key = f"{s.sweep_fingerprint}-{trial_id}"
    with tracking.run(name, key=key, parent=s.parent_id, tags=s.tags) as run:
        pipeline = Pipeline(
            experiment, s.data_uri, s.root, Hardware(workers=0),
            guard=stage_guard if s.shared else unguarded, tables=tables,
        )  # fmt: skip
        pipeline.observer = Several([terminal, Tracked(run, pipeline)])
        summary = pipeline.run()["evaluation"]["summary"]
        row = summary["rows"][0]
        tune.report(
            {"score": row["score"], "distances": row["distances"], "floors": row["floors"], "run_id": run.run_id,
             "url": run.url, "trial_name": name}
        )  # fmt: skip


def _print_lines(lines: Queue, say: Say, stop: threading.Event) -> None:
    while True:
        try:
            line = lines.get(timeout=0.5)
        except standard_queue.Empty:
            if stop.is_set():
                return
            continue
        say(line)


def _holder_class() -> Any:
    """The class of the actor that holds a stage's name while its owner works on it.

    Made here, so that it travels by value: the actor's process then imports none of this package.
    """

    class Holder:
        def ready(self) -> bool:
            return True

    return ray.remote(num_cpus=0)(Holder)


@contextlib.contextmanager
def stage_guard(name: str, is_done: Callable[[], bool]) -> Iterator[None]:
    """One process of the cluster at a time does the stage `name`; others wait until it is done or given up.

    The lock is a named actor owned by this process: if the process dies, Ray removes it, and a waiting
    process takes over.
    """
    actor: Any = _holder_class()
    holder: Any = None
    while not is_done():
        try:
            holder = actor.options(name=f"stage-{name}", namespace="ldns").remote()
            ray.get(holder.ready.remote())
            break
        except ValueError:  # the name is taken
            holder = None
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if holder is not None:
            ray.kill(holder)


# ---------------------------------------------------------------------------------------------
# Result


def _collect(sweep: Sweep, tracking: Tracking, parent_id: str, grid: Any) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for result in grid:
        config = {k: result.config[k] for k in sweep.space} if result.config else {}
        metrics = result.metrics or {}
        if result.error is not None or "score" not in metrics:
            error = str(result.error).strip().splitlines()[-1] if result.error else "no score"
            rows.append(
                {
                    "name": f"trial {(result.config or {}).get(NUMBER, '?')}",
                    "status": "FAILED",
                    "settings": config,
                    "error": error,
                }
            )
            continue
        kept = ("score", "distances", "floors", "run_id", "url")
        rows.append(
            {"name": metrics["trial_name"], "status": "FINISHED", "settings": config, **{k: metrics[k] for k in kept}}
        )  # fmt: skip
    # What a killed driver left behind and nobody took up again has failed.
    for child in tracking.children(parent_id):
        if child["status"] == "RUNNING":
            tracking.client.set_terminated(child["run_id"], "FAILED")
    study = optuna.load_study(study_name=sweep.fingerprint, storage=_study_url(sweep))
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    finished = [r for r in rows if r["status"] == "FINISHED"]
    if not finished:
        raise JobError(
            f"All {len(rows)} trials failed; the last said: {rows[-1]['error'] if rows else 'nothing'}"
        )
    rows.sort(key=lambda r: r.get("score", float("inf")))
    return {
        "name": sweep.name,
        "trials": rows,
        "best": rows[0],
        "experiment": to_dict(sweep.experiment),
    }


def _test(sweep: Sweep, point: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a point on the test split; all that comes before it is there."""
    experiment = override(trial_experiment(sweep.experiment, point), {"evaluation.split": "test"})
    pipeline = Pipeline(experiment, sweep.data_uri, sweep.root, Hardware(workers=0))
    summary = pipeline.run()["evaluation"]["summary"]
    return {"uri": pipeline.uri("evaluation"), "model": pipeline.model_uri, "summary": summary}


def _short(name: str) -> str:
    """A setting's name as short as it is clear: optimisation levels are left out."""
    return name.replace(".optimisation.", ".")


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _flat(sweep: Sweep, row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"trial": row["name"], "status": row["status"], "score": row.get("score")}
    flat |= {_short(k): row["settings"].get(k) for k in sweep.space}
    for metric, title in SHORT_NAMES.items():
        flat[title] = row.get("distances", {}).get(metric)
        flat[f"{title}, floor"] = row.get("floors", {}).get(metric)
    return flat


def format_result(sweep_space: Sequence[str], result: Mapping[str, Any]) -> str:
    """The trials as a table for a terminal: best first, each metric beside its floor."""
    table = [["trial", "score", *(_short(n) for n in sweep_space), *SHORT_NAMES.values()]]
    for row in result["trials"]:
        chosen = [_value(row["settings"].get(n)) for n in sweep_space]
        if row["status"] != "FINISHED":
            table.append([row["name"], "-", *chosen, *["-"] * len(SHORT_NAMES)])
            continue
        cells = [f"{row['distances'][m]:.4f} ({row['floors'][m]:.4f})" for m in SHORT_NAMES]
        table.append([row["name"], f"{row['score']:.2f}", *chosen, *cells])
    return format_table(table)
