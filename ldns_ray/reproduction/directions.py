"""Reaches in directions that a model has never seen: datasets without them, and what to ask for.

Legend: S trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trials, read_card, write_dataset
from ldns_ray.evaluation.decoding.decoders import angle_errors, degrees
from ldns_ray.stages import units_of

WIDTH = 45.0
"""Degrees of the sector around a direction that is left out: of eight equal directions, one."""
LIMIT, SLACK = 25.0, 1.5
"""The median error of samples may be this many degrees, or this many times that of real trials if that is more."""


def near(direction_S2: NDArray[np.floating], degree: float) -> NDArray[np.bool_]:
    """(S,) whether each direction, (cosine, sine), lies within half of `WIDTH` of an angle in degrees."""
    errors_S = angle_errors(np.full(len(direction_S2), degree), degrees(direction_S2))
    return np.asarray(errors_S < WIDTH / 2)


def without_direction(data_uri: str, out_uri: str, condition: str, degree: float) -> dict[str, int]:
    """Write a dataset again without the training and validation trials of a direction; test trials stay.

    condition: per-trial (cosine, sine).

    Returns:
        How many trials were left out, by split.

    Raises ValueError where no training trial has the direction, or none has another.
    """
    card = read_card(data_uri)
    left_out: dict[str, int] = {}

    def kept() -> Iterator[Trial]:
        for split in card.splits:
            trials = load_trials(data_uri, split)
            if split == "test":
                yield from trials
                continue
            out_S = near(np.stack([trial.conditions[condition] for trial in trials]), degree)
            left_out[split] = int(out_S.sum())
            if split == "train" and not 0 < out_S.sum() < len(trials):
                raise ValueError(
                    f"--held-out {degree:g} must be the direction of some of the {len(trials)} training trials of "
                    f"{data_uri}, got {int(out_S.sum())} within {WIDTH / 2:g} degrees of it."
                )
            yield from (trial for trial, out in zip(trials, out_S, strict=True) if not out)

    write_dataset(
        kept(), out_uri, name=f"{card.name} without {degree:g}°", bin_width_s=card.bin_width_s,
        covariate_units=units_of(card.covariates), condition_units=units_of(card.conditions), source=card.source,
        citation=card.citation, licence=card.licence, unit_names=card.unit_names,
        provenance={"dataset": card.fingerprint, "left_out_degrees": degree}, overwrite=True,
    )  # fmt: skip
    return left_out


def parse_degrees(text: str) -> tuple[float, ...]:
    """Angles in degrees, separated by commas. Raises ValueError for what is none, or none at all."""
    words: Sequence[str] = [word for word in text.split(",") if word.strip()]
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        found = ()
    if not found or not np.isfinite(found).all():
        raise ValueError(
            f"--held-out must be angles in degrees, separated by commas, got {text!r}. Example: 90,225"
        )
    return found
