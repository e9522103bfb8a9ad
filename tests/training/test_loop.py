"""The training loop: resumed = uninterrupted, best weights, patience, scores on the way."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.models.autoencoder import Loss
from ldns_ray.training.loop import ResidentData, Trainer, fit, keyed_torch_generator, learning_rate
from tests.training.jobs import timeless
from tests.training.networks import (
    DENSE,
    N_UNITS,
    OPTIMISATION,
    PARTS,
    RAGGED,
    Distance,
    by_hand,
    data,
    trainer,
)

# -- Stopping and going on


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
    assert timeless(whole.result.history) == timeless(resumed.result.history)
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


def test_half_precision_is_for_gpus():
    """On a CPU the setting changes nothing."""
    losses = [
        fit(trainer(optimisation=replace(OPTIMISATION, bf16=bf16)), data()).history[-1]["val_loss"]
        for bf16 in (False, True)
    ]
    assert losses[0] == losses[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("network", PARTS)
def test_half_precision_is_close_to_single_on_a_gpu(network):
    device = torch.device("cuda")
    losses = []
    for bf16 in (False, True):
        model, task = PARTS[network]()
        half = replace(OPTIMISATION, bf16=bf16)
        made = Trainer(model.to(device), task, half, steps_per_epoch=3, seed=5)
        losses.append(fit(made, data()).history[-1]["val_loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


# -- Best weights, patience


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
    began = time.time()
    fit(got, data(), lambda row, checkpoint: rows.append(row))
    ends = [began, *(row["time"] for row in rows), time.time()]
    assert ends == sorted(ends)
    assert ends[-1] - began >= sum(row["seconds"] for row in rows)
    assert rows == got.result.history
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert rows[-1]["learning_rate"] == learning_rate(11, 12, 3, OPTIMISATION)


def test_validation_is_the_same_at_every_call():
    got = trainer("diffusion", ema=0.9)
    first, second = (got.validate(data().validation_batches()) for _ in range(2))
    assert first == second


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


# -- Scores on the way


class Meddling:
    """A probe that notes what it is shown, and leaves its traces: modes, gradients, ambient random numbers."""

    epochs = (1, 3)

    def __init__(self):
        self.seen = []

    def __call__(self, model):
        assert not torch.is_grad_enabled()
        assert not any(module.training for module in model.modules())
        self.seen.append({k: v.clone() for k, v in model.state_dict().items()})
        model.train()
        torch.manual_seed(len(self.seen))
        return float(sum(p.square().sum() for p in model.parameters()))


@pytest.mark.parametrize("ema", [None, 0.9])
def test_scores_do_not_disturb_training(ema):
    plain, scored, probe = trainer(ema=ema), trainer(ema=ema), Meddling()
    fit(plain, data())
    fit(scored, data(), probe=probe)
    assert ["score" in row for row in scored.result.history] == [True, False, True, False]
    unscored = [{k: v for k, v in r.items() if k != "score"} for r in scored.result.history]
    assert timeless(unscored) == timeless(plain.result.history)
    for kind in ("model", "averaged"):
        expected = getattr(plain, kind).state_dict()
        for name, value in getattr(scored, kind).state_dict().items():
            assert torch.equal(value, expected[name]), name
    assert len(probe.seen) == 2


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_validated_network_is_scored(ema):
    """The averaged weights where there are some, as they are after the epoch."""
    got, probe, validated = trainer(ema=ema), Meddling(), []

    def after(row, _):
        validated.append({k: v.clone() for k, v in got.averaged.state_dict().items()})
        of_model = got.model.state_dict()
        same = all(torch.equal(v, of_model[k]) for k, v in validated[-1].items())
        assert same == (ema is None)

    fit(got, data(), after, probe)
    for epoch, seen in zip(probe.epochs, probe.seen, strict=True):
        for name, value in validated[epoch - 1].items():
            assert torch.equal(seen[name], value), name
    squares = sum(float(validated[2][n].square().sum()) for n, _ in got.model.named_parameters())
    assert got.result.history[2]["score"] == pytest.approx(squares, rel=1e-5)


def test_modes_are_as_they_were_before_a_score():
    got = trainer()
    modules = list(got.model.modules())
    for i, module in enumerate(modules):
        module.training = i % 2 == 0
    got.score(Meddling())
    assert [m.training for m in modules] == [i % 2 == 0 for i in range(len(modules))]


@pytest.mark.parametrize("lost", [math.nan, math.inf, ValueError("lam value too large")])
def test_training_goes_on_without_a_score_that_is_no_number(lost):
    class Lost(Meddling):
        def __call__(self, model):
            if isinstance(lost, ValueError):
                raise lost
            return lost

    result = fit(trainer(), data(), probe=Lost())
    assert result.history
    assert not any("score" in row for row in result.history)
