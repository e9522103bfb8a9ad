"""What an autoencoder knows of counts it did not see, beside the mean rates and the PSTH."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ldns_ray.data.batches import TrialSet
from ldns_ray.evaluation.baselines.psth import Labels
from ldns_ray.evaluation.bootstrap import as_list, interval, resampled
from ldns_ray.evaluation.likelihood import (
    HeldOut,
    bits_per_spike,
    bits_per_spike_resampled,
    masked_nll,
    mean_rate_nll,
    psth_nll,
)
from ldns_ray.models.autoencoder import Autoencoder


def autoencoder_likelihood(
    model: Autoencoder,
    train: TrialSet,
    held_out: TrialSet,
    labels: tuple[Labels | None, Labels | None],
    *,
    dropout: float,
    seed: int,
) -> dict[str, Any]:
    """`gains` of an autoencoder, on counts of held-out trials that it did not see.

    Beside it the mean rates and the smoothed PSTH of the training trials, the PSTH per class of `labels`, those
    of both splits.
    """
    device = next(model.parameters()).device

    def rates_fn(spikes_BTN: torch.Tensor, mask_BT: torch.Tensor | None) -> torch.Tensor:
        with torch.no_grad():
            rates_BTN, _ = model(
                spikes_BTN.to(device), None if mask_BT is None else mask_BT.to(device)
            )
        return torch.as_tensor(rates_BTN).cpu()

    spikes, seen, (train_labels, own) = held_out.spikes_list(), train.spikes_list(), labels
    return gains(
        masked_nll(rates_fn, spikes, dropout=dropout, seed=seed),
        mean_rate_nll(seen, spikes, dropout=dropout, seed=seed),
        psth_nll(
            seen, train_labels, spikes, own, bin_width_s=train.bin_width_s, dropout=dropout, seed=seed
        ),
        seed=seed,
    )  # fmt: skip


def gains(model: HeldOut, mean_rate: HeldOut, psth: HeldOut, *, seed: int) -> dict[str, Any]:
    """How much better a model foretells held-out counts than the mean rates and than the PSTH, as JSON values.

    `nll`, `nll_mean_rate`, `nll_psth` are in nats per entry. `bits_per_spike` and `bits_per_spike_psth` are gains
    over the mean rates, and `beats_psth` is how far the first exceeds the second. Each has an interval `[low, high]`
    by its name and `_interval`: 95 %, by bootstrap over held-out trials, the same resamples for all three, so that
    trials that are hard for model and PSTH alike do not widen that of their difference. None of a single trial.
    """
    own, smooth = (bits_per_spike(x, mean_rate) for x in (model, psth))
    own_R, smooth_R = (
        resampled(partial(bits_per_spike_resampled, x, mean_rate), x.n_trials, seed=seed)
        for x in (model, psth)
    )
    return {
        "nll": model.per_entry,
        "nll_mean_rate": mean_rate.per_entry,
        "nll_psth": psth.per_entry,
        "bits_per_spike": own,
        "bits_per_spike_interval": as_list(interval(own_R)),
        "bits_per_spike_psth": smooth,
        "bits_per_spike_psth_interval": as_list(interval(smooth_R)),
        "beats_psth": own - smooth,
        "beats_psth_interval": as_list(interval(own_R - smooth_R)),
    }
