"""A result from its dataset to its table, with a run in MLflow that holds all of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ldns_ray import storage
from ldns_ray.config import Hardware, changes
from ldns_ray.evaluation.reporting.results import PLOTS, REPORT
from ldns_ray.logged import data_note, downloaded, introduce, log_files
from ldns_ray.observers import Several, Terminal, Tracked
from ldns_ray.pipeline import Observer, Pipeline
from ldns_ray.reproduction.found import Found, metric_name
from ldns_ray.reproduction.machine import machine
from ldns_ray.reproduction.maker import Maker
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.results import RESULTS
from ldns_ray.reproduction.steps import Step, Steps
from ldns_ray.reproduction.writing import JSON, MARKDOWN, About, write
from ldns_ray.revision import commit
from ldns_ray.settings import fingerprint, settings
from ldns_ray.tracking import notes
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.runs import Run


@dataclass(frozen=True)
class Outcome:
    """Where a result is, and what it says."""

    uri: str
    url: str
    """Of its run."""
    markdown: str


def reproduce(
    request: Request,
    root: str,
    hardware: Hardware,
    tracking: Tracking,
    command: str,
    say: Callable[[str], None],
) -> Outcome:
    """Make a result as far as it is not done: stages and steps that are there are found again.

    Its models have runs of their own, below that of the result. command: makes the same again.
    """
    pipeline = Pipeline(request.experiment, request.data_uri, root, hardware)
    introduce(tracking)
    key = fingerprint("reproduce", request.result, request.experiment, pipeline.card.fingerprint, request.held_out)  # fmt: skip
    with tracking.run(f"reproduce {request.result}", key=key, tags={"ldns.kind": "reproduce"}) as run:  # fmt: skip
        _introduce(run, request, pipeline)
        maker = Maker(root, hardware, Steps(root, say), partial(_watched, tracking, run, say), command)  # fmt: skip
        found = RESULTS[request.result].make(maker, request)
        result = _written(maker, request, pipeline, found)
        _log(run, pipeline, found, result, command)
        text = storage.read_bytes(storage.join(result.uri, MARKDOWN)).decode()
        return Outcome(result.uri, run.url, text)


def _introduce(run: Run, request: Request, pipeline: Pipeline) -> None:
    card = pipeline.card
    run.params(settings(request.experiment))
    if request.result == "reach_angle":
        run.params({"held_out": ",".join(f"{x:g}" for x in request.held_out)})
    sizes = {name: split["n_trials"] for name, split in card.splits.items()}
    profile = {"units": card.n_units, **sizes}
    run.dataset(card.name, card.fingerprint, pipeline.data_uri, "training", profile)


@contextlib.contextmanager
def _watched(
    tracking: Tracking, parent: Run, say: Callable[[str], None], pipeline: Pipeline, name: str
) -> Iterator[Observer]:
    """A run for a model, below that of the result, and lines for a terminal."""
    key = fingerprint("reproduce", parent.run_id, pipeline.fingerprints)
    with tracking.run(name, key=key, parent=parent.run_id, tags={"ldns.kind": "train"}) as run:
        what = f"LDNS `{pipeline.experiment.name}`, trained for a result: {notes.words(name)}."
        page = notes.link("the run of the whole result", tracking.link("runs", parent.run_id))
        scored = f"Evaluated in {page}."
        yield Several([Terminal(f"{name}: ", say), Tracked(run, pipeline, what, scored)])


def _written(maker: Maker, request: Request, pipeline: Pipeline, found: Found) -> Step:
    """The step that writes the files of a result."""
    card, e = pipeline.card, request.experiment
    about = About(
        title=e.name,
        command=maker.command,
        machine=machine(maker.hardware),
        data={
            "name": card.name, "fingerprint": card.fingerprint, "uri": pipeline.data_uri, "units": card.n_units,
            "bin_width_s": card.bin_width_s, "splits": {name: x["n_trials"] for name, x in card.splits.items()},
        },
        settings=settings(e),
        changed=changes(e),
        seconds=maker.durations(),
    )  # fmt: skip
    tables: list[Any] = [[table.title, list(table.header), [list(row) for row in table.rows]] for table in found.tables]  # fmt: skip
    return maker.steps.once(
        "result", e, card.fingerprint, dict(found.numbers), tables, list(found.lines), dict(found.places),
        work=lambda uri: write(uri, found, about),
    )  # fmt: skip


def _log(run: Run, pipeline: Pipeline, found: Found, result: Step, command: str) -> None:
    """Metrics, files and the page of a result's run."""
    there = {metric_name(name): x for name, x in found.metrics.items() if x is not None}
    run.metrics(there, dataset=(pipeline.card.name, pipeline.card.fingerprint))
    log_files(run, storage.join(result.uri, PLOTS), [f"{name}.png" for name in result.summary["plots"]])  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        for path in sorted(downloaded(result.uri, (REPORT, JSON, MARKDOWN), temporary).iterdir()):
            run.artifact(path)
    run.tag({"ldns.reproduction": result.uri})
    run.describe(
        notes.reproduction_run(
            pipeline.experiment.name, data_note(pipeline), found.lines,
            {name: notes.link(name, run.link(name)) for name in (MARKDOWN, REPORT, JSON, PLOTS)},
            command=command, commit=commit(),
        )
    )  # fmt: skip
    run.flush()
