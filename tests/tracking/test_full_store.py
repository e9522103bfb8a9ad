"""A local store on a disk that is full: told at once, for waiting makes no room, and all goes on once there is some."""

import logging
import time

import pytest

from ldns_ray.tracking.connection import connect
from ldns_ray.tracking.patience import StoreFullError
from tests.disks import small_disk
from tests.tracking.stored import history_of, run_of

# As much as a page of the database holds, many times.
LONG = {f"tag {i}": 4000 * "x" for i in range(60)}


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 8 * 2**20) as made:
        yield made


@pytest.fixture
def tracking(disk):
    return connect(f"sqlite:///{disk.folder / 'mlflow.db'}", "full")


def test_calls_and_metrics_fail_at_once_and_go_on_once_there_is_room(tracking, disk):
    run, another = tracking.run("r"), tracking.run("another")
    began = time.monotonic()
    disk.fill()
    with pytest.raises(
        StoreFullError, match=r"^log_batch was not done: no space .* Make room there"
    ):
        run.tag(LONG)
    with pytest.raises(StoreFullError, match=r"^Metrics of run \w+ were not stored: no space "):
        for step in range(5000):
            run.metrics({"loss": 0.5}, step=step)
        run.flush()
    assert time.monotonic() - began < 20
    disk.free()
    another.tag(LONG)
    assert run_of(tracking, another.run_id).data.tags.items() >= LONG.items()
    with tracking.attach(run.run_id) as again:
        for step in range(5000):
            again.metrics({"loss": 0.5}, step=step)
    assert [s for s, _ in history_of(tracking, run.run_id, "loss")] == list(range(5000))


def test_what_went_wrong_is_told_in_a_line(tracking, disk, caplog):
    with (
        caplog.at_level(logging.WARNING, "ldns_ray"),
        pytest.raises(ValueError, match="another"),
        tracking.run("r") as run,
    ):
        disk.fill()
        run.metrics({f"metric {i}": 0.5 for i in range(5000)})
        raise ValueError("another")
    (told,) = (r.getMessage() for r in caplog.records if r.name.startswith("ldns_ray"))
    assert told.startswith(f"Could not record that run {run.run_id} ended as FAILED: ")
    assert "No space left" in told or "disk is full" in told
    with pytest.raises(StoreFullError):
        run.flush()
