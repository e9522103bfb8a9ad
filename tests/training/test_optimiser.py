"""Learning rate, moving average, weight decay and clipping, by hand."""

import math

import pytest
import torch

from ldns_ray.config import Optimisation
from ldns_ray.training.loop import Trainer, ema_decay, learning_rate, make_optimiser
from tests.training.networks import PARTS, ByHand, Distance, by_hand, data


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
