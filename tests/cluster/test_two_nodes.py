"""Jobs on a cluster of two worker nodes, with an S3 server, PostgreSQL and an MLflow server on both."""

import base64
import json
import re

import pytest

from ldns_ray import storage
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.pipeline import STAGES
from ldns_ray.tracking.connection import connect
from tests.cluster.services import BUCKET
from tests.cluster.small import (
    EXPERIMENT,
    ONE_ON_A_NODE,
    SETTINGS,
    place,
    run_id_of,
    small_pipeline,
)

pytestmark = pytest.mark.slow

SHORT = "autoencoder.optimisation.epochs=3"
N_SAMPLES = 10


def finished(cluster, name, said):
    """Whether the run of a job that printed this, in an MLflow experiment, has ended well, its report in the object store."""
    run_id = run_id_of(said)
    run = connect(cluster.tracking_uri, name).client.get_run(run_id)
    files = storage.files_of(f"s3://{BUCKET}/mlflow")
    reported = any(re.fullmatch(rf"\d+/{run_id}/artifacts/report.html", file) for file in files)
    return run.info.status == "FINISHED" and reported


@pytest.fixture(scope="module")
def root(running):
    return running.root


def test_train_sample_evaluate(cluster, root):
    """All that a user says is the job: storage, tracking and cluster are in the environment."""
    job = cluster.submit("jobs/train.py", EXPERIMENT, *ONE_ON_A_NODE, *SETTINGS, SHORT)
    cluster.wait_for_training(job)
    said = job.end()
    pipeline = small_pipeline(root, SHORT)
    assert all(pipeline.record(stage) is not None for stage in STAGES)
    assert [row["epoch"] for row in pipeline.history("diffusion")] == [1, 2, 3]
    assert finished(cluster, EXPERIMENT, said)
    model = place(said, "Model")
    assert model == pipeline.model_uri

    sampled = f"{root}/sampled"
    job = cluster.submit("jobs/sample.py", model, "--n", str(N_SAMPLES), "--out", sampled)
    assert place(job.end(), "Results") == sampled
    assert read_card(sampled).n_trials == N_SAMPLES
    assert len(load_trialset(sampled).n_bins_S) == N_SAMPLES

    job = cluster.submit("jobs/evaluate.py", pipeline.data_uri, sampled, "--splits", "4", "--resamples", "10")  # fmt: skip
    said = job.end()
    assert b"<html" in storage.read_bytes(place(said, "Report"))
    assert finished(cluster, "evaluate", said)


def test_two_nodes_train_what_one_trains(cluster, root):
    """The same batches and draws, halved between two nodes: the same losses."""
    own = f"{root}/same"
    cluster.submit("-m", "tests.cluster.on_two_nodes", own).end()
    one, two = (json.loads(storage.read_bytes(f"{own}/{n}/history.json"))["rows"] for n in ("one", "two"))  # fmt: skip
    assert [row["epoch"] for row in two] == [row["epoch"] for row in one] == [1, 2, 3, 4, 5]
    losses = [[row["train_loss"] for row in rows] for rows in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][-1] != pytest.approx(losses[0][0], rel=1e-2), "it has learnt something"
    where = {storage.read_bytes(f"{own}/nodes/2-{rank}").decode() for rank in (0, 1)}
    assert where == {node.host.address for node in cluster.workers}


def test_secrets_are_told_nowhere(cluster, services, folder):
    """Of what jobs and nodes were given: not in logs, Ray's included, nor in the object store, nor in MLflow's runs."""
    secrets = cluster.secrets() | {services.mlflow.admin.password}
    assert len(secrets) == 4
    for user in (services.user, services.mlflow.admin):  # as they go over the network
        secrets.add(base64.b64encode(f"{user.name}:{user.password}".encode()).decode())

    def told(content: bytes) -> bool:
        return any(secret.encode() in content for secret in secrets)

    files = [path for path in folder.rglob("*") if path.is_file()]
    logs = [path for path in files if path.suffix == ".log" or "logs" in path.parts]
    assert [path for path in logs if "job-" in path.name]
    assert [path for path in logs if "raylet" in path.name]
    assert not [path for path in logs if told(path.read_bytes())]
    objects = storage.files_of(f"s3://{BUCKET}")
    assert [name for name in objects if name.startswith("mlflow/")]
    assert not [name for name in objects if told(storage.read_bytes(f"s3://{BUCKET}/{name}"))]
    client = connect(cluster.tracking_uri, EXPERIMENT).client
    runs_of_all = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert runs_of_all
    assert not [r for r in runs_of_all if told(repr(r.to_dictionary()).encode())]
