"""Sequences of trial sets: cut into other sizes, and mixed in a buffer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ldns_ray.data.batches import TrialSet


def joined(sets: Sequence[TrialSet]) -> TrialSet:
    """The trials of all sets, copied; of one set, that set."""
    if len(sets) == 1:
        return sets[0]
    first = sets[0]

    def column(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        present = [a for a in arrays if a is not None]
        return np.concatenate(present) if present else None

    return TrialSet(
        n_bins_S=np.concatenate([s.n_bins_S for s in sets]),
        spikes=np.concatenate([s.spikes for s in sets]),
        covariates={k: np.concatenate([s.covariates[k] for s in sets]) for k in first.covariates},
        conditions={k: np.concatenate([s.conditions[k] for s in sets]) for k in first.conditions},
        latents=column([s.latents for s in sets]),
        rates=column([s.rates for s in sets]),
        trial_ids=[name for s in sets for name in s.trial_ids],
        sessions=[name for s in sets for name in s.sessions],
        bin_width_s=first.bin_width_s,
    )


def stretch(trials: TrialSet, start: int, stop: int) -> TrialSet:
    """Trials `start` … `stop` - 1 as views."""
    n_bins_S = trials.n_bins_S[start:stop]
    first = int(trials.starts_S[start]) if start < len(trials) else len(trials.spikes)
    rows = slice(first, first + int(n_bins_S.sum()))
    return TrialSet(
        n_bins_S=n_bins_S,
        spikes=trials.spikes[rows],
        covariates={k: x[rows] for k, x in trials.covariates.items()},
        conditions={k: x[start:stop] for k, x in trials.conditions.items()},
        latents=None if trials.latents is None else trials.latents[rows],
        rates=None if trials.rates is None else trials.rates[rows],
        trial_ids=trials.trial_ids[start:stop],
        sessions=trials.sessions[start:stop],
        bin_width_s=trials.bin_width_s,
    )


def regrouped(sets: Iterable[TrialSet], sizes: Iterable[int]) -> Iterator[TrialSet]:
    """The same trials in the same order, in sets of these sizes, each at least 1; the last may be smaller.

    No more sets are taken than the next one needs.
    """
    sets, held, n_held = iter(sets), deque[TrialSet](), 0
    for size in sizes:
        while n_held < size and (piece := next(sets, None)) is not None:
            held.append(piece)
            n_held += len(piece)
        taken: list[TrialSet] = []
        missing = min(size, n_held)
        if not missing:
            return
        n_held -= missing
        while missing:
            piece = held.popleft()
            taken.append(stretch(piece, 0, missing))
            if len(piece) > missing:
                held.appendleft(stretch(piece, missing, len(piece)))
            missing -= len(taken[-1])
        group = joined(taken)
        del taken, piece  # while the group is worked on, no more of the trials than it needs
        yield group


def mixed(
    sets: Iterable[TrialSet], n_buffer: int, generator: np.random.Generator
) -> Iterator[TrialSet]:
    """The same trials, shuffled in a buffer of `n_buffer`: half of it leaves, drawn at random, and is refilled.

    The order depends on the sequence of trials and on the generator, not on how the sets were cut.
    """
    half = max(1, n_buffer // 2)
    buffer: TrialSet | None = None
    for piece in regrouped(sets, iter(lambda: half, 0)):
        if buffer is None:
            buffer = piece
            continue
        whole = joined([buffer, piece])
        del buffer, piece
        order = generator.permutation(len(whole))
        buffer, leaving = whole.subset(order[:half]), whole.subset(order[half:])
        del whole
        yield leaving
    if buffer is not None:
        yield buffer.subset(generator.permutation(len(buffer)))
