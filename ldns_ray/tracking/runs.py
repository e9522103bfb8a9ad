"""Runs in MLflow, by explicit run id: no global state, safe from several threads.

    tracking = connect("http://127.0.0.1:5000", "speech_small")
    with tracking.run("autoencoder", key=fingerprint) as run:
        run.params(settings(config))
        run.metrics({"loss": 0.3}, step=1)

A run has a key: asking for the same key again continues the same run, so work that is submitted a
second time shows once. Metrics are sent by a thread of their own: a slow or absent server costs the
training loop nothing. Texts go without the passwords and keys that addresses in them hold.
"""

import json
import logging
import math
import tempfile
import time
import traceback
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import requests
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException

from ldns_ray.redaction import redacted, without_secrets
from ldns_ray.tracking.outbox import Outbox
from ldns_ray.tracking.patience import reason

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from ldns_ray.tracking.experiments import Tracking

logger = logging.getLogger(__name__)

NOTE = "mlflow.note.content"
FINGERPRINT = "ldns.model_fingerprint"
MODELS = "models:/"
FAILURES = "ldns.failures"
TRACEBACK = "traceback.txt"
MAX_PARAM_CHARACTERS = 6000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100


class Run:
    """One run. Made by `Tracking.run` or `Tracking.attach`.

    Its calls may be repeated, and wait for a server that is away: see `patience.Patience`. As a context manager it
    ends as what happened: FINISHED; KILLED by Ctrl-C; FAILED by any other error, with `traceback.txt`. A process
    that is told to exit without an error, as Ray Tune stops a trial, leaves the run RUNNING: whoever told it knows
    how it ends.

    Every failure is kept as `failures/<n>.txt` and counted by the tag `ldns.failures`; `traceback.txt` is there as
    long as the last attempt is the one that failed.
    """

    def __init__(self, tracking: "Tracking", run_id: str, *, ends: bool, resumed: bool) -> None:
        self.tracking = tracking
        self.run_id = run_id
        self._client = tracking.client
        self._ends = ends
        info = self._client.get_run(run_id)
        self._artifacts = tracking.repository(info.info.artifact_uri)
        self._present: dict[str, set[int]] = {}
        if resumed:
            self._present = {
                key: {m.step for m in self._client.get_metric_history(run_id, key)}
                for key in info.data.metrics
            }
        self._outbox = Outbox(self._client.direct, run_id, tracking.patience.limit_s)
        if resumed and ends and FAILURES in info.data.tags:
            self._clear_failure()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended_ms = int(time.time() * 1000)  # of the run; the server may be told much later
        if error is None:
            self._outbox.close()
            if self._ends:
                self._client.set_terminated(self.run_id, "FINISHED", ended_ms)
            return
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        stopped = isinstance(error, SystemExit) and error.code in (None, 0)
        try:
            if self._ends and status == "FAILED" and not stopped:
                self._record_failure("".join(traceback.format_exception(error)))
            self._outbox.close()
            if self._ends and not stopped:
                self._client.set_terminated(self.run_id, status, ended_ms)
        except Exception as another:
            # The error on its way is the one that matters.
            logger.warning(
                "Could not record that run %s ended as %s: %s.",
                self.run_id,
                status,
                reason(another, error),
            )

    def _record_failure(self, trace: str) -> None:
        number = int(self.tags().get(FAILURES, "0")) + 1
        self.text(f"failures/{number}.txt", trace)
        self.text(TRACEBACK, trace)
        self.tag({FAILURES: str(number)})

    def _clear_failure(self) -> None:
        """Another attempt begins without `traceback.txt`, where the store can delete it."""
        try:
            self._artifacts.delete_artifacts(TRACEBACK)
        except (MlflowException, NotImplementedError, requests.HTTPError) as e:
            logger.warning("%s of an earlier attempt stays with run %s: %s", TRACEBACK, self.run_id, e)  # fmt: skip

    @property
    def url(self) -> str:
        """Where a person sees the run."""
        return self.tracking.url(self.run_id)

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters, as text. They are logged once.

        Values of more than 6000 characters are cut, visibly. Raises ValueError for a parameter that
        was logged with another value.
        """
        texts = {name: _shortened(without_secrets(str(value))) for name, value in values.items()}
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

    def metrics(
        self,
        values: Mapping[str, float],
        step: int = 0,
        *,
        model: str = "",
        dataset: tuple[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        """Metrics at a step; returns at once. A step that the run had when it was found is kept.

        With `model`, the address of a logged model, that model's page shows them too, beside the `dataset`
        (name, fingerprint) that they were measured on. at: when they were measured, in Unix seconds; now by
        default. The store keeps one of two that agree in name, step, time and value.

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
        self._outbox.put(new, step, model.removeprefix(MODELS), dataset, at)

    def flush(self) -> None:
        """Wait until all metrics are stored. Raises ConnectionError when the server stays away."""
        self._outbox.flush()

    def tag(self, values: Mapping[str, str]) -> None:
        """Tags; later values replace earlier ones."""
        tags = [RunTag(name, without_secrets(str(value))) for name, value in values.items()]
        for start in range(0, len(tags), TAGS_PER_BATCH):
            self._client.log_batch(self.run_id, tags=tags[start : start + TAGS_PER_BATCH])

    def tags(self) -> dict[str, str]:
        """The tags that the run has."""
        return dict(self._client.get_run(self.run_id).data.tags)

    def describe(self, note: str) -> None:
        """Markdown for the run's page; replaces what is there."""
        self.tag({NOTE: note})

    def link(self, artifact: str) -> str:
        """The address of an artifact within the UI, such as `link("report.html")`."""
        return self.tracking.link("runs", self.run_id, "artifacts", artifact)

    def text(self, name: str, content: str) -> None:
        """A text file, such as `notes/readme.md`, or `report.html`, which the UI shows as the page it is."""
        self._write(name, without_secrets(content))

    def _write(self, name: str, content: str) -> None:
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
        """Rows with the same columns, as `<name>.json`, which the UI shows as a table.

        Dots in the columns' names become slashes: the UI takes them for a path, and shows nothing.
        """
        columns = list(rows[0]) if rows else []
        for i, row in enumerate(rows):
            if list(row) != columns:
                raise ValueError(
                    f"Row {i} of table {name} must have columns {columns}, got {list(row)}."
                )
        data = [[redacted(row[c]) for c in columns] for row in rows]
        heads = [column.replace(".", "/") for column in columns]
        self._write(f"{name}.json", json.dumps({"columns": heads, "data": data}, default=_plain))
        # The tag by which the UI knows tables from other JSON.
        tables = json.loads(self.tags().get("mlflow.loggedArtifacts", "[]"))
        entry = {"path": f"{name}.json", "type": "table"}
        if entry not in tables:
            self.tag({"mlflow.loggedArtifacts": json.dumps([*tables, entry])})

    def parquet(self, name: str, table: "pa.Table") -> None:
        """A table as `<name>.parquet`, for what is too large for `table`: the UI offers it for download."""
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.parquet"
            pq.write_table(table, path)
            self.artifact(path)

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
            source=json.dumps({"uri": without_secrets(uri)}),
            profile=json.dumps(redacted(profile or {}), default=_plain),
        )
        tags = [InputTag(key="mlflow.data.context", value=context)]
        inputs = [DatasetInput(dataset=entry, tags=tags)]
        try:
            self._client.log_inputs(self.run_id, inputs)
        except MlflowException as e:
            if e.error_code != "BAD_REQUEST":
                raise
            # Another run told of the same dataset at the same moment, and the store wanted to be the first to
            # know both times. Now it does.
            self._client.log_inputs(self.run_id, inputs)

    def model(self, address: str, role: Literal["input", "output"]) -> None:
        """A logged model, `models:/m-…`, that the run used or made."""
        model_id = address.removeprefix(MODELS)
        if role == "input":
            self._client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])
        else:
            self.tracking.patience.wait_for("log_outputs", lambda: self._log_output(model_id))

    def _log_output(self, model_id: str) -> None:
        """Once: the store refuses an output that it has."""
        client = self._client.direct
        outputs = client.get_run(self.run_id).outputs
        if outputs is None or all(m.model_id != model_id for m in outputs.model_outputs):
            client.log_outputs(self.run_id, [LoggedModelOutput(model_id, step=0)])


def _shortened(text: str) -> str:
    if len(text) <= MAX_PARAM_CHARACTERS:
        return text
    note = f" … (cut: {len(text)} characters)"
    return text[: MAX_PARAM_CHARACTERS - len(note)] + note


def _plain(value: Any) -> Any:
    """NumPy and PyTorch scalars as Python's, anything else as text: for `json.dumps`."""
    return value.item() if hasattr(value, "item") else str(value)
