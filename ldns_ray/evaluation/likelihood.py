"""Poisson likelihood on entries an encoder did not see.

An autoencoder that copies its input wins any likelihood on entries it was fed. So random entries
are zeroed before encoding, and the rest scaled up, as in training (coordinated dropout, Keshtkaran
& Pandarinath 2019); only the zeroed entries are scored. Baselines are scored on the same entries,
so there is no size to match: what differs is the rates alone.

Legend: S trials, B trials of a batch, T bins, N units, X bins of all trials laid end to end,
M masks, R resamples of the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import poisson_nll_loss

from ldns_ray.evaluation.baselines.psth import Labels, psth
from ldns_ray.evaluation.statistics import Floats, Ints, Spikes, flatten_counts

RatesFn = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""(spikes_BTN, mask_BT or None) -> rates_BTN in expected counts per bin. The mask is True inside
trials and None when the trials of a batch are equally long."""


@dataclass(frozen=True)
class HeldOut:
    """How well rates foretell held-out counts: sums over the entries of each mask and trial."""

    nll_MS: Floats
    """Poisson negative log-likelihood, in nats."""
    entries_MS: Ints
    """Entries (bins by units) that were held out."""
    spikes_MS: Ints
    """Spikes in them."""

    @property
    def n_trials(self) -> int:
        return self.nll_MS.shape[1]

    @property
    def per_entry(self) -> float:
        """Negative log-likelihood in nats per entry, mean over masks."""
        return float((self.nll_MS.sum(1) / self.entries_MS.sum(1)).mean())

    @property
    def mean_count(self) -> float:
        """Mean of the counts that are scored, mean over masks."""
        return float((self.spikes_MS.sum(1) / self.entries_MS.sum(1)).mean())


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
) -> HeldOut:
    """Poisson negative log-likelihood of held-out entries.

    `rates_fn` gets float32 counts with held-out entries zeroed and the others scaled by
    1 / (1 - dropout), zero after the end of shorter trials. The log-factorial of the counts is
    included in Stirling's approximation (`torch.nn.functional.poisson_nll_loss(full=True)`).

    Raises:
        ValueError: rates of the wrong shape, negative or not finite.
    """
    counts_XN, n_bins_S = flatten_counts(spikes)
    batches = _batches(n_bins_S, batch_size)
    masks, nll_MS = [], []
    for held_XN in heldout_masks(
        n_bins_S, counts_XN.shape[1], dropout=dropout, seed=seed, n_masks=n_masks
    ):
        parts = []
        for bins_x, lengths_b in batches:
            counts = torch.from_numpy(counts_XN[bins_x].astype(np.float32))
            held = torch.from_numpy(held_XN[bins_x])
            seen = counts.masked_fill(held, 0.0) / (1 - dropout)
            parts.append(_nll_sums(_call(rates_fn, seen, lengths_b), counts, held, lengths_b))
        nll_MS.append(np.concatenate(parts))
        masks.append(held_XN)
    return _held_out(nll_MS, counts_XN, n_bins_S, masks)


def masked_nll_of_rates(
    rates: Spikes,
    spikes: Spikes,
    *,
    dropout: float,
    seed: int,
    n_masks: int = 5,
) -> HeldOut:
    """`masked_nll` of given rates, (T_i, N) each or (S, T, N): the same entries, no encoder."""
    counts_XN, n_bins_S = flatten_counts(spikes)
    flat = torch.from_numpy(np.concatenate([np.asarray(r, np.float32) for r in rates]))
    counts = torch.from_numpy(counts_XN.astype(np.float32))
    _check_rates(flat, counts)
    masks = list(
        heldout_masks(n_bins_S, counts.shape[1], dropout=dropout, seed=seed, n_masks=n_masks)
    )
    nll_MS = [_nll_sums(flat, counts, torch.from_numpy(held), n_bins_S) for held in masks]
    return _held_out(nll_MS, counts_XN, n_bins_S, masks)


