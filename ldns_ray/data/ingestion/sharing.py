"""Which split each trial of a recording goes to, given what its files say of them.

Shapes: S trials, d channels of one condition.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from ldns_ray.data.schema import SPLITS
from ldns_ray.data.splits import share_out

log = logging.getLogger(__name__)

STRATIFY = ("auto", "none")
MAX_VALUES = 50
TRIALS_PER_VALUE = 5


def share_trials(
    choices: Sequence[str],
    sessions: Sequence[str],
    conditions: Mapping[str, np.ndarray],
    own_strata: Sequence[str | None],
    *,
    fractions: Sequence[float],
    seed: int,
    stratify: str,
) -> list[str]:
    """The split of each trial, shared out as `share_out` does.

    choices: what a trial may go to, one of `CHOICES`. conditions: name -> (S, d).
    stratify: "auto", within the stratum the trial's file gives it, else that of `automatic_strata`; "none",
        at random over all trials.
    Raises ValueError where trials were to be shared out to a split and none came to it. That no trial may go
    to a split is allowed, and logged.
    """
    strata = None
    if stratify == "auto":
        automatic = automatic_strata(sessions, conditions)
        own = sorted({stratum for stratum in own_strata if stratum is not None})
        numbers: dict[str | None, int] = {stratum: -1 - i for i, stratum in enumerate(own)}
        pairs = zip(own_strata, automatic.tolist(), strict=True)
        strata = np.array([numbers.get(stratum, number) for stratum, number in pairs])
    splits = share_out(choices, fractions, seed, strata)
    for split, fraction in zip(SPLITS, fractions, strict=True):
        if split in splits:
            continue
        n_open = sum(split in choice.split("+") for choice in choices)
        if fraction > 0 and n_open:
            raise ValueError(
                f"No trial came to the split {split}: too few of the {len(choices)} trials may go there "
                f"({n_open}) for a share of {fraction:g}. Bring more trials, or set its share to 0."
            )
        if split != "test":
            log.warning("No trial is in the split %s.", split)
    return splits


def automatic_strata(sessions: Sequence[str], conditions: Mapping[str, np.ndarray]) -> np.ndarray:
    """(S,) int64: trials have the same number where session and all conditions that are labels agree.

    A condition is a label where it takes at most `MAX_VALUES` values, each for `TRIALS_PER_VALUE` trials or
    more on average: a target or a speaker, but not a reaction time.
    """
    columns = [np.unique(np.asarray(sessions), return_inverse=True)[1]]
    for name in sorted(conditions):
        values, numbers = np.unique(conditions[name], axis=0, return_inverse=True)
        if len(values) <= min(MAX_VALUES, len(sessions) / TRIALS_PER_VALUE):
            columns.append(numbers.reshape(-1))
    numbers = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1]
    return np.asarray(numbers, dtype=np.int64).reshape(-1)
