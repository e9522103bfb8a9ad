"""Of processes that train the same, the last that began saves and tells; one that was taken for dead does no more."""

import itertools
import pickle

import pytest
import torch

from ldns_ray import storage
from ldns_ray.storage import DiskFullError
from ldns_ray.training import job
from ldns_ray.training.attempts import FILE, Attempt, SupersededError
from ldns_ray.training.loop import Workers
from tests.training.jobs import dataset, timeless, training_job

pytestmark = pytest.mark.usefixtures("one_thread")


def train(one_job, told, on_epoch=None, checkpoint_s=0.0):
    data = one_job.streamed(Workers(), through_ray=False)
    return job.run(
        one_job, data, torch.device("cpu"), on_epoch=on_epoch, on_saved=told.append, checkpoint_s=checkpoint_s
    )  # fmt: skip


@pytest.mark.parametrize(("checkpoint_s", "before"), [(0.0, [[1]]), (1e9, [])], ids=["while it saves", "before it saves"])  # fmt: skip
def test_a_process_that_was_replaced_saves_and_tells_no_more(tmp_path, checkpoint_s, before):
    """After two epochs it is taken for dead, and another trains to the end; then it goes on."""
    data = dataset(tmp_path / "data")
    one_job = training_job("autoencoder", data, tmp_path / "out")
    stranded, replacing, left = [], [], {}

    def replaced(row, _):
        if row["epoch"] == 2:
            train(one_job, replacing)
            left.update({f: storage.read_bytes(f"{tmp_path}/out/{f}") for f in storage.files_of(tmp_path / "out")})  # fmt: skip

    with pytest.raises(SupersededError, match=f"Another process trains {tmp_path}/out, and began later"):  # fmt: skip
        train(one_job, stranded, replaced, checkpoint_s)
    assert [[row["epoch"] for row in rows] for rows in stranded] == before
    rows = list(itertools.chain(*replacing))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert {f: storage.read_bytes(f"{tmp_path}/out/{f}") for f in storage.files_of(tmp_path / "out")} == left  # fmt: skip
    undisturbed = []
    train(training_job("autoencoder", data, tmp_path / "undisturbed"), undisturbed)
    assert timeless(rows) == timeless(itertools.chain(*undisturbed))
    # What was told of an epoch by both is the same to the last digit, so a store keeps it once.
    by_epoch = {row["epoch"]: row for row in rows}
    assert all(row == by_epoch[row["epoch"]] for row in itertools.chain(*stranded))


def test_the_last_that_began_counts(tmp_path):
    first = Attempt(str(tmp_path))
    first.check()
    second = Attempt(str(tmp_path))
    second.check()
    with pytest.raises(SupersededError):
        first.check()
    with pytest.raises(SupersededError):
        first.end()
    second.end()
    assert not (tmp_path / FILE).exists()
    with pytest.raises(SupersededError):
        second.check()


@pytest.mark.parametrize("error", [DiskFullError("/data/x", 12), SupersededError("Another.")])
def test_errors_of_workers_come_as_they_were(error):
    """Ray carries them between processes."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    assert getattr(copy, "errno", None) == getattr(error, "errno", None)
