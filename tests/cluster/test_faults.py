"""A training on two nodes that is disturbed while it trains comes to what it comes to undisturbed.

Every epoch is done, told to MLflow once, and has the losses that it has where nothing happens.
"""

import signal
import time

import pytest

from tests.cluster.small import Training

pytestmark = pytest.mark.slow

TRACKING_AWAY_S = 30.0


@pytest.fixture(scope="module")
def undisturbed(running, services):
    """The epochs of a training that nothing happens to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", services.endpoint)
        running.start()
        return Training(running, 0).epochs()


def test_a_worker_process_is_killed(cluster, undisturbed):
    training = Training(cluster, 1)
    training.wait_for_checkpoint()
    killed = cluster.workers[1].training()
    assert killed
    for process in killed:
        process.send_signal(signal.SIGKILL)
    assert training.epochs() == undisturbed


def test_a_node_is_lost_and_another_takes_its_place(cluster, undisturbed):
    training = Training(cluster, 2)
    training.wait_for_checkpoint()
    lost = cluster.workers[1]
    lost.lose()
    assert not lost.runs
    lost.start()
    assert training.epochs() == undisturbed


def test_the_driver_is_killed_and_submitted_again(cluster, undisturbed):
    training = Training(cluster, 4)
    training.wait_for_checkpoint()
    training.job.kill()
    training.submit()
    assert training.epochs() == undisturbed


def test_the_tracking_server_is_killed_and_away(cluster, services, undisturbed):
    training = Training(cluster, 6)
    training.wait_for_checkpoint()
    services.mlflow.kill()
    try:
        time.sleep(TRACKING_AWAY_S)
        assert training.job.runs, "it waits"
    finally:
        services.mlflow.start()
    assert training.epochs() == undisturbed
