"""A training on two nodes that is disturbed while it trains comes to what it comes to undisturbed.

Every epoch is done, told to MLflow once, and has the losses that it has where nothing happens. (The one that a notice
disturbs lasts longer, and is not compared.)
"""

import signal
import time

import pytest

from tests.cluster.hosts import alive
from tests.cluster.metadata import Metadata
from tests.cluster.services import wait_for
from tests.cluster.small import Training
from tests.disks import small_disk

pytestmark = pytest.mark.slow

AWAY_S = 60.0
TRACKING_AWAY_S = 30.0
NOTICE_S = 60.0
LONG = 80
"""Epochs of a training that lasts longer than it takes to tell Ray of a notice."""
SELDOM = "hardware.checkpoint_s=3600"
STREAMED = ("hardware.checkpoint_s=0", "hardware.data=streamed")
NODE_DISK_BYTES = 200_000_000
FULL_S = 20.0
FEW = 2
"""Epochs of a training that reads its trials anew in every one."""


@pytest.fixture(scope="module")
def undisturbed(running, services):
    """The epochs of a training that nothing happens to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", services.endpoint)
        running.start()
        return Training(running, 0).epochs()


def test_a_worker_is_killed_then_a_node_is_lost_then_the_driver(cluster, undisturbed):
    """A process is started again on its node, another node takes the place of one, and the job is submitted again."""
    training = Training(cluster, 1)
    training.wait_for_checkpoint()
    node = cluster.workers[1]
    killed = node.training()
    assert killed
    for process in killed:
        process.send_signal(signal.SIGKILL)
    training.wait_for_progress()
    node.lose()
    assert not node.runs
    node.start()
    training.wait_for_progress()
    training.job.kill()
    training.submit()
    assert training.epochs() == undisturbed


def test_a_node_is_cut_off_for_a_minute(cluster, undisturbed):
    """What trained there trains on, unheard; back on the network, Ray ends there, and is started again."""
    training = Training(cluster, 3)
    training.wait_for_checkpoint()
    cut = cluster.workers[1]
    stranded = cut.training()
    cut.host.cut()
    time.sleep(AWAY_S)
    assert training.job.runs
    assert alive(stranded)
    cut.host.mend()
    assert training.epochs() == undisturbed
    assert not alive(stranded)


def test_the_object_store_fails_and_is_slow_and_the_tracking_server_is_away(cluster, services, undisturbed):  # fmt: skip
    """The store for longer than its client tries on its own, and waits: no worker is lost over it. MLflow is killed."""
    training = Training(cluster, 5)
    training.wait_for_checkpoint()
    workers, way = cluster.training(), services.way
    refused = way.refused
    with way.failing(status=503):
        time.sleep(12)
    with way.failing(status=500):
        time.sleep(3)
    assert way.refused > refused
    delayed = way.delayed
    with way.failing(delay_s=4):  # the client may rest for 20 s before it asks again
        wait_for("a slow request", lambda: way.delayed > delayed, 60, training.job.log)
        time.sleep(4)
    assert cluster.training() == workers
    training.wait_for_progress()
    services.mlflow.kill()
    try:
        time.sleep(TRACKING_AWAY_S)
        assert training.job.runs, "it waits"
    finally:
        services.mlflow.start()
    assert training.epochs() == undisturbed


def test_a_spot_machine_is_taken_back_after_its_notice(cluster, network):
    """Nothing is saved but for the notice; from then on every epoch is, and another machine goes on from there."""
    taken, metadata = cluster.workers[1], Metadata()
    with metadata.serving(network.address) as service:
        watching = taken.spot_watch(service)
        wait_for("it asks", lambda: metadata.asked, 30)
        training = Training(cluster, 7, SELDOM, epochs=LONG)
        cluster.wait_for_training(training.job)
        metadata.announce(NOTICE_S)
        training.wait_for_checkpoint(NOTICE_S)
        assert watching.wait(NOTICE_S) == 0
    n_done, lost_at = training.n_done(), time.time()
    taken.lose()
    taken.start()
    training.epochs()
    assert "a worker's machine will be taken back at " in training.job.said
    assert 0 < n_done < LONG
    times = [row["time"] for row in training.rows()]
    assert times == sorted(times)
    assert times[n_done - 1] < lost_at < times[-1]


def test_others_fill_the_object_stores(cluster):
    """Of Ray, three times over, while trials are read through them."""
    expected = Training(cluster, 8, *STREAMED, epochs=FEW).epochs()
    hog = cluster.submit("-m", "tests.cluster.hog")
    wait_for("objects are put", lambda: "under pressure" in hog.said, 60, hog.log)
    training = Training(cluster, 9, *STREAMED, epochs=FEW)
    assert training.epochs() == expected
    assert hog.runs, hog.said
    hog.kill()


def test_the_disk_of_a_node_is_full(cluster, folder, undisturbed):
    """What trains there goes on, though Ray can write no logs. Nothing starts there, as after a loss, until there is room."""
    node = cluster.workers[1]
    node.lose()
    with small_disk(folder / "small", NODE_DISK_BYTES) as disk:
        try:
            node.start(disk.folder)
            training = Training(cluster, 10)
            training.wait_for_checkpoint()
            disk.fill()
            training.wait_for_progress()
            for process in node.training():
                process.send_signal(signal.SIGKILL)
            time.sleep(FULL_S)
            assert training.job.runs, training.job.said[-3000:]
            disk.free()
            assert training.epochs() == undisturbed
        finally:
            node.lose()
