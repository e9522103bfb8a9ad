"""Trials of a sweep that was never run, the score of which is known."""

import math

import numpy as np

from ldns_ray.evaluation.plots.searched import Axis

RATE, KIND, WIDTH = "diffusion.optimisation.learning_rate", "observation.kind", "diffusion.width"
AXES = [
    Axis(RATE, "log", low=1e-4, high=1e-2),
    Axis(KIND, "choices", choices=("poisson", "spike_history")),
    Axis(WIDTH, "linear", low=16, high=64, integer=True),
]


def row(number, status="FINISHED", score=None, rungs=(), **settings):
    """Settings by their last word: `rate`, `kind`, `width`."""
    names = {"rate": RATE, "kind": KIND, "width": WIDTH}
    made = {"number": number, "status": status, "settings": {names[k]: v for k, v in settings.items()}}  # fmt: skip
    return made | {"rungs": list(rungs)} | ({} if score is None else {"score": score})


def rows(n, seed=0):
    """Finished trials; the score is lowest at a learning rate of 0.001 and hangs on it alone."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        rate = 10 ** rng.uniform(-4, -2)
        score = 1.1 * math.exp(2 * (math.log10(rate) + 3) ** 2)
        kind = ("poisson", "spike_history")[rng.integers(2)]
        made.append(row(i + 1, score=score, rate=rate, kind=kind, width=int(rng.integers(16, 65))))
    return made
