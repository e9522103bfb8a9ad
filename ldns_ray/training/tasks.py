"""What is trained: the random draws of a batch and the loss they give, for both networks.

Shapes: B trials, T bins, N units, D latents.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from ldns_ray import config
from ldns_ray.data.batches import Batch
from ldns_ray.models.autoencoder import Loss, autoencoder_loss, coordinated_dropout, poisson_nll
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.diffusion import add_noise, diffusion_loss, linear_schedule

Draws = tuple[Tensor, ...]


class Task(Protocol):
    """A network's training and validation losses, as functions of a batch and its random draws."""

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws: ...

    def loss(self, model: nn.Module, batch: Batch, draws: Draws) -> Loss: ...

    def validation_draw(self, batch: Batch, generator: torch.Generator) -> Draws: ...

    def validation_loss(self, model: nn.Module, batch: Batch, draws: Draws) -> Loss: ...


@dataclass(frozen=True)
class AutoencoderTask:
    """Poisson likelihood of hidden counts, with latent penalties."""

    config: config.Autoencoder

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Which counts stay visible: (B, T, N)."""
        uniform = torch.rand(batch.spikes_BTN.shape, generator=generator, device=generator.device)
        return (uniform >= self.config.dropout,)

    def loss(self, model: nn.Module, batch: Batch, draws: Draws) -> Loss:
        c = self.config
        return autoencoder_loss(
            model, batch.spikes_BTN, batch.mask_BT, draws[0], dropout=c.dropout, latent_penalty=c.latent_penalty,
            smoothness_penalty=c.smoothness_penalty, smoothness_lags=c.smoothness_lags,
        )  # fmt: skip

    validation_draw = draw

    def validation_loss(self, model: nn.Module, batch: Batch, draws: Draws) -> Loss:
        """Nats per hidden entry, without penalties."""
        hidden_BTN = ~draws[0] if batch.mask_BT is None else ~draws[0] & batch.mask_BT[..., None]
        visible_BTN = coordinated_dropout(batch.spikes_BTN, draws[0], self.config.dropout)
        rates_BTN, _ = model(visible_BTN, batch.mask_BT)
        nll = poisson_nll(rates_BTN.float(), batch.spikes_BTN)
        return Loss((nll * hidden_BTN).sum(), hidden_BTN.sum())


@dataclass(frozen=True)
class DiffusionTask:
    """Error of the predicted noise in standardised latents."""

    config: config.Diffusion
    conditioning: Conditioning
    alpha_bar: Tensor = field(init=False)

    def __post_init__(self) -> None:
        c = self.config
        object.__setattr__(
            self, "alpha_bar", linear_schedule(c.n_steps, c.beta_start, c.beta_end).alpha_bar
        )

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Diffusion steps (B,) and noise (B, T, D); with condition dropout, which trials' are dropped (B,)."""
        t_B = torch.randint(
            self.config.n_steps, (len(batch),), generator=generator, device=generator.device
        )
        eps_BTD = self._noise(batch, generator)
        if not (self.config.condition_dropout and self.conditioning.droppable):
            return t_B, eps_BTD
        uniform_B = torch.rand(len(batch), generator=generator, device=generator.device)
        return t_B, eps_BTD, uniform_B < self.config.condition_dropout

    def validation_draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Steps spread evenly over the schedule, so that validations are comparable; noise. Nothing is dropped."""
        offset = torch.rand((), generator=generator, device=generator.device)
        spread = (torch.arange(len(batch), device=generator.device) + offset) / len(batch)
        return (spread * self.config.n_steps).long().clamp_max(
            self.config.n_steps - 1
        ), self._noise(batch, generator)

    def _noise(self, batch: Batch, generator: torch.Generator) -> Tensor:
        assert batch.latents_BTD is not None
        return torch.randn(batch.latents_BTD.shape, generator=generator, device=generator.device)

    def loss(self, model: nn.Module, batch: Batch, draws: Draws) -> Loss:
        t_B, eps_BTD, *dropped = draws
        assert batch.latents_BTD is not None
        noisy_BTD = add_noise(batch.latents_BTD, eps_BTD, self.alpha_bar.to(eps_BTD.device)[t_B])
        covariates_BTK = self.conditioning.covariate(batch.covariates)
        condition_BC = self.conditioning.condition(batch.n_bins_B, batch.conditions)
        extra: dict[str, Tensor] = {}
        if dropped:
            condition_BC, covariates_BTK = self.conditioning.drop(
                condition_BC, covariates_BTK, dropped[0]
            )
            extra["dropped_B"] = dropped[0]
        predicted_BTD = model(noisy_BTD, t_B, covariates_BTK, condition_BC, batch.mask_BT, **extra)
        c = self.config
        return diffusion_loss(
            predicted_BTD.float(),
            eps_BTD,
            batch.mask_BT,
            loss=c.loss,
            smooth_l1_beta=c.smooth_l1_beta,
        )

    validation_loss = loss
