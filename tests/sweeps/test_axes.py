"""Axes hold the values that a space is drawn from."""

import numpy as np
import pytest
from ray import tune

from ldns_ray.evaluation.plots.searched import Axis, scale
from ldns_ray.sweeps.axes import axes

DOMAINS = {
    "choice": (tune.choice(["a", 2, None]), Axis("choice", "choices", choices=("a", 2, None))),
    "uniform": (tune.uniform(0.1, 2), Axis("uniform", "linear", low=0.1, high=2)),
    "quniform": (tune.quniform(0.5, 2, 0.5), Axis("quniform", "linear", low=0.5, high=2)),
    "loguniform": (tune.loguniform(1e-3, 1), Axis("loguniform", "log", low=1e-3, high=1)),
    "qloguniform": (tune.qloguniform(0.5, 4, 0.5), Axis("qloguniform", "log", low=0.5, high=4)),
    "randint": (tune.randint(2, 6), Axis("randint", "linear", low=2, high=5, integer=True)),
    "qrandint": (tune.qrandint(2, 6, 2), Axis("qrandint", "linear", low=2, high=6, integer=True)),
    "lograndint": (tune.lograndint(1, 65), Axis("lograndint", "log", low=1, high=64, integer=True)),
    "qlograndint": (tune.qlograndint(2, 64, 2), Axis("qlograndint", "log", low=2, high=64, integer=True)),
    "randn": (tune.randn(1, 2), Axis("randn", "linear")),
    "qrandn": (tune.qrandn(1, 2, 0.5), Axis("qrandn", "linear")),
}  # fmt: skip


@pytest.mark.parametrize("name", DOMAINS)
def test_every_domain_has_an_axis_with_its_values_on_it(name):
    domain, wanted = DOMAINS[name]
    (axis,) = axes({name: domain})
    assert axis == wanted
    values = domain.sample(size=200, random_state=np.random.default_rng(0))
    one = scale(axis, [])
    if axis.low is not None:
        assert min(values) >= axis.low
        assert max(values) <= axis.high
        assert all(0 < one.share(value) < 1 for value in values)
    if axis.integer:  # the ends are reached, on a scale that is not too long
        assert {int(v) for v in values} <= set(range(axis.low, axis.high + 1))
        assert axis.kind == "log" or {axis.low, axis.high} <= {int(v) for v in values}


def test_axes_are_in_the_order_of_the_space():
    space = {"b": tune.uniform(0, 1), "a": tune.choice([1])}
    assert [axis.name for axis in axes(space)] == ["b", "a"]
    assert [axis.fixed for axis in axes(space)] == [False, True]


def test_what_has_no_values_to_lay_out_is_refused():
    with pytest.raises(ValueError, match="width cannot be drawn.*tune.choice"):
        axes({"width": tune.sample_from(lambda _: 1)})
