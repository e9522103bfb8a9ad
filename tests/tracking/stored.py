"""What a store holds of a run, read back."""

from pathlib import Path

import mlflow.artifacts

from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.runs import FINGERPRINT


def run_of(tracking: Tracking, run_id: str):
    return tracking.client.get_run(run_id)


def history_of(tracking: Tracking, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in tracking.client.get_metric_history(run_id, key)]


def artifact_of(tracking: Tracking, run_id: str, path: str) -> bytes:
    uri = f"{run_of(tracking, run_id).info.artifact_uri}/{path}"
    return Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=tracking.uri)).read_bytes()


def logged_model(tracking, run, fingerprint):
    """The address of a logged model without files."""
    made = tracking.client.create_logged_model(
        tracking.experiment_id, name="m", source_run_id=run.run_id, tags={FINGERPRINT: fingerprint}
    )
    return f"models:/{made.model_id}"
