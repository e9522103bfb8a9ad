"""The simulators by name, and what a dataset must be told of their trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ldns_ray.data.schema import Trial
from ldns_ray.data.simulation.lorenz import lorenz
from ldns_ray.data.simulation.reach import reach
from ldns_ray.data.simulation.speech import speech


@dataclass(frozen=True)
class Simulator:
    """draw: makes the trials. bin_width_s: unless `draw` is given another. covariate_units: name -> physical unit."""

    draw: Callable[..., Iterator[Trial]]
    bin_width_s: float
    covariate_units: Mapping[str, str] = field(default_factory=dict)


SIMULATORS = {
    "lorenz": Simulator(lorenz, 1.0),  # it has no physical time: a bin counts as one second
    "speech": Simulator(speech, 0.02),
    "reach": Simulator(reach, 0.005, {"velocity": "m/s"}),
}
