"""Training on a cluster of two worker nodes, on data in an S3 server."""

import json

import pytest

from ldns_ray import storage

pytestmark = pytest.mark.slow


def test_two_nodes_train_what_one_trains(cluster):
    """The same batches and draws, halved between two nodes: the same losses."""
    own = f"{cluster.root}/same"
    cluster.submit("-m", "tests.cluster.on_two_nodes", own).end()
    one, two = (json.loads(storage.read_bytes(f"{own}/{n}/history.json"))["rows"] for n in ("one", "two"))  # fmt: skip
    assert [row["epoch"] for row in two] == [row["epoch"] for row in one] == [1, 2, 3, 4, 5]
    losses = [[row["train_loss"] for row in rows] for rows in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][-1] != pytest.approx(losses[0][0], rel=1e-2), "it has learnt something"
    where = {storage.read_bytes(f"{own}/nodes/2-{rank}").decode() for rank in (0, 1)}
    assert where == {node.host.address for node in cluster.workers}
