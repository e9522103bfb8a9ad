"""Jobs on a cluster of two worker nodes, with an S3 server, PostgreSQL and an MLflow server on both."""

import json
import re

import optuna
import pytest

from ldns_ray import storage
from tests.cluster.small import SETTINGS
from tests.sweeps.submitted import check_histories, runs

pytestmark = pytest.mark.slow

SHORT = "autoencoder.optimisation.epochs=3"


def place(said, word):
    """The storage address of a line that a job has printed."""
    found = re.search(rf"^{word}: (s3://\S+)", said, re.M)
    assert found is not None, said
    return found[1]


@pytest.fixture(scope="module")
def root(running):
    return running.root


def test_a_sweep(cluster, services):
    """Trials in the cluster, the study in PostgreSQL; submitted again it finds everything done."""
    command = ("jobs/sweep_lorenz.py", "--n-trials", "2", "--optuna-storage", services.optuna, *SETTINGS, SHORT)  # fmt: skip
    said = cluster.submit(*command).end()
    (name,) = optuna.get_all_study_names(services.optuna)
    study = optuna.load_study(study_name=name, storage=services.optuna)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    result = json.loads(storage.read_bytes(storage.join(place(said, "Results"), "sweep.json")))
    assert sorted(row["score"] for row in result["trials"]) == sorted(t.value for t in study.trials)
    status, children, histories = runs(cluster.tracking_uri, "lorenz")
    assert status == "FINISHED"
    assert children == {"trial 1": ["FINISHED"], "trial 2": ["FINISHED"]}
    check_histories(histories, {"autoencoder": 3, "diffusion": 3})
    assert "every trial is done" in cluster.submit(*command).end()


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
