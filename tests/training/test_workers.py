"""Two workers train as one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ldns_ray.data.batches import Batch
from ldns_ray.training.loop import Trainer, Workers
from tests.training.networks import DENSE, N_LATENTS, OPTIMISATION, PARTS, RAGGED, data, trainer


class InDouble:
    """A task in double precision, so that sums in another order agree to rounding."""

    def __init__(self, task):
        self.task = task

    def loss(self, model, batch, draws):
        def double(x):
            return x.double() if x is not None and x.is_floating_point() else x

        wide = Batch(
            double(batch.spikes_BTN),
            batch.mask_BT,
            batch.n_bins_B,
            {k: double(v) for k, v in batch.covariates.items()},
            {k: double(v) for k, v in batch.conditions.items()},
            double(batch.latents_BTD),
            batch.index_B,
        )
        return self.task.loss(
            lambda *inputs, **dropped: model(*map(double, inputs), **dropped),
            wide,
            tuple(map(double, draws)),
        )


def draw_by_trial(network):
    """Draws that depend on the step and the trial alone, not on which trials are beside it."""

    def draw(step, batch):
        _, n_rows, n_units = batch.spikes_BTN.shape
        rows, times, dropped = [], [], []
        for trial, n in zip(batch.index_B.tolist(), batch.n_bins_B.tolist(), strict=True):
            rng = np.random.default_rng([step, trial])
            times.append(rng.integers(30))
            dropped.append(trial % 2 == 0)
            if network == "autoencoder":
                row = np.ones((n_rows, n_units), bool)
                row[:n] = rng.random((n, n_units)) >= 0.4
            else:
                row = np.zeros((n_rows, N_LATENTS), np.float32)
                row[:n] = rng.standard_normal((n, N_LATENTS))
            rows.append(row)
        stacked = torch.from_numpy(np.stack(rows))
        if network == "autoencoder":
            return (stacked,)
        draws = torch.tensor(times), stacked
        return draws if network == "diffusion" else (*draws, torch.tensor(dropped))

    return draw


@pytest.mark.parametrize("n_bins", [RAGGED, DENSE], ids=["ragged", "dense"])
@pytest.mark.parametrize("network", PARTS)
def test_two_workers_have_the_gradient_of_one(network, n_bins):
    draw = draw_by_trial(network)

    def gradients(rank, world_size, totals):
        """Per step: the worker's gradient before it is averaged, and the loss it reports."""
        model, task = PARTS[network]()
        task = InDouble(task)
        model.double()
        workers = Workers(rank, world_size, all_reduce=lambda x: totals[worker.step])
        frozen = replace(OPTIMISATION, learning_rate=1e-300, weight_decay=0, clip_norm=1e300)
        worker = Trainer(model, task, frozen, steps_per_epoch=3, seed=0, workers=workers, draw=draw)
        steps = []
        for name, parameter in model.named_parameters():
            parameter.register_hook(lambda g, name=name: steps[-1].update({name: g}))
        for batch in data(n_bins, rank=rank, world_size=world_size).train_batches(0):
            steps.append({})
            worker._train_step(batch)
        return steps

    def sums(rank, world_size):
        model, task = PARTS[network]()
        model.double()
        batches = data(n_bins, rank=rank, world_size=world_size).train_batches(0)
        losses = [
            InDouble(task).loss(model, batch, draw(step, batch))
            for step, batch in enumerate(batches)
        ]
        return [torch.stack((x.total.detach(), x.n_entries.double())) for x in losses]

    one = sums(0, 1)
    two = [a + b for a, b in zip(sums(0, 2), sums(1, 2), strict=True)]
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
    alone = gradients(0, 1, one)
    shares = gradients(0, 2, two), gradients(1, 2, two)
    assert len(alone) == len(shares[0]) == len(shares[1]) == 3
    for whole, first, second in zip(alone, *shares, strict=True):
        assert whole.keys() == first.keys() == second.keys()
        largest = max(float(g.abs().max()) for g in whole.values())
        assert largest > 0
        for name, g in whole.items():
            both = (first[name] + second[name]) / 2
            torch.testing.assert_close(both, g, rtol=1e-6, atol=1e-6 * largest)


def test_reported_loss_is_that_of_all_workers():
    """`all_reduce` adds a worker that is twice as large and has three times the loss."""
    plain = trainer()
    first = plain.train_epoch(data().train_batches(0))
    workers = Workers(0, 2, all_reduce=lambda x: x * torch.tensor([4.0, 3.0], dtype=x.dtype))
    shared = trainer(optimisation=replace(OPTIMISATION, learning_rate=1e-300), workers=workers)
    alone = trainer(optimisation=replace(OPTIMISATION, learning_rate=1e-300))
    expected = alone.train_epoch(data().train_batches(0)) * 4 / 3
    assert shared.train_epoch(data().train_batches(0)) == pytest.approx(expected, rel=1e-6)
    assert shared.validate(data().validation_batches()) == pytest.approx(
        alone.validate(data().validation_batches()) * 4 / 3, rel=1e-6
    )
    assert first > 0


def test_worker_without_a_trial_takes_part():
    """Seven trials in batches of three: the last batch has one, and the second worker none of it."""
    batches = list(data(rank=1, world_size=2).train_batches(0))
    assert len(batches) == len(list(data(rank=0, world_size=2).train_batches(0))) == 3
    assert batches[-1].mask_BT is not None
    assert not batches[-1].mask_BT.any()
    second = trainer(workers=Workers(1, 2))
    loss = second.train_epoch(batches)
    assert math.isfinite(loss)
    assert all(p.isfinite().all() for p in second.model.parameters())
