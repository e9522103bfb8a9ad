"""The results by name, and whether one can be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction import angle, lorenz, reach, speech, velocity
from ldns_ray.reproduction.found import Found
from ldns_ray.reproduction.maker import Maker
from ldns_ray.reproduction.request import HELD_OUT, Request
from ldns_ray.settings import did_you_mean


@dataclass(frozen=True)
class Result:
    """check: raises ValueError for a dataset it cannot be made of. make: does it, as far as it is not done."""

    check: Callable[[Pipeline, Request], None]
    make: Callable[[Maker, Request], Found]


RESULTS = {
    "lorenz": Result(lorenz.check, lorenz.make),
    "reach": Result(reach.check, reach.make),
    "reach_angle": Result(angle.check, angle.make),
    "reach_velocity": Result(velocity.check, velocity.make),
    "speech": Result(speech.check, speech.make),
}
"""Each is called as the experiment it is made with."""


def check_name(name: str) -> None:
    """Raise ValueError for a result that there is not."""
    if name not in RESULTS:
        raise ValueError(f"Unknown result {name!r}. {did_you_mean(name, RESULTS)}")


def check(pipeline: Pipeline, request: Request) -> None:
    """Raise ValueError before hours of work: for a dataset or settings that the result cannot be made of."""
    pipeline.check()
    split = request.experiment.evaluation.split
    if split == "train":
        raise ValueError(
            f"evaluation.split must be of trials that are not trained on, test or val, got {split}."
        )
    if request.held_out != HELD_OUT and request.result != "reach_angle":
        raise ValueError(f"--held-out is for reach_angle, got {request.result}. Leave it out.")
    RESULTS[request.result].check(pipeline, request)
