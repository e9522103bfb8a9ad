"""Experiments and runs in MLflow, by explicit run id: no global state, safe from several threads.

    tracking = connect("http://127.0.0.1:5000", "speech_small")
    with tracking.run("autoencoder", key=fingerprint) as run:
        run.params(settings(config))
        run.metrics({"loss": 0.3}, step=1)

A run has a key: asking for the same key again continues the same run, so work that is submitted a
second time shows once. Metrics are sent by a thread of their own: a slow or absent server costs the
training loop nothing.
"""

import contextlib
import getpass
import json
import logging
import math
import os
import sys
import tempfile
import threading
import traceback
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ldns_ray import __version__
from ldns_ray.revision import commit
from ldns_ray.tracking.outbox import Outbox

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

KEY = "ldns.key"
PARENT = "mlflow.parentRunId"
MAX_PARAM_CHARACTERS = 6000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100


class Tracking:
    """One experiment of a tracking store."""

    def __init__(self, client: MlflowClient, uri: str, experiment_id: str, experiment: str) -> None:
        self.client = client
        self.uri = uri
        self.experiment_id = experiment_id
        self.experiment = experiment
        self._asking = threading.Lock()

    def run(
        self,
        name: str,
        *,
        key: str | None = None,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> "Run":
        """The run with this `key`, running again, or a new one; `parent` is a run id.

        Use it as a context manager: it ends as FINISHED, FAILED (with the traceback) or KILLED.
        """
        wanted = standard_tags() | dict(tags or {})
        if key is not None:
            wanted[KEY] = key
        if parent is not None:
            wanted[PARENT] = parent
        if description:
            wanted["mlflow.note.content"] = description
        with self._asking:
            run_id, resumed = self._find_or_create(name, key, wanted)
        if resumed:
            self.client.update_run(run_id, status="RUNNING", name=name)
        run = Run(self, run_id, ends=True, resumed=resumed)
        if resumed:
            run.tag(wanted)
        return run

    def _find_or_create(
        self, name: str, key: str | None, tags: Mapping[str, str]
    ) -> tuple[str, bool]:
        found = self.find(key) if key is not None else None
        if found is not None:
            return found, True
        made = self.client.create_run(
            self.experiment_id, tags=dict(tags), run_name=name
        ).info.run_id
        # Another process may have made one meanwhile. The store cannot forbid it, so this narrows the
        # gap and does not close it: let one process, the driver, ask for a key.
        first = self.find(key) if key is not None else None
        if first is not None and first != made:
            self.client.delete_run(made)
            return first, True
        return made, False

    def attach(self, run_id: str) -> "Run":
        """A run that someone else began, and will end: leaving its context sends what is pending."""
        return Run(self, run_id, ends=False, resumed=True)

    def find(self, key: str) -> str | None:
        """Id of the earliest run with this key, or None."""
        # Backslashes do not escape in MLflow's filters, so a quote cannot be searched for.
        if "'" in key:
            raise ValueError(f"A run's key must not contain a quote, got {key!r}.")
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{KEY}` = '{key}'",
            max_results=1,
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
        )
        return runs[0].info.run_id if runs else None

    def children(self, parent_id: str) -> list[dict[str, Any]]:
        """All child runs, earliest first: run_id, name, status, key, params, metrics, tags, url."""
        rows: list[dict[str, Any]] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                f"tags.`{PARENT}` = '{parent_id}'",
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for r in page:
                rows.append(
                    {
                        "run_id": r.info.run_id,
                        "name": r.info.run_name,
                        "status": r.info.status,
                        "key": r.data.tags.get(KEY, ""),
                        "params": dict(r.data.params),
                        "metrics": dict(r.data.metrics),
                        "tags": dict(r.data.tags),
                        "url": self.url(r.info.run_id),
                    }
                )
            token = page.token
            if not token:
                return rows

    def url(self, run_id: str) -> str:
        """Where a person sees the run: its page, or its id and the store's file."""
        if not self.uri.startswith("http"):
            return f"run {run_id} in {self.uri}"
        return f"{public(self.uri)}/#/experiments/{self.experiment_id}/runs/{run_id}"

    def repository_uri(self, artifact_uri: str) -> str:
        """Where to write artifacts: without the server, those that it serves lie beside the store."""
        if self.uri.startswith("sqlite:") and artifact_uri.startswith("mlflow-artifacts:"):
            folder = Path(self.uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts"
            return (folder / urllib.parse.urlsplit(artifact_uri).path.lstrip("/")).as_uri()
        return artifact_uri


class Run:
    """One run. Made by `Tracking.run` or `Tracking.attach`."""

    def __init__(self, tracking: Tracking, run_id: str, *, ends: bool, resumed: bool) -> None:
        self.tracking = tracking
        self.run_id = run_id
        self._client = tracking.client
        self._ends = ends
        info = self._client.get_run(run_id)
        self._artifacts = get_artifact_repository(
            tracking.repository_uri(info.info.artifact_uri), tracking_uri=tracking.uri
        )
        self._present: dict[str, set[int]] = {}
        if resumed:
            self._present = {
                key: {m.step for m in self._client.get_metric_history(run_id, key)}
                for key in info.data.metrics
            }
        self._outbox = Outbox(self._client, run_id)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._outbox.close()
            if self._ends:
                self._client.set_terminated(self.run_id, "FINISHED")
            return
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        try:
            if self._ends and status == "FAILED":
                self.text("traceback.txt", "".join(traceback.format_exception(error)))
            self._outbox.close()
            if self._ends:
                self._client.set_terminated(self.run_id, status)
        except Exception:
            # The error on its way is the one that matters.
            logger.exception("Could not record that run %s ended as %s", self.run_id, status)

    @property
    def url(self) -> str:
        """Where a person sees the run."""
        return self.tracking.url(self.run_id)

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters, as text. They are logged once.

        Values of more than 6000 characters are cut, visibly. Raises ValueError for a parameter that
        was logged with another value.
        """
        texts = {name: _shortened(str(value)) for name, value in values.items()}
        logged = self._client.get_run(self.run_id).data.params
        for name, text in texts.items():
            if name in logged and logged[name] != text:
                raise ValueError(
                    f"Parameter {name} of run {self.run_id} is {logged[name]!r} and cannot become "
                    f"{text!r}. Log to a run with another key."
                )
        new = [Param(name, text) for name, text in texts.items() if name not in logged]
        for start in range(0, len(new), PARAMS_PER_BATCH):
            self._client.log_batch(self.run_id, params=new[start : start + PARAMS_PER_BATCH])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Metrics at a step; returns at once. A step that the run had when it was found is kept.

        Raises ValueError for a value that is not finite, and what `flush` raises when metrics given
        earlier were refused.
        """
        numbers = {name: float(value) for name, value in values.items()}
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise ValueError(
                    f"Metric {name} at step {step} must be finite, got {number}. "
                    "Leave it out, or let the run fail."
                )
        new = {k: v for k, v in numbers.items() if step not in self._present.get(k, ())}
        self._outbox.put(new, step)

    def flush(self) -> None:
        """Wait until all metrics are stored. Raises ConnectionError when the server stays away."""
        self._outbox.flush()

    def tag(self, values: Mapping[str, str]) -> None:
        """Tags; later values replace earlier ones."""
        tags = [RunTag(name, str(value)) for name, value in values.items()]
        for start in range(0, len(tags), TAGS_PER_BATCH):
            self._client.log_batch(self.run_id, tags=tags[start : start + TAGS_PER_BATCH])

    def tags(self) -> dict[str, str]:
        """The tags that the run has."""
        return dict(self._client.get_run(self.run_id).data.tags)

    def text(self, name: str, content: str) -> None:
        """A text file, such as `report.html` or `notes/readme.md`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_text(content, encoding="utf-8")
            self.artifact(path, str(Path(name).parent))

    def artifact(self, local_path: str | Path, folder: str = "") -> None:
        """A file or folder of this machine, into `folder` of the run's artifacts."""
        path = Path(local_path)
        if not path.exists():
            raise FileNotFoundError(f"No file or folder {path} to log to run {self.run_id}.")
        target = folder if folder not in ("", ".") else None
        if path.is_dir():
            target = f"{target}/{path.name}" if target else path.name
            self._artifacts.log_artifacts(str(path), target)
        else:
            self._artifacts.log_artifact(str(path), target)

    def figures(self, figures: "Mapping[str, Figure]", folder: str = "plots") -> None:
        """Figures as PNG files, named by their keys."""
        with tempfile.TemporaryDirectory() as temporary:
            for name, figure in figures.items():
                path = Path(temporary) / f"{name}.png"
                figure.savefig(path, dpi=120, bbox_inches="tight")
                self.artifact(path, folder)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows with the same columns, as `<name>.json`, which the UI shows as a table."""
        columns = list(rows[0]) if rows else []
        for i, row in enumerate(rows):
            if list(row) != columns:
                raise ValueError(
                    f"Row {i} of table {name} must have columns {columns}, got {list(row)}."
                )
        data = [[row[c] for c in columns] for row in rows]
        self.text(f"{name}.json", json.dumps({"columns": columns, "data": data}, default=_plain))
        # The tag by which the UI knows tables from other JSON.
        tags = self._client.get_run(self.run_id).data.tags
        tables = json.loads(tags.get("mlflow.loggedArtifacts", "[]"))
        entry = {"path": f"{name}.json", "type": "table"}
        if entry not in tables:
            self.tag({"mlflow.loggedArtifacts": json.dumps([*tables, entry])})

    def dataset(
        self,
        name: str,
        digest: str,
        uri: str,
        context: Literal["training", "evaluation", "sampled"],
        profile: Mapping[str, Any] | None = None,
    ) -> None:
        """A dataset that the run used or made: name, fingerprint, where it is, and its sizes."""
        entry = Dataset(
            name=name,
            digest=digest,
            source_type=urllib.parse.urlsplit(uri).scheme or "local",
            source=json.dumps({"uri": uri}),
            profile=json.dumps(dict(profile or {}), default=_plain),
        )
        tags = [InputTag(key="mlflow.data.context", value=context)]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset=entry, tags=tags)])


def public(uri: str) -> str:
    """The address without a trailing slash and without the name and password it may hold."""
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme.startswith("http"):
        return uri
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def standard_tags() -> dict[str, str]:
    tags = {
        "ldns.version": __version__,
        "mlflow.source.name": sys.argv[0] or "python",
        "mlflow.source.type": "JOB" if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") else "LOCAL",
    }
    if commit():
        tags["mlflow.source.git.commit"] = commit()
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _shortened(text: str) -> str:
    if len(text) <= MAX_PARAM_CHARACTERS:
        return text
    note = f" … (cut: {len(text)} characters)"
    return text[: MAX_PARAM_CHARACTERS - len(note)] + note


def _plain(value: Any) -> Any:
    """NumPy and PyTorch scalars as Python's, anything else as text: for `json.dumps`."""
    return value.item() if hasattr(value, "item") else str(value)
