"""An experiment of a tracking store: its runs by key, its models, and where a person sees them side by side."""

import threading
import time
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ldns_ray.redaction import redacted
from ldns_ray.tracking import views
from ldns_ray.tracking.patience import Patient, PatientClient
from ldns_ray.tracking.runs import FINGERPRINT, MODELS, NOTE, Run
from ldns_ray.tracking.tags import standard_tags

KEY = "ldns.key"
PARENT = "mlflow.parentRunId"


class Tracking:
    """One experiment of a tracking store.

    client: every call through it waits for a server that is away, and so do all methods here and a run's.
    """

    def __init__(
        self, client: PatientClient, uri: str, experiment_id: str, experiment: str
    ) -> None:
        self.client = client
        self.patience = client.patience
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

        Use it as a context manager: it ends as FINISHED, FAILED (with the traceback) or KILLED; see `Run`.

        A key has one run, exactly so where one process asks for it and the server is away, restarted or killed: after
        an answer that was lost, the run is looked for before another is made. Only nearly so where two processes ask
        at the same moment, or where a request hangs in a server until its double is in use, for the store forbids no
        doubles: let one process, the driver, ask for a key.
        """
        wanted = standard_tags() | dict(tags or {})
        # Without a key of its own, a run whose making was not answered could not be found.
        wanted[KEY] = key if key is not None else uuid.uuid4().hex
        if parent is not None:
            wanted[PARENT] = parent
        if description:
            wanted[NOTE] = description
        with self._asking:
            run_id, resumed = self._find_or_create(name, redacted(wanted), new=key is None)
        if resumed:
            self.client.update_run(run_id, status="RUNNING", name=name)
        run = Run(self, run_id, ends=True, resumed=resumed)
        if resumed:
            run.tag(wanted)
        return run

    def _find_or_create(self, name: str, tags: Mapping[str, str], *, new: bool) -> tuple[str, bool]:
        """Id of the run with the key among `tags`, and whether it was there before."""
        key = tags[KEY]
        found = None if new else self.find(key)
        if found is not None:
            return found, True
        made = self.patience.make(
            "create_run",
            lambda: self._create(name, tags),
            lambda: self._earliest(key),
        )
        # Another process may have made one meanwhile, or the server what it had not answered.
        first = self.find(key)
        if first is not None and first != made:
            self.client.delete_run(made)
            return first, True
        return made, False

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        made = self.client.direct.create_run(self.experiment_id, tags=dict(tags), run_name=name)
        return str(made.info.run_id)

    def attach(self, run_id: str) -> "Run":
        """A run that someone else began, and will end: leaving its context sends what is pending."""
        return Run(self, run_id, ends=False, resumed=True)

    def find(self, key: str) -> str | None:
        """Id of the earliest run with this key, or None."""
        # Backslashes do not escape in MLflow's filters, so a quote cannot be searched for.
        if "'" in key:
            raise ValueError(f"A run's key must not contain a quote, got {key!r}.")
        return self.patience.wait_for("search_runs", lambda: self._earliest(key))

    def _earliest(self, key: str) -> str | None:
        runs = self.client.direct.search_runs(
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
        return f"{public(self.uri)}/{self.link('runs', run_id)}"

    def link(self, *page: str) -> str:
        """The address of a page of this experiment within the UI, such as `link("runs", run_id)`."""
        path = "/".join(("#/experiments", self.experiment_id, *page))
        return f"{path}?{views.MODELS_FIRST}"

    def compare_url(
        self,
        sort_by: str = "score",
        columns: Sequence[str] = (),
        *,
        settings: Sequence[str] = (),
        parent: str = "",
        name: str = "Best first",
    ) -> str:
        """Where a person sees runs side by side, lowest metric `sort_by` first.

        The list has the metrics `columns` and the parameters `settings` as its columns. With `parent`, a run id,
        it holds that run's children; without, all runs but sweeps, whose metrics are those of a trial on another
        split. It is kept in the experiment under its `name`, which the UI offers under "Views": the same name
        replaces it.
        """
        where = f"tags.`{PARENT}` = '{parent}'" if parent else "tags.`ldns.kind` != 'sweep'"
        view = views.best_first(name, sort_by, columns, settings, where, int(time.time() * 1000))
        self.client.set_experiment_tag(self.experiment_id, views.TAG + views.key(name), view)
        if not self.uri.startswith("http"):
            return f"view {name!r} of experiment {self.experiment!r} in {self.uri}"
        return f"{public(self.uri)}/{self.view_link(name)}"

    def view_link(self, name: str = "Best first") -> str:
        """The address, within the UI, of a list that `compare_url` has kept."""
        return f"{self.link('runs')}&viewStateShareKey={views.key(name)}"

    def describe(self, note: str) -> None:
        """Markdown for the experiment's pages, unless someone has written there already."""
        if not self.client.get_experiment(self.experiment_id).tags.get(NOTE):
            self.client.set_experiment_tag(self.experiment_id, NOTE, note)

    def find_model(self, fingerprint: str) -> str:
        """The address `models:/m-…` of a model that `log_model` logged with this fingerprint, or nothing.

        All experiments of the store are searched; of several, the one that was logged last is taken.
        """
        # What a card says may be anything, and a quote would end the filter.
        if not fingerprint.isalnum():
            return ""
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        found = self.client.search_logged_models(
            experiments,
            f"tags.`{FINGERPRINT}` = '{fingerprint}'",
            max_results=1,
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
        return f"{MODELS}{found[0].model_id}" if found else ""

    def repository(self, artifact_uri: str) -> Patient:
        """The artifacts under `artifact_uri`, an `ArtifactRepository` whose calls wait for the server.

        That holds for artifacts that go through the tracking server; a store that is written to directly, such as
        S3, has a patience of its own.
        """
        direct = get_artifact_repository(self.repository_uri(artifact_uri), tracking_uri=self.uri)
        return Patient(direct, self.patience)

    def repository_uri(self, artifact_uri: str) -> str:
        """Where to write artifacts: without the server, those that it serves lie beside the store."""
        if self.uri.startswith("sqlite:") and artifact_uri.startswith("mlflow-artifacts:"):
            folder = Path(self.uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts"
            return (folder / urllib.parse.urlsplit(artifact_uri).path.lstrip("/")).as_uri()
        return artifact_uri


def public(uri: str) -> str:
    """The address without a trailing slash and without the name and password it may hold."""
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme.startswith("http"):
        return uri
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
