"""What is told of epochs once a checkpoint holds them: every epoch, in order, with figures that never change."""

import io
import itertools

import pytest
import torch

from ldns_ray import storage
from ldns_ray.training import job
from ldns_ray.training.loop import Workers
from tests.training.jobs import dataset, timeless, training_job

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
NETWORKS = pytest.mark.parametrize("network", ["autoencoder", "diffusion"])


class Stop(Exception):
    """The process dies."""


class WeightNorm:
    """A score that tells one network from another."""

    def __init__(self, *epochs):
        self.epochs = epochs

    def __call__(self, model):
        return float(sum(p.double().square().sum() for p in model.parameters()))


def held(one_job):
    """The history that the checkpoint holds."""
    content = storage.read_bytes(one_job.checkpoint_uri)
    return torch.load(io.BytesIO(content), weights_only=True)["history"]


def train(one_job, stop_after=None, **options):
    """Lists of rows in the order in which they were told, each held by the checkpoint that is there by then."""
    told = []

    def stop(row, _):
        if row["epoch"] == stop_after:
            raise Stop

    def on_saved(rows):
        told.append(list(rows))
        assert list(itertools.chain(*told)) == held(one_job)

    data = one_job.streamed(Workers(), through_ray=False)
    try:
        job.run(one_job, data, CPU, on_epoch=stop, on_saved=on_saved, **options)
    except Stop:
        assert stop_after is not None
    return told


def epochs(told):
    return [[row["epoch"] for row in rows] for rows in told]


def test_rows_are_told_when_a_checkpoint_holds_them(tmp_path):
    data = dataset(tmp_path / "data")
    at_the_end = train(training_job("autoencoder", data, tmp_path / "rarely"), checkpoint_s=1e9)
    assert epochs(at_the_end) == [[1, 2, 3, 4, 5]]
    always = train(training_job("autoencoder", data, tmp_path / "always"), checkpoint_s=0.0)
    assert epochs(always) == [[1], [2], [3], [4], [5]]
    assert timeless(itertools.chain(*always)) == timeless(itertools.chain(*at_the_end))


def test_a_score_is_saved_before_the_next_epoch(tmp_path):
    one_job = training_job("diffusion", dataset(tmp_path / "data"), tmp_path / "out")
    told = train(one_job, probe=WeightNorm(2, 4), checkpoint_s=1e9)
    assert epochs(told) == [[1, 2], [3, 4], [5]]
    assert [row.get("score") is not None for rows in told for row in rows] == [
        False, True, False, True, False,
    ]  # fmt: skip


@NETWORKS
@pytest.mark.parametrize("every", [0.0, 1e9], ids=["every epoch", "epochs with a score"])
def test_interrupted_trainings_tell_what_an_uninterrupted_one_does(tmp_path, network, every):
    """The process dies after its first epoch, its third and its fourth; a checkpoint may hold fewer."""
    data = dataset(tmp_path / "data")
    whole = training_job(network, data, tmp_path / "whole")
    broken = training_job(network, data, tmp_path / "broken")
    probe = WeightNorm(2, 3)
    (expected,) = train_again(whole, probe, [None], every)
    processes = train_again(broken, probe, [1, 3, 4, None], every)
    if every:
        assert [epochs(told) for told in processes] == [
            [], [[1, 2]], [[1, 2, 3]], [[1, 2, 3], [4, 5]],
        ]  # fmt: skip
    else:
        assert [epochs(told) for told in processes] == [
            [], [[1], [2]], [[1, 2, 3]], [[1, 2, 3, 4], [5]],
        ]  # fmt: skip
    rows = [row for told in processes for row in itertools.chain(*told)]
    by_epoch = {row["epoch"]: row for row in rows}
    assert all(row == by_epoch[row["epoch"]] for row in rows)
    assert sorted(by_epoch) == [1, 2, 3, 4, 5]
    assert timeless(by_epoch[e] for e in range(1, 6)) == timeless(itertools.chain(*expected))


def train_again(one_job, probe, stops, every):
    """What each of several processes, one after the other, told. every: seconds between checkpoints."""
    return [train(one_job, stop, probe=probe, checkpoint_s=every) for stop in stops]


def test_a_finished_training_tells_everything_once(tmp_path):
    one_job = training_job("autoencoder", dataset(tmp_path / "data"), tmp_path / "out")
    first = train(one_job)
    (rows,) = train(one_job)
    assert rows == list(itertools.chain(*first))


def test_the_first_worker_alone_tells_and_scores(tmp_path):
    """With sums that are doubled, the second of two workers trains as if the first had the same trials."""
    one_job = training_job("autoencoder", dataset(tmp_path / "data"), tmp_path / "out")
    second = Workers(1, 2, all_reduce=lambda x: 2 * x)
    told = []
    result = job.run(
        one_job, one_job.streamed(second, through_ray=False), CPU, second, on_saved=told.append,
        probe=WeightNorm(1),
    )  # fmt: skip
    assert len(result.history) == 5
    assert not any("score" in row for row in result.history)
    assert told == []
    assert not storage.exists(one_job.checkpoint_uri)
