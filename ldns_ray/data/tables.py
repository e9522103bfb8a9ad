"""Trials as Arrow tables: one row per trial, arrays as flat lists, row-major over bins.

Columns: trial_id, session, split, n_bins, spikes, covariate:NAME, condition:NAME, and, where a
dataset has them, rates and latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.schema import Trial

REQUIRED_COLUMNS = ("trial_id", "session", "split", "n_bins", "spikes")


def column_names(card: Card, wanted: Sequence[str] | None = None) -> list[str]:
    """The columns to read: those every trial needs, and all others or the `wanted` ones."""
    optional = [f"covariate:{name}" for name in card.covariates]
    optional += [f"condition:{name}" for name in card.conditions]
    optional += ["rates"] * card.has_rates + ["latents"] * (card.n_latents > 0)
    if wanted is None:
        return [*REQUIRED_COLUMNS, *optional]
    unknown = sorted(set(wanted) - set(optional) - set(REQUIRED_COLUMNS))
    if unknown:
        there = ", ".join([*REQUIRED_COLUMNS, *optional])
        raise ValueError(f"dataset {card.name!r} has no column {unknown[0]!r}; there are: {there}.")
    return [*REQUIRED_COLUMNS, *(name for name in optional if name in wanted)]


def trials_table(trials: Sequence[Trial], count_type: pa.DataType) -> pa.Table:
    """Validated trials as one Arrow table, one row each, arrays as flat row-major lists."""

    def flat(arrays: Sequence[np.ndarray], kind: pa.DataType) -> pa.ListArray:
        offsets = np.concatenate([[0], np.cumsum([a.size for a in arrays])])
        if offsets[-1] > np.iinfo(np.int32).max:
            raise ValueError(
                f"a shard must hold under 2^31 values, got {offsets[-1]}: use smaller."
            )
        values = np.concatenate([a.reshape(-1) for a in arrays]).astype(kind.to_pandas_dtype())
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))

    columns: dict[str, pa.Array] = {
        "trial_id": pa.array([trial.trial_id for trial in trials], pa.string()),
        "session": pa.array([trial.session for trial in trials], pa.string()),
        "split": pa.array([trial.split for trial in trials], pa.string()),
        "n_bins": pa.array([trial.n_bins for trial in trials], pa.int32()),
        "spikes": flat([trial.spikes for trial in trials], count_type),
    }
    for name in sorted(trials[0].covariates):
        columns[f"covariate:{name}"] = flat([t.covariates[name] for t in trials], pa.float32())
    for name in sorted(trials[0].conditions):
        columns[f"condition:{name}"] = flat([t.conditions[name] for t in trials], pa.float32())
    if trials[0].rates is not None:
        columns["rates"] = flat([t.rates for t in trials if t.rates is not None], pa.float32())
    if trials[0].latents is not None:
        columns["latents"] = flat(
            [t.latents for t in trials if t.latents is not None], pa.float32()
        )
    return pa.table(columns)


def trialset_from_tables(tables: Iterable[pa.Table], card: Card, *, sort: bool = True) -> TrialSet:
    """The trials of some tables of one dataset, in the order of their ids.

    Covariates, conditions, rates and latents that the tables lack are left out; without spikes there are no units.
    sort: False keeps the order of the tables.
    """
    filled = [table for table in tables if len(table)]
    if not filled:
        raise ValueError(f"dataset {card.name!r}: expected trials, got none.")
    names = filled[0].column_names

    def rows(column: str, size: int) -> np.ndarray:
        chunks = [c for table in filled for c in table[column].chunks]
        # Views of the Arrow buffers; one chunk is not copied at all.
        parts = [c.flatten().to_numpy(zero_copy_only=True) for c in chunks]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return values.reshape(-1, size)

    def texts(column: str) -> list[str]:
        return [text for table in filled for text in table[column].to_pylist()]

    covariates = {k: v["size"] for k, v in card.covariates.items() if f"covariate:{k}" in names}
    conditions = {k: v["size"] for k, v in card.conditions.items() if f"condition:{k}" in names}
    n_bins = np.concatenate([table["n_bins"].to_numpy() for table in filled]).astype(np.int64)
    trials = TrialSet(
        n_bins_S=n_bins,
        spikes=rows("spikes", card.n_units)
        if "spikes" in names
        else np.zeros((n_bins.sum(), 0), np.uint8),
        covariates={k: rows(f"covariate:{k}", size) for k, size in covariates.items()},
        conditions={k: rows(f"condition:{k}", size) for k, size in conditions.items()},
        latents=rows("latents", card.n_latents) if "latents" in names else None,
        rates=rows("rates", card.n_units) if "rates" in names else None,
        trial_ids=texts("trial_id"),
        sessions=texts("session"),
        bin_width_s=card.bin_width_s,
    )
    order = sorted(range(len(trials)), key=trials.trial_ids.__getitem__)
    return trials if not sort or order == list(range(len(trials))) else trials.subset(order)
