"""Reaching a tracking store: which one, whether it answers, and the experiment in it."""

import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ldns_ray.tracking.experiments import Tracking, public

REACH_LIMIT_S = 10.0


def default_uri(root: str) -> str:
    """`MLFLOW_TRACKING_URI`, or a SQLite store in the storage root `root`, a local folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri
    if "://" in root:
        raise ValueError(
            f"A tracking store under {root} needs a server. Set MLFLOW_TRACKING_URI to its address."
        )
    return f"sqlite:///{Path(root).expanduser().resolve() / 'mlflow.db'}"


def connect(uri: str, experiment: str) -> Tracking:
    """The experiment `experiment` at an MLflow server (http, https) or a SQLite store; made if missing.

    Raises ConnectionError when the server does not answer within about ten seconds or refuses, and
    ValueError for other kinds of address.
    """
    scheme = urllib.parse.urlsplit(uri).scheme
    location = None
    if scheme in ("http", "https"):
        _reach(uri)
    elif scheme == "sqlite":
        folder = Path(uri.removeprefix("sqlite:///")).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        # A quoted name would need quoting again in every artifact's address.
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment)
        location = (folder / "mlartifacts" / safe).as_uri()
    else:
        raise ValueError(
            f"The tracking address must start with http://, https:// or sqlite:///, got {uri!r}. "
            "Set MLFLOW_TRACKING_URI, for example http://127.0.0.1:5000."
        )
    client = MlflowClient(tracking_uri=uri)
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            try:
                # The kind makes the UI open on the list of training runs.
                experiment_id = client.create_experiment(
                    experiment,
                    artifact_location=location,
                    tags={"mlflow.experimentKind": "custom_model_development"},
                )
            except MlflowException:
                # Another process may have made it in between.
                found = client.get_experiment_by_name(experiment)
                if found is None:
                    raise
                experiment_id = found.experiment_id
        else:
            experiment_id = found.experiment_id
    except MlflowException as e:
        raise ConnectionError(_unreachable(uri, str(e))) from e
    if found is not None and found.lifecycle_stage == "deleted":
        raise ValueError(
            f"The MLflow experiment {experiment!r} was deleted. Restore it in the UI, or use another name."
        )
    return Tracking(client, uri, experiment_id, experiment)


def _reach(uri: str) -> None:
    """Return once the server answers anything at all. Raises ConnectionError after ten seconds."""
    deadline = time.monotonic() + REACH_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"{public(uri)}/health", timeout=5):
                return
        except urllib.error.HTTPError as e:
            if e.code < 500:
                return  # a server that has no such page, or asks who we are first
            reason: Exception = e
        except OSError as e:
            reason = e
        if time.monotonic() + 1 > deadline:
            raise ConnectionError(_unreachable(uri, str(reason))) from reason
        time.sleep(1)


def _unreachable(uri: str, reason: str) -> str:
    return (
        f"Cannot reach the MLflow server at {public(uri)}: {reason} "
        "Start one with: make ui, or set MLFLOW_TRACKING_URI."
    )
