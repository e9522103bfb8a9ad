"""Reaching a tracking store: which one, whether it answers, and the experiment in it."""

import os
import time
import urllib.parse
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ldns_ray.tracking.experiments import Tracking, public
from ldns_ray.tracking.patience import (
    PATIENCE_S,
    Patience,
    PatientClient,
    StoreFullError,
    own_the_waiting,
    reason,
)

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


def connect(
    uri: str,
    experiment: str,
    *,
    wait_s: float = REACH_LIMIT_S,
    patience_s: float = PATIENCE_S,
) -> Tracking:
    """The experiment `experiment` at an MLflow server (http, https) or a SQLite store; made if missing.

    Waits up to `wait_s` seconds for a server that does not answer: briefly by default, for a person who mistyped an
    address wants to know; minutes where the server was there before. Every later call waits up to `patience_s`, see
    `patience.Patience`. MLflow's own repetitions are turned off for this process, see `patience.own_the_waiting`.

    The store forbids two experiments of one name, so that there is one however many ask at once.

    Raises ConnectionError when the server does not answer in time or refuses, StoreFullError where the disk of a SQLite
    store is full, and ValueError for other kinds of address.
    """
    scheme = urllib.parse.urlsplit(uri).scheme
    location = None
    if scheme == "sqlite":
        folder = Path(uri.removeprefix("sqlite:///")).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        # A quoted name would need quoting again in every artifact's address.
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment)
        location = (folder / "mlartifacts" / safe).as_uri()
    elif scheme not in ("http", "https"):
        raise ValueError(
            f"The tracking address must start with http://, https:// or sqlite:///, got {uri!r}. "
            "Set MLFLOW_TRACKING_URI, for example http://127.0.0.1:5000."
        )
    deadline = time.monotonic() + wait_s
    try:
        if scheme != "sqlite":
            own_the_waiting()
            Patience(wait_s, public(uri)).wait_for("/health", lambda: _reach(uri))
        client = MlflowClient(tracking_uri=uri)
        left = Patience(max(deadline - time.monotonic(), 0.0), public(uri))
        experiment_id = left.wait_for(
            "The experiment", lambda: _find_or_create(client, experiment, location)
        )
    except StoreFullError:
        raise
    except (MlflowException, OSError) as e:
        why = reason(e) if isinstance(e, OSError) else str(e)
        raise ConnectionError(_unreachable(uri, why)) from e
    patience = Patience(patience_s, public(uri))
    return Tracking(PatientClient(client, patience), uri, experiment_id, experiment)


def _find_or_create(client: MlflowClient, experiment: str, location: str | None) -> str:
    """Id of the experiment; safe to be called again."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            # The kind makes the UI open on the list of training runs.
            made: str = client.create_experiment(
                experiment,
                artifact_location=location,
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
            return made
        except MlflowException:
            # Another process may have made it in between.
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise ValueError(
            f"The MLflow experiment {experiment!r} was deleted. Restore it in the UI, or use another name."
        )
    return str(found.experiment_id)


def _reach(uri: str) -> None:
    """Return if the server answers anything at all that is not a fault of its own."""
    answer = requests.get(f"{public(uri)}/health", timeout=5)
    # Below, a server that has no such page, or asks who we are first.
    if answer.status_code >= 500:
        answer.raise_for_status()


def _unreachable(uri: str, why: str) -> str:
    return (
        f"Cannot reach the MLflow server at {public(uri)}: {why.rstrip('.')}. "
        "Start one with: make ui, or set MLFLOW_TRACKING_URI."
    )
