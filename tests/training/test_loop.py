"""The training loop: resumed = uninterrupted, two workers = one, best weights, rates and averages by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ldns_ray import config
from ldns_ray.config import Optimisation
from ldns_ray.data.batches import Batch, TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.models.autoencoder import Autoencoder, Loss
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.training.loop import (
    ResidentData,
    Trainer,
    Workers,
    ema_decay,
    fit,
    keyed_torch_generator,
    learning_rate,
    make_optimiser,
)
from ldns_ray.training.tasks import AutoencoderTask, DiffusionTask

N_UNITS, N_LATENTS = 4, 3
RAGGED, DENSE = (9, 20, 14, 20, 11, 6, 17), (12,) * 7
OPTIMISATION = Optimisation(epochs=4, batch_size=3, learning_rate=0.01, warmup_epochs=1)


def trials(n_bins, seed=0):
    rng = np.random.default_rng(seed)
    return TrialSet.from_trials(
        [
            Trial(
                spikes=rng.poisson(0.6, (n, N_UNITS)).astype(np.uint8),
                trial_id=str(i),
                session="s",
                split="train",
                covariates={"velocity": rng.normal(size=(n, 2)).astype(np.float32)},
                conditions={"angle": rng.normal(size=2).astype(np.float32)},
                latents=rng.normal(size=(n, N_LATENTS)).astype(np.float32),
            )
            for i, n in enumerate(n_bins)
        ],
        bin_width_s=0.01,
    )


def data(n_bins=RAGGED, batch_size=3, **worker):
    return ResidentData(trials(n_bins), trials((13, 8), seed=1), batch_size, seed=5, **worker)


def autoencoder_parts():
    torch.manual_seed(0)
    settings = config.Autoencoder(width=8, n_latents=N_LATENTS, n_blocks=1, dropout=0.4)
    model = Autoencoder(
        n_units=N_UNITS, n_latents=N_LATENTS, width=8, n_blocks=1, bidirectional=True
    )
    return model, AutoencoderTask(settings)


def diffusion_parts(condition_dropout=0.0):
    torch.manual_seed(0)
    train = trials(RAGGED)
    settings = config.Diffusion(
        width=8, n_blocks=1, n_steps=30, conditions=("angle", "length"), covariates=("velocity",),
        condition_dropout=condition_dropout,
    )  # fmt: skip
    conditioning = Conditioning.fit(
        settings.conditions,
        settings.covariates,
        n_bins_S=train.n_bins_S,
        conditions=train.conditions,
        covariates=train.covariates,
    )
    model = Denoiser(
        n_latents=N_LATENTS, width=8, n_blocks=1, n_covariates=2, n_conditions=3,
        droppable=condition_dropout > 0,
    )  # fmt: skip
    with torch.no_grad():  # at initialisation the blocks have no gradient
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model, DiffusionTask(settings, conditioning)


PARTS = {
    "autoencoder": autoencoder_parts,
    "diffusion": diffusion_parts,
    "diffusion, conditions dropped": lambda: diffusion_parts(0.3),
}


def trainer(network="autoencoder", optimisation=OPTIMISATION, **settings):
    model, task = PARTS[network]()
    return Trainer(model, task, optimisation, **{"steps_per_epoch": 3, "seed": 5, **settings})


# -- Stopping and going on


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.mark.parametrize(
    ("network", "ema", "n_bins"),
    [
        ("autoencoder", None, DENSE),
        ("autoencoder", None, RAGGED),
        ("diffusion", 0.99, DENSE),
        ("diffusion", 0.99, RAGGED),
        ("diffusion, conditions dropped", 0.99, RAGGED),
    ],
)
@pytest.mark.parametrize("stop_after", [1, 3])
def test_resumed_equals_uninterrupted(network, ema, n_bins, stop_after):
    whole = trainer(network, ema=ema)
    fit(whole, data(n_bins))

    checkpoints = []
    first = trainer(network, ema=ema)
    fit(first, data(n_bins), lambda row, checkpoint: checkpoints.append(checkpoint()))
    torch.manual_seed(99)  # the state of the global generator must not matter
    resumed = trainer(network, ema=ema)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            parameter.zero_()
    resumed.restore(checkpoints[stop_after - 1])
    assert resumed.epoch == stop_after
    assert resumed.step == 3 * stop_after
    fit(resumed, data(n_bins))

    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name
    for name, value in whole.result.best.items():
        assert torch.equal(value, resumed.result.best[name]), name
    assert without_seconds(whole.result.history) == without_seconds(resumed.result.history)
    assert whole.result.best_epoch == resumed.result.best_epoch
    assert whole.result.best_loss == resumed.result.best_loss
    assert whole.checkpoint()[:2] == resumed.checkpoint()[:2] == b"PK"


def test_seeds_differ():
    losses = [fit(trainer(seed=seed), data()).history[-1]["train_loss"] for seed in (5, 6)]
    assert losses[0] != losses[1]


def test_keyed_generators():
    device = torch.device("cpu")
    keys = [(seed, kind, step, 0) for seed in (0, 1) for kind in (0, 1) for step in (0, 1)]
    draws = {torch.rand(3, generator=keyed_torch_generator(device, *key)) for key in keys}
    assert len({tuple(d.tolist()) for d in draws}) == len(keys)


def test_training_learns():
    """Rates that differ between units are found."""
    rng = np.random.default_rng(0)
    rate = np.array([0.1, 0.5, 1.0, 2.0])
    made = [
        Trial(rng.poisson(rate, (15, N_UNITS)).astype(np.uint8), str(i), "s", "train")
        for i in range(24)
    ]
    both = TrialSet.from_trials(made[:16], 0.01), TrialSet.from_trials(made[16:], 0.01)
    optimisation = replace(OPTIMISATION, epochs=12, batch_size=8)
    result = fit(trainer(optimisation=optimisation, steps_per_epoch=2), ResidentData(*both, 8, 0))
    assert result.best_loss < result.history[0]["val_loss"] - 0.05


# -- Workers


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


# -- Best weights, patience


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([4.0]))


class Distance:
    """Training pulls x downwards for ever; validation is best at x = 2."""

    def draw(self, batch, generator):
        return ()

    validation_draw = draw

    def loss(self, model, batch, draws):
        return Loss(model.x.sum(), torch.ones(()))

    def validation_loss(self, model, batch, draws):
        return Loss((model.x - 2).abs().sum(), torch.ones(()))


def by_hand(**changes):
    settings = {
        "epochs": 6, "learning_rate": 1.0, "weight_decay": 0.0, "warmup_epochs": 0, "cosine_stretch": 1e9,
    } | changes  # fmt: skip
    return Trainer(ByHand(), Distance(), Optimisation(**settings), steps_per_epoch=1, seed=0)


def test_weights_of_the_best_validation_are_kept():
    """AdamW with a constant gradient steps by the learning rate: 3, 2, 1, 0, …"""
    got = by_hand()
    result = fit(got, data(batch_size=7))
    assert [row["val_loss"] for row in result.history] == pytest.approx(
        [1, 0, 1, 2, 3, 4], abs=1e-4
    )
    assert result.best_epoch == 2
    assert result.best_loss == pytest.approx(0, abs=1e-4)
    assert float(result.best["x"]) == pytest.approx(2, abs=1e-4)
    assert float(got.model.x.detach()) == pytest.approx(-2, abs=1e-4)


def test_patience_stops_after_so_many_worse_validations():
    result = fit(by_hand(patience=2), data(batch_size=7))
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    assert result.best_epoch == 2


def test_validation_every_few_epochs_and_at_the_end():
    result = fit(by_hand(epochs=5, validate_every=2), data(batch_size=7))
    assert ["val_loss" in row for row in result.history] == [False, True, False, True, True]


def test_every_epoch_is_reported():
    rows = []
    got = trainer()
    fit(got, data(), lambda row, checkpoint: rows.append(row))
    assert rows == got.result.history
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert rows[-1]["learning_rate"] == learning_rate(11, 12, 3, OPTIMISATION)


def test_validation_is_the_same_at_every_call():
    got = trainer("diffusion", ema=0.9)
    first, second = (got.validate(data().validation_batches()) for _ in range(2))
    assert first == second


# -- Learning rate, average, weight decay, clipping


@pytest.mark.parametrize(
    ("epochs", "warmup", "stretch", "fraction"),
    [(200, 10, 1.3, 0.13), (400, 20, 1.5, 0.27), (260, 10, 1.1, 0.02)],
    ids=["lorenz", "speech", "reach"],
)
def test_learning_rate_ends_where_the_paper_ends(epochs, warmup, stretch, fraction):
    settings = Optimisation(
        epochs=epochs, warmup_epochs=warmup, cosine_stretch=stretch, learning_rate=2e-3
    )
    n_steps, n_warmup = 10 * epochs, 10 * warmup
    rates = [learning_rate(s, n_steps, n_warmup, settings) for s in range(n_steps)]
    progress = (n_steps - 1 - n_warmup) / (stretch * n_steps - n_warmup)
    assert rates[-1] == pytest.approx(2e-3 * 0.5 * (1 + math.cos(math.pi * progress)))
    assert rates[-1] / 2e-3 == pytest.approx(fraction, abs=0.006)
    assert rates[0] == pytest.approx(2e-3 / n_warmup)
    assert rates[n_warmup - 1] == rates[n_warmup] == max(rates) == pytest.approx(2e-3)
    assert all(a > b for a, b in zip(rates[n_warmup:], rates[n_warmup + 1 :], strict=False))


def test_learning_rate_without_stretch_ends_at_zero():
    settings = Optimisation(cosine_stretch=1.0, learning_rate=1.0)
    assert learning_rate(100, 100, 10, settings) == pytest.approx(0, abs=1e-12)
    assert learning_rate(0, 100, 0, settings) == 1.0
    assert learning_rate(55, 100, 10, settings) == pytest.approx(0.5)


def test_warm_up_longer_than_training():
    settings = Optimisation(cosine_stretch=1.0, learning_rate=1.0)
    assert learning_rate(4, 5, 10, settings) == pytest.approx(0.5)


def test_ema_decay_by_hand():
    assert ema_decay(0, 0.9999, warmup=True) == 0
    assert ema_decay(7, 0.9999, warmup=True) == pytest.approx(1 - 1 / 4)
    assert ema_decay(10**9, 0.9999, warmup=True) == 0.9999
    assert ema_decay(7, 0.9999, warmup=False) == 0.9999


@pytest.mark.parametrize("warmup", [True, False])
def test_moving_average_by_hand(warmup):
    """x goes 3, 2, 1; the average starts at 4."""
    settings = Optimisation(
        epochs=3, learning_rate=1.0, weight_decay=0.0, warmup_epochs=0, cosine_stretch=1e9
    )
    got = Trainer(
        ByHand(), Distance(), settings, steps_per_epoch=1, seed=0, ema=0.9, ema_warmup=warmup
    )
    average = 4.0
    for step, x in enumerate((3.0, 2.0, 1.0)):
        got.train_epoch(data(batch_size=7).train_batches(0))
        decay = min(0.9, 1 - (1 + step) ** (-2 / 3)) if warmup else 0.9
        average = decay * average + (1 - decay) * x
        assert float(got.model.x.detach()) == pytest.approx(x, abs=1e-4)
        assert float(got.averaged.x) == pytest.approx(average, abs=1e-4)
    assert got.validate(data(batch_size=7).validation_batches()) == pytest.approx(
        abs(average - 2), abs=1e-4
    )


@pytest.mark.parametrize("network", PARTS)
def test_state_space_systems_are_not_decayed(network):
    model, _ = PARTS[network]()
    decayed, spared = make_optimiser(model, Optimisation(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    spared_names = {names[id(p)] for p in spared["params"]}
    expected = {
        name
        for name in names.values()
        if name.split(".")[-2:-1] == ["s4"] and name.split(".")[-1] not in ("c", "skip")
    }
    assert spared_names == expected
    assert len(expected) == 5
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_gradients_are_clipped():
    """The gradient of x is 1. SGD shows its size; AdamW would hide it."""
    got = by_hand(clip_norm=0.25)
    got.optimiser = torch.optim.SGD(got.model.parameters(), lr=1.0)
    got.train_epoch(data(batch_size=7).train_batches(0))
    assert float(got.model.x.detach()) == pytest.approx(4 - 0.25, abs=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_no_number_ends_training(value):
    class Exploding(Distance):
        def loss(self, model, batch, draws):
            return Loss(model.x.sum() * value, torch.ones(()))

    got = by_hand()
    got.task = Exploding()
    with pytest.raises(
        FloatingPointError,
        match=r"loss became (nan|inf) in epoch 1\. Lower the learning rate \(now 1.0\)",
    ):
        fit(got, data(batch_size=7))
    assert got.result.history == []


# -- Tasks


def test_draws_of_the_autoencoder_hide_the_share_they_should():
    _, task = autoencoder_parts()
    batch = trials((200,) * 20).batch(range(20))
    (keep_BTN,) = task.draw(batch, torch.Generator().manual_seed(0))
    assert keep_BTN.shape == batch.spikes_BTN.shape
    assert float((~keep_BTN).float().mean()) == pytest.approx(0.4, abs=0.02)


def test_validation_of_the_autoencoder_is_nats_per_hidden_entry():
    """Constant rates of 1: the likelihood of a 0 or a 1 is e^-1."""
    _, task = autoencoder_parts()
    batch = trials(RAGGED).batch(range(7))
    batch.spikes_BTN.clamp_(max=1)

    class One(nn.Module):
        def forward(self, spikes_BTN, mask_BT):
            return torch.ones_like(spikes_BTN), torch.zeros(*spikes_BTN.shape[:2], 1)

    draws = task.validation_draw(batch, torch.Generator().manual_seed(0))
    loss = task.validation_loss(One(), batch, draws)
    assert float(loss.mean) == pytest.approx(1, rel=1e-5)
    assert int(loss.n_entries) == int((~draws[0] & batch.mask_BT[..., None]).sum())


def test_steps_of_the_diffusion_validation_are_spread_over_the_schedule():
    _, task = diffusion_parts()
    batch = trials((5,) * 30).batch(range(30))
    t_B, eps_BTD = task.validation_draw(batch, torch.Generator().manual_seed(0))
    assert t_B.tolist() == list(range(30))
    assert eps_BTD.shape == batch.latents_BTD.shape
    t_B, _ = task.draw(batch, torch.Generator().manual_seed(0))
    assert len(t_B.unique()) < 30
    assert int(t_B.min()) >= 0
    assert int(t_B.max()) < 30


def test_diffusion_loss_of_the_true_noise_is_zero():
    _, task = diffusion_parts()
    batch = trials(RAGGED).batch(range(7))
    draws = task.draw(batch, torch.Generator().manual_seed(0))

    class Oracle(nn.Module):
        def forward(self, noisy_BTD, t_B, covariates_BTK, condition_BC, mask_BT):
            a = task.alpha_bar[t_B].float()[:, None, None]
            self.shapes = covariates_BTK.shape, condition_BC.shape
            return (noisy_BTD - a.sqrt() * batch.latents_BTD) / (1 - a).sqrt()

    oracle = Oracle()
    assert float(task.loss(oracle, batch, draws).mean) < 1e-6
    assert oracle.shapes == ((7, 20, 2), (7, 3))
