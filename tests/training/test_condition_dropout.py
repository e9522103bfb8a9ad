"""Conditions dropped in training: how often, of which trials, and what the network then sees."""

import numpy as np
import pytest
import torch
from torch import nn

from ldns_ray.config import Diffusion, Optimisation
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.training.loop import TRAIN, Trainer, keyed_torch_generator
from ldns_ray.training.tasks import DiffusionTask

N_LATENTS, N_TRIALS = 3, 4000


def task(dropout=0.3, conditions=("angle", "length"), covariates=("velocity",)):
    conditioning = Conditioning.fit(
        conditions, covariates, n_bins_S=TRIALS.n_bins_S, conditions=TRIALS.conditions, covariates=TRIALS.covariates
    )  # fmt: skip
    settings = Diffusion(conditions=conditions, covariates=covariates, condition_dropout=dropout)
    return DiffusionTask(settings, conditioning)


def trials(n):
    rng = np.random.default_rng(0)
    return TrialSet.from_trials(
        [
            Trial(
                spikes=np.zeros((n_bins, 1), np.uint8),
                trial_id=str(i),
                session="s",
                split="train",
                covariates={"velocity": rng.normal(1, 2, size=(n_bins, 2)).astype(np.float32)},
                conditions={"angle": rng.normal(size=2).astype(np.float32)},
                latents=rng.normal(size=(n_bins, N_LATENTS)).astype(np.float32),
            )
            for i, n_bins in enumerate(rng.integers(3, 6, size=n))
        ],
        bin_width_s=0.01,
    )


TRIALS = trials(N_TRIALS)
BATCH = TRIALS.batch(range(N_TRIALS))


def generator(seed=0, step=0, rank=0):
    return keyed_torch_generator(torch.device("cpu"), seed, TRAIN, step, rank)


@pytest.mark.parametrize("dropout", [0.1, 0.3])
def test_as_many_trials_are_dropped_as_asked_for(dropout):
    """Within 4 standard deviations of the binomial; other trials at other steps and of other workers."""
    drawn = [
        task(dropout).draw(BATCH, generator(*key))[2] for key in ((0, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    error = 4 * (dropout * (1 - dropout) / N_TRIALS) ** 0.5
    for dropped_B in drawn:
        assert dropped_B.dtype == torch.bool
        assert float(dropped_B.float().mean()) == pytest.approx(dropout, abs=error)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0], task(dropout).draw(BATCH, generator())[2])


def test_without_dropout_the_draws_are_steps_and_noise():
    """The same numbers, in the same order, as a model that drops draws before it drops."""
    by_hand = generator()
    t_B = torch.randint(1000, (N_TRIALS,), generator=by_hand)
    eps_BTD = torch.randn(BATCH.latents_BTD.shape, generator=by_hand)
    for dropout, n_draws in ((0.0, 2), (0.3, 3)):
        draws = task(dropout).draw(BATCH, generator())
        assert len(draws) == n_draws
        assert torch.equal(draws[0], t_B)
        assert torch.equal(draws[1], eps_BTD)
    assert len(task(0.3, ("length",), ()).draw(BATCH, generator())) == 2


def test_validation_never_drops():
    plain, dropping = (task(p).validation_draw(BATCH, generator()) for p in (0.0, 0.9))
    assert len(plain) == len(dropping) == 2
    for a, b in zip(plain, dropping, strict=True):
        assert torch.equal(a, b)


class Spy(nn.Module):
    """Keeps what it was given."""

    def forward(self, z_BTD, t_B, covariates_BTK, condition_BC, mask_BT, dropped_B=None):
        self.seen = covariates_BTK, condition_BC, dropped_B
        return torch.zeros_like(z_BTD)


def test_dropped_trials_lose_all_but_their_length():
    parts, batch = task(0.5), TRIALS.batch(range(40))
    draws = parts.draw(batch, generator())
    spy, plain = Spy(), Spy()
    parts.loss(spy, batch, draws)
    parts.loss(plain, batch, draws[:2])
    (covariates_BTK, condition_BC, dropped_B), (all_BTK, all_BC, none) = spy.seen, plain.seen
    assert none is None
    assert torch.equal(dropped_B, draws[2])
    assert 0 < int(dropped_B.sum()) < 40
    assert torch.equal(covariates_BTK[~dropped_B], all_BTK[~dropped_B])
    assert torch.equal(condition_BC[~dropped_B], all_BC[~dropped_B])
    assert not covariates_BTK[dropped_B].any()
    assert not condition_BC[dropped_B, :2].any()
    assert torch.equal(condition_BC[:, 2], all_BC[:, 2])
    assert all_BC[dropped_B].all()


def test_the_null_embedding_is_trained():
    torch.manual_seed(0)
    model = Denoiser(
        n_latents=N_LATENTS, width=8, n_blocks=1, n_covariates=2, n_conditions=3, droppable=True
    )
    trainer = Trainer(model, task(0.5), Optimisation(epochs=9), steps_per_epoch=2, seed=0)
    batch = TRIALS.batch(range(40))
    assert not model.null_E.any()
    trainer.train_epoch([batch, batch])
    # At initialisation the embedding modulates nothing yet; one step later it does.
    assert model.null_E.all()
