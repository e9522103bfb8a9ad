"""Datasets as they may come, for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from ldns_ray.data.schema import SPLITS, Trial

HOSTILE = (
    "../../x", "/etc/passwd", "a:b", "a.b", "a.list.element", "line\nbreak", "\r", "\0", " ", "'\"", "é", "e\u0301", "日本", "🧠",
    "rates", "spikes", "covariate:vel", "?endpoint_override=x", "%2e%2e", "NaN", "\u202e", "*",
)  # fmt: skip
"""Names that would lead astray whoever took them for paths, columns, formats or URIs."""
NAMES = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=8)
COUNT_TYPES = ("u1", "u2", "i8", ">i4", "f8", "f4", "?")


@st.composite
def anything(draw: st.DrawFn) -> list[Trial]:
    """Trials of one dataset such as readers of recordings may give: any lengths, types, and names."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_units = draw(st.integers(1, 4))
    named = draw(st.dictionaries(NAMES, st.tuples(st.booleans(), st.integers(0, 3)), max_size=4))
    covariates = {name: size for name, (per_bin, size) in named.items() if per_bin}
    conditions = {name: size for name, (per_bin, size) in named.items() if not per_bin}
    n_latents, has_rates = draw(st.integers(0, 2)), draw(st.booleans())
    trials = []
    for trial_id in draw(st.lists(NAMES, min_size=1, max_size=9, unique=True)):
        n = draw(st.integers(1, 12))
        dtype = draw(st.sampled_from(COUNT_TYPES))
        most = {"?": 2, "u1": 256}.get(dtype, draw(st.sampled_from([3, 256, 65536])))
        float_type = draw(st.sampled_from(["f4", "f8", ">f4", "i2"]))
        trials.append(
            Trial(
                spikes=rng.integers(0, most, (n, n_units)).astype(dtype),
                trial_id=trial_id,
                session=draw(NAMES),
                split=draw(st.sampled_from(SPLITS)),
                covariates={k: (99 * rng.normal(size=(n, d))).astype(float_type) for k, d in covariates.items()},
                conditions={k: (99 * rng.normal(size=d)).astype(float_type) for k, d in conditions.items()},
                rates=rng.gamma(1.0, size=(n, n_units)) if has_rates else None,
                latents=rng.normal(size=(n, n_latents)) if n_latents else None,
            )
        )  # fmt: skip
    return trials
