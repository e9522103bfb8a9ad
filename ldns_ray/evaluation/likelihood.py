"""Poisson likelihood on entries an encoder did not see.

An autoencoder that copies its input wins any likelihood on entries it was fed. So random entries
are zeroed before encoding, and the rest scaled up, as in training (coordinated dropout, Keshtkaran
& Pandarinath 2019); only the zeroed entries are scored. Baselines are scored on the same entries.

Legend: S trials, B trials of a batch, T bins, N units, X bins of all trials laid end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import poisson_nll_loss

from ldns_ray.evaluation.baselines import Labels, psth
from ldns_ray.evaluation.statistics import Ints, Spikes, flatten_counts

RatesFn = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""(spikes_BTN, mask_BT or None) -> rates_BTN in expected counts per bin. The mask is True inside
trials and None when the trials of a batch are equally long."""


def heldout_masks(
    n_bins: Ints, n_units: int, *, dropout: float, seed: int, n_masks: int = 5
) -> Iterator[NDArray[np.bool_]]:
    """Which entries are held out: `n_masks` arrays (X, N), trials of `n_bins` laid end to end.

    Mask k depends on (seed, k) and the trials alone, not on batches or padding. An entry is held
    out with probability `dropout`, at least one in each mask.
    """
    if not 0 < dropout < 1 or n_masks < 1:
        raise ValueError(
            f"dropout must be between 0 and 1 and n_masks at least 1, got {dropout} and "
            f"{n_masks}. Use the dropout of training and 5 masks."
        )
    for k in range(n_masks):
        rng = np.random.default_rng([seed, k])
        held_XN = rng.random((int(np.sum(n_bins)), n_units), dtype=np.float32) < dropout
        if not held_XN.any():
            held_XN.flat[rng.integers(held_XN.size)] = True
        yield held_XN


def masked_nll(
    rates_fn: RatesFn,
    spikes: Spikes,
    *,
    dropout: float,
    seed: int,
    n_masks: int = 5,
    batch_size: int = 64,
) -> float:
    """Poisson negative log-likelihood of held-out entries, in nats per entry, mean over masks.

    `rates_fn` gets float32 counts with held-out entries zeroed and the others scaled by
    1 / (1 - dropout), zero after the end of shorter trials. The log-factorial of the counts is
    included in Stirling's approximation (`torch.nn.functional.poisson_nll_loss(full=True)`).

    Raises:
        ValueError: rates of the wrong shape, negative or not finite.
    """
    counts_XN, n_bins_S = flatten_counts(spikes)
    batches = _batches(n_bins_S, batch_size)
    losses = []
    for held_XN in heldout_masks(
        n_bins_S, counts_XN.shape[1], dropout=dropout, seed=seed, n_masks=n_masks
    ):
        total = 0.0
        for bins_x, lengths_b in batches:
            counts = torch.from_numpy(counts_XN[bins_x].astype(np.float32))
            held = torch.from_numpy(held_XN[bins_x])
            seen = counts.masked_fill(held, 0.0) / (1 - dropout)
            total += _nll_sum(_call(rates_fn, seen, lengths_b), counts, held)
        losses.append(total / held_XN.sum())
    return float(np.mean(losses))


def masked_nll_of_rates(
    rates: Spikes,
    spikes: Spikes,
    *,
    dropout: float,
    seed: int,
    n_masks: int = 5,
) -> float:
    """`masked_nll` of given rates, (T_i, N) each or (S, T, N): the same entries, no encoder."""
    counts_XN, n_bins_S = flatten_counts(spikes)
    flat = torch.from_numpy(np.concatenate([np.asarray(r, np.float32) for r in rates]))
    counts = torch.from_numpy(counts_XN.astype(np.float32))
    _check_rates(flat, counts)
    return float(
        np.mean(
            [
                _nll_sum(flat, counts, torch.from_numpy(held_XN)) / held_XN.sum()
                for held_XN in heldout_masks(
                    n_bins_S, counts.shape[1], dropout=dropout, seed=seed, n_masks=n_masks
                )
            ]
        )
    )


