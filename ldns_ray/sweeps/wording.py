"""Settings and their values in few words, for lines and tables."""

from typing import Any

from ray.tune.search.sample import Domain


def short(name: str) -> str:
    """A setting's name as short as it is clear: optimisation levels are left out."""
    return name.replace(".optimisation.", ".")


def as_text(value: Any) -> str:
    """A setting's value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def domain(searched: Domain) -> str:
    """A Tune domain in words."""
    return f"{type(searched).__name__.lower()} {searched.domain_str}"
