"""The axes on which a search space is drawn."""

from collections.abc import Mapping

from ray.tune.search.sample import (
    Categorical,
    Domain,
    Float,
    Integer,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
)

from ldns_ray.evaluation.plots.searched import Axis


def axes(space: Mapping[str, Domain]) -> list[Axis]:
    """An axis for each setting of the space, in its order; without ends where the domain has none.

    Raises ValueError for domains that have no values to lay out (`tune.sample_from`).
    """
    return [_axis(name, domain) for name, domain in space.items()]


def _axis(name: str, domain: Domain) -> Axis:
    if isinstance(domain, Categorical):
        return Axis(name, "choices", choices=tuple(domain.categories))
    sampler = domain.get_sampler()
    quantized = isinstance(sampler, Quantized)
    if isinstance(sampler, Quantized):
        sampler = sampler.get_sampler()
    if isinstance(sampler, Normal):
        return Axis(name, "linear")
    if not isinstance(domain, Float | Integer) or not isinstance(sampler, Uniform | LogUniform):
        raise ValueError(
            f"{name} cannot be drawn: its domain is {domain!r}. Use tune.choice, tune.uniform, tune.loguniform, "
            "tune.randint or their like."
        )
    integer = isinstance(domain, Integer)
    # Tune leaves the upper end of integers out, unless they are quantized.
    high = domain.upper - 1 if integer and not quantized else domain.upper
    log = isinstance(sampler, LogUniform)
    return Axis(name, "log" if log else "linear", low=domain.lower, high=high, integer=integer)