def mean_rate_nll(
    train: Spikes, spikes: Spikes, *, dropout: float, seed: int, n_masks: int = 5
) -> float:
    """`masked_nll` of each unit's mean count in the training trials (floored at 1e-6)."""
    train_XN, _ = flatten_counts(train)
    mean_N = np.maximum(train_XN.mean(0), 1e-6)
    _, n_bins_S = flatten_counts(spikes)
    rates = [np.broadcast_to(mean_N, (n, len(mean_N))) for n in n_bins_S]
    return masked_nll_of_rates(rates, spikes, dropout=dropout, seed=seed, n_masks=n_masks)


def psth_nll(
    train: Spikes,
    train_labels: Labels | None,
    spikes: Spikes,
    labels: Labels | None,
    *,
    bin_width_s: float,
    dropout: float,
    seed: int,
    n_masks: int = 5,
    sd_s: float = 0.025,
) -> float:
    """`masked_nll` of the smoothed training PSTH of each trial's condition (`baselines.psth`)."""
    average = psth(train, train_labels, bin_width_s=bin_width_s, sd_s=sd_s)
    _, n_bins_S = flatten_counts(spikes)
    rates = average.rates(labels, n_bins_S.tolist())
    return masked_nll_of_rates(rates, spikes, dropout=dropout, seed=seed, n_masks=n_masks)


def heldout_mean_count(spikes: Spikes, *, dropout: float, seed: int, n_masks: int = 5) -> float:
    """Mean count of the held-out entries, mean over masks: the spikes that are scored."""
    counts_XN, n_bins_S = flatten_counts(spikes)
    masks = heldout_masks(n_bins_S, counts_XN.shape[1], dropout=dropout, seed=seed, n_masks=n_masks)
    return float(np.mean([counts_XN[held_XN].mean() for held_XN in masks]))


def bits_per_spike(nll_model: float, nll_mean_rate: float, mean_count: float) -> float:
    """Gain over the mean rate in bits per spike (Pei et al. 2021, eq. 2), from nats per entry."""
    if not mean_count > 0:
        raise ValueError(
            f"mean_count must be positive, got {mean_count}. Score trials that hold spikes."
        )
    return (nll_mean_rate - nll_model) / (mean_count * float(np.log(2)))


def _batches(n_bins_S: Ints, batch_size: int) -> list[tuple[slice, list[int]]]:
    """Consecutive trials: their bins among all, and the length of each."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}. Try 64.")
    ends_S = np.cumsum(n_bins_S)
    batches = []
    for first in range(0, len(n_bins_S), batch_size):
        lengths = n_bins_S[first : first + batch_size]
        stop = int(ends_S[first + len(lengths) - 1])
        batches.append((slice(stop - int(lengths.sum()), stop), lengths.tolist()))
    return batches


@torch.no_grad()
def _call(rates_fn: RatesFn, seen_xN: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Pad trials to a batch, ask for rates, and lay the bins inside trials end to end again."""
    spikes_BTN = torch.nn.utils.rnn.pad_sequence(list(seen_xN.split(lengths)), batch_first=True)
    longest = spikes_BTN.shape[1]
    inside_BT = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    rates_BTN = rates_fn(spikes_BTN, None if bool(inside_BT.all()) else inside_BT).detach().cpu()
    if rates_BTN.shape != spikes_BTN.shape:
        raise ValueError(
            f"rates_fn must return rates of shape {tuple(spikes_BTN.shape)}, got "
            f"{tuple(rates_BTN.shape)}. Return (trials, bins, units), as given."
        )
    rates_xN = rates_BTN[inside_BT].float()
    _check_rates(rates_xN, seen_xN)
    return rates_xN


def _check_rates(rates_xN: torch.Tensor, counts_xN: torch.Tensor) -> None:
    if rates_xN.shape != counts_xN.shape:
        raise ValueError(
            f"rates must match the spikes, got {tuple(rates_xN.shape)} and "
            f"{tuple(counts_xN.shape)} bins by units. Give one rate per count."
        )
    if not bool(torch.isfinite(rates_xN).all()) or float(rates_xN.min()) < 0:
        raise ValueError(
            "rates must be finite and not negative, got a smallest rate of "
            f"{float(rates_xN.min())}. Return expected counts, not log rates."
        )


def _nll_sum(rates_xN: torch.Tensor, counts_xN: torch.Tensor, held_xN: torch.Tensor) -> float:
    losses = poisson_nll_loss(
        rates_xN[held_xN], counts_xN[held_xN], log_input=False, full=True, reduction="none"
    )
    return float(losses.sum(dtype=torch.float64))
