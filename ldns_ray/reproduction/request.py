"""What is asked for: which result, with which settings, of which dataset."""

from __future__ import annotations

from dataclasses import dataclass

from ldns_ray.config import Experiment

HELD_OUT = (90.0, 225.0)
"""Directions that are left out unless others are named, in degrees: targets 2 and 5 of eight."""


@dataclass(frozen=True)
class Request:
    """A result to make."""

    result: str
    experiment: Experiment
    data_uri: str
    held_out: tuple[float, ...] = HELD_OUT
    """Directions in degrees; of `reach_angle` alone."""
