"""Trials shared out over train, val and test: at random, seeded, evenly within each stratum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ldns_ray.data.schema import SPLITS

UNASSIGNED = "+".join(SPLITS)
CHOICES = tuple("+".join(c) for n in (1, 2, 3) for c in combinations(SPLITS, n))
"""What a recording may say of a trial: its split, or those it may go to, such as "val+test"."""


def share_out(
    choices: Sequence[str],
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> list[str]:
    """The split of each trial, given one of `CHOICES` for each.

    Trials with the same choice are shared out among its splits in their fractions, as `assign_splits` does;
    those that have one split keep it.
    Raises ValueError for an unknown choice, and for one whose fractions are all 0.
    """
    unknown = sorted(set(choices) - set(CHOICES))
    if unknown:
        raise ValueError(f"split must be one of {', '.join(CHOICES)}, got {unknown[0]!r}.")
    if strata is not None and len(strata) != len(choices):
        raise ValueError(
            f"strata must have one label per trial ({len(choices)}), got {len(strata)}."
        )
    _check_fractions(fractions)
    given = np.array(choices)
    result = list(choices)
    for choice in sorted(set(choices)):
        names = choice.split("+")
        if len(names) == 1:
            continue
        shares = np.array(
            [f if s in names else 0.0 for s, f in zip(SPLITS, fractions, strict=True)]
        )
        if shares.sum() == 0:
            raise ValueError(f"fractions must leave a share for {choice}, got {tuple(fractions)}.")
        at = np.flatnonzero(given == choice)
        labels = None if strata is None else np.asarray(strata)[at]
        shared = assign_splits(len(at), tuple(shares / shares.sum()), seed, labels)
        for i, split in zip(at, shared, strict=True):
            result[i] = split
    return result


def _check_fractions(fractions: Sequence[float]) -> None:
    if (
        len(fractions) != 3
        or min(fractions) < 0
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise ValueError(f"fractions must be 3 shares (train, val, test) of 1, got {fractions}.")


def assign_splits(
    n_trials: int,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> list[str]:
    """A random split per trial, in the given fractions of train, val and test.

    strata: (S,) or (S, d) labels; each label's trials are shared out in the same fractions.
    Split sizes are right to one trial overall, and to two within a stratum.
    """
    _check_fractions(fractions)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    order = rng.permutation(n_trials)
    if strata is not None:
        labels = np.asarray(strata)
        if len(labels) != n_trials:
            raise ValueError(
                f"strata must have one label per trial ({n_trials}), got {len(labels)}."
            )
        names, stratum = np.unique(labels, axis=0, return_inverse=True)
        # Strata in random order: were each trial its own, the split would follow its label.
        stratum = rng.permutation(len(names))[stratum.reshape(-1)]
        order = order[np.argsort(stratum[order], kind="stable")]
    # Along the ordering by stratum, each next trial goes to the split that is furthest behind its
    # share, so every run of trials, and with it every stratum, is shared out evenly.
    assigned = np.empty(n_trials, dtype=np.int64)
    given = np.zeros(3)
    shares = np.asarray(fractions, dtype=np.float64)
    for rank, trial in enumerate(order, start=1):
        split = int(np.argmax(shares * rank - given))
        given[split] += 1
        assigned[trial] = split
    return [SPLITS[i] for i in assigned]
