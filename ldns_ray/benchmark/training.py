"""Training steps of the paper's networks against the rate at which the machine multiplies matrices.

The linear layers of a network are nothing but matrix products: three times their forward operations, at the
rate of one large product, is the time that no implementation of a step can beat. Steps are those of the
training loop: random draws, loss, gradients, clipping, optimiser and moving average.
"""

# B trials, T bins, N units.

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from ldns_ray.benchmark.timing import gemm, growth, in_turns, peak_bytes
from ldns_ray.config import experiment
from ldns_ray.data.batches import Batch
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.layers import ChannelLinear
from ldns_ray.models.ssm import S4, long_convolution
from ldns_ray.training.loop import Trainer
from ldns_ray.training.networks import autoencoder_settings, denoiser_settings
from ldns_ray.training.tasks import AutoencoderTask, DiffusionTask, Task

Row = dict[str, float | str]

STEP_OVER_FORWARD = 3
"""A product's two derivatives take as long as itself, each."""


@dataclass(frozen=True)
class Configuration:
    """A network of a named experiment, and the batch it is timed on."""

    experiment: str
    network: Literal["autoencoder", "denoiser"]
    n_trials: int
    n_bins: int
    n_units: int
    n_training: int
    """Training trials of the paper."""

    @property
    def name(self) -> str:
        return f"{self.experiment} {self.network}"

    def training_steps(self) -> float:
        """Steps of this batch in which the paper's training sees as many trials."""
        e = experiment(self.experiment)
        part = e.autoencoder if self.network == "autoencoder" else e.diffusion
        return part.optimisation.epochs * self.n_training / self.n_trials


CONFIGURATIONS = (
    Configuration("lorenz", "autoencoder", 32, 256, 128, 3500),
    Configuration("speech", "autoencoder", 16, 512, 128, 8417),
    Configuration("reach", "autoencoder", 32, 140, 182, 2008),
    Configuration("lorenz", "denoiser", 64, 256, 128, 3500),
    Configuration("speech", "denoiser", 16, 512, 128, 8417),
    Configuration("reach", "denoiser", 32, 140, 182, 2008),
)
"""The paper's networks, in batches that fit a machine of two cores."""


def training_step(
    c: Configuration, device: torch.device, *, bf16: bool = False
) -> tuple[Callable[[], object], nn.Module]:
    """A function that does one training step on simulated counts or latents, and the network it trains."""
    e = experiment(c.experiment)
    part = e.autoencoder if c.network == "autoencoder" else e.diffusion
    optimisation = replace(part.optimisation, bf16=bf16, warmup_epochs=0.0)
    generator = torch.Generator().manual_seed(0)
    n_bins_B = torch.full((c.n_trials,), c.n_bins)
    model: nn.Module
    task: Task
    if c.network == "autoencoder":
        model = Autoencoder(**autoencoder_settings(e.autoencoder, c.n_units))
        task = AutoencoderTask(e.autoencoder)
        rates_BTN = torch.full((c.n_trials, c.n_bins, c.n_units), 0.3)
        spikes, latents = torch.poisson(rates_BTN, generator), None
    else:
        d = replace(e.diffusion, conditions=(), covariates=())
        conditioning = Conditioning.fit(
            (), (), n_bins_S=n_bins_B.numpy(), conditions={}, covariates={}
        )
        model = Denoiser(**denoiser_settings(d, e.autoencoder.n_latents, conditioning))
        task = DiffusionTask(d, conditioning)
        shape = (c.n_trials, c.n_bins, e.autoencoder.n_latents)
        spikes, latents = torch.zeros(*shape[:2], 0), torch.randn(shape, generator=generator)
    batch = Batch(spikes, None, n_bins_B, {}, {}, latents, torch.arange(c.n_trials)).to(device)
    trainer = Trainer(
        model.to(device), task, optimisation, steps_per_epoch=1, seed=0,
        ema=e.diffusion.ema_decay if c.network == "denoiser" else None,
    )  # fmt: skip
    return lambda: trainer.train_epoch([batch]), model


def linear_operations(model: nn.Module, n_bins: int) -> float:
    """Floating-point operations of a forward pass's linear layers over so many bins of all trials together."""
    layers = (m for m in model.modules() if isinstance(m, ChannelLinear))
    return 2.0 * n_bins * sum(layer.weight.numel() for layer in layers)