def mean_rate_nll(
    train: Spikes, spikes: Spikes, *, dropout: float, seed: int, n_masks: int = 5
) -> HeldOut:
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
) -> HeldOut:
    """`masked_nll` of the smoothed training PSTH of each trial's condition (`baselines.psth`)."""
    average = psth(train, train_labels, bin_width_s=bin_width_s, sd_s=sd_s)
    _, n_bins_S = flatten_counts(spikes)
    rates = average.rates(labels, n_bins_S.tolist())
    return masked_nll_of_rates(rates, spikes, dropout=dropout, seed=seed, n_masks=n_masks)


def bits_per_spike(model: HeldOut, mean_rate: HeldOut) -> float:
    """Gain over the mean rate in bits per spike (Pei et al. 2021, eq. 2), on the same entries.

    Raises:
        ValueError: other entries, or no spike among them.
    """
    _check_same_entries(model, mean_rate)
    if not model.mean_count > 0:
        raise ValueError(
            f"Bits per spike need spikes among the held-out entries, got none in {model.n_trials} "
            "trials. Score trials that hold spikes."
        )
    return (mean_rate.per_entry - model.per_entry) / (model.mean_count * float(np.log(2)))


def bits_per_spike_resampled(model: HeldOut, mean_rate: HeldOut, weights_RS: Ints) -> Floats:
    """(R,) `bits_per_spike` of resampled trials (`bootstrap.trial_weights`).

    A trial without spikes still counts with the likelihood of its zeros. NaN for a resample without
    a spike, or without a held-out entry in one of the masks.
    """
    _check_same_entries(model, mean_rate)

    def per_entry(sums_MS: Floats | Ints) -> Floats:
        sums_RM = (weights_RS @ sums_MS.T).astype(np.float64)
        return _quotient(sums_RM, weights_RS @ model.entries_MS.T).mean(1)

    gain_R = per_entry(mean_rate.nll_MS - model.nll_MS)
    return _quotient(gain_R, per_entry(model.spikes_MS)) / np.log(2)


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


def _check_same_entries(a: HeldOut, b: HeldOut) -> None:
    if not np.array_equal(a.entries_MS, b.entries_MS):
        raise ValueError(
            "Likelihoods are compared on the same held-out entries, got "
            f"{a.entries_MS.sum()} and {b.entries_MS.sum()} entries of {a.n_trials} and "
            f"{b.n_trials} trials. Give the same trials, dropout, seed and n_masks."
        )


def _quotient(a: Floats, b: Floats | Ints) -> Floats:
    """a / b, NaN where b is not positive."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


def _held_out(
    nll_MS: list[Floats], counts_XN: NDArray[np.unsignedinteger], n_bins_S: Ints,
    masks: list[NDArray[np.bool_]],
) -> HeldOut:  # fmt: skip
    starts_S = np.cumsum(n_bins_S) - n_bins_S
    entries_MS = [np.add.reduceat(held_XN.sum(1), starts_S) for held_XN in masks]
    spikes_MS = [
        np.add.reduceat(np.where(held_XN, counts_XN, 0).sum(1), starts_S) for held_XN in masks
    ]
    return HeldOut(np.stack(nll_MS), np.stack(entries_MS), np.stack(spikes_MS).astype(np.int64))


def _nll_sums(
    rates_xN: torch.Tensor, counts_xN: torch.Tensor, held_xN: torch.Tensor, n_bins: Sequence[int] | Ints
) -> Floats:  # fmt: skip
    """Sum of the losses of the held-out entries of each trial; trials of `n_bins`, laid end to end."""
    losses_e = poisson_nll_loss(
        rates_xN[held_xN], counts_xN[held_xN], log_input=False, full=True, reduction="none"
    )
    trial_x = np.repeat(np.arange(len(n_bins)), n_bins)
    trial_e = np.repeat(trial_x, held_xN.sum(1).numpy())
    sums_S = np.bincount(trial_e, losses_e.double().numpy(), minlength=len(n_bins))
    return sums_S.astype(np.float64, copy=False)