def steps(
    device: torch.device,
    configurations: Sequence[Configuration],
    *,
    repeats: int,
    bf16: bool = False,
) -> list[Row]:
    """Per configuration: `step_s`, `limit_s` at the rate of a large matrix product, their `ratio`, the
    `gemm_gflops` that the rate is, `peak_mb`, the memory that a step adds to parameters and batch, and `training_h`, the
    hours that the paper's training takes in steps like this one, of all its epochs and trials."""
    product, operations = gemm(device, torch.bfloat16 if bf16 else torch.float32)
    rows: list[Row] = []
    for c in configurations:
        step, model = training_step(c, device, bf16=bf16)
        gemm_s, step_s = in_turns([product, step], repeats, device)
        needed = STEP_OVER_FORWARD * linear_operations(model, c.n_trials * c.n_bins)
        limit_s = needed * gemm_s / operations
        rows.append(
            {
                "network": c.name, "batch": f"{c.n_trials} x {c.n_bins}", "step_s": step_s, "limit_s": limit_s,
                "ratio": step_s / limit_s, "gemm_gflops": operations / gemm_s / 1e9,
                "peak_mb": peak_bytes(step, device) / 1e6, "training_h": c.training_steps() * step_s / 3600,
            }
        )  # fmt: skip
    return rows


def kernels(
    device: torch.device, configurations: Sequence[Configuration], *, repeats: int
) -> list[Row]:
    """Per configuration, of one state-space layer with gradients: `kernel_s`, `convolution_s`, their `ratio`."""
    rows: list[Row] = []
    for c in configurations:
        e = experiment(c.experiment)
        two_sided = c.network == "denoiser" or e.autoencoder.bidirectional
        width = (e.autoencoder if c.network == "autoencoder" else e.diffusion).width
        layer = S4(width, bidirectional=two_sided).to(device)
        x_HBT = torch.randn(width, c.n_trials, c.n_bins, device=device, requires_grad=True)
        taps_HL = layer.taps(c.n_bins).detach().requires_grad_()

        def kernel(layer: S4 = layer, n_bins: int = c.n_bins) -> None:
            layer.taps(n_bins).sum().backward()

        def convolution(x: torch.Tensor = x_HBT, taps: torch.Tensor = taps_HL) -> None:
            long_convolution(x, taps).sum().backward()

        kernel_s, convolution_s = in_turns([kernel, convolution], repeats, device)
        rows.append(
            {
                "network": c.name, "batch": f"{c.n_trials} x {c.n_bins}", "kernel_s": kernel_s,
                "convolution_s": convolution_s, "ratio": kernel_s / convolution_s,
            }
        )  # fmt: skip
    return rows


def growth_in_bins(
    device: torch.device,
    n_bins: Sequence[int] = (140, 560, 2240, 8960),
    *,
    total: int = 8960,
    repeats: int,
) -> list[Row]:
    """Steps of the reach autoencoder on `total` bins cut into trials of so many: seconds per trial.

    The last row's `slope` is that of log seconds over log bins.
    """
    base = next(c for c in CONFIGURATIONS if c.name == "reach autoencoder")
    return _grow(
        [replace(base, n_bins=t, n_trials=total // t) for t in n_bins], "n_bins", device, repeats
    )


def growth_in_units(
    device: torch.device, n_units: Sequence[int] = (32, 128, 512, 1024), *, repeats: int
) -> list[Row]:
    """Steps of the reach autoencoder with so many units; the last row's `slope` as in `growth_in_bins`."""
    base = next(c for c in CONFIGURATIONS if c.name == "reach autoencoder")
    return _grow([replace(base, n_units=n) for n in n_units], "n_units", device, repeats)


def _grow(
    configurations: Sequence[Configuration], size: str, device: torch.device, repeats: int
) -> list[Row]:
    made = [training_step(c, device)[0] for c in configurations]
    seconds = np.array(in_turns(made, repeats, device))
    per_trial = seconds / [c.n_trials for c in configurations]
    slope = growth([getattr(c, size) for c in configurations], per_trial)
    rows: list[Row] = []
    for c, step, step_s, trial_s in zip(configurations, made, seconds, per_trial, strict=True):
        peak_mb = peak_bytes(step, device) / 1e6
        rows.append(
            {size: float(getattr(c, size)), "n_trials": float(c.n_trials), "step_s": step_s,
             "trial_s": trial_s, "peak_mb": peak_mb}
        )  # fmt: skip
    rows[-1]["slope"] = slope
    return rows
