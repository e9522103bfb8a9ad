"""Trials as Arrow tables: one row per trial, arrays as flat lists, row-major over bins.

Columns, none of them null: trial_id, session, split, n_bins, spikes, covariate:NAME, condition:NAME, and, where a
dataset has them, rates and latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.card_checks import REWRITE
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


def list_field(name: str, kind: pa.DataType) -> pa.Field:
    """A column of flat lists. That nothing is null makes their Parquet pages half as much work."""
    return pa.field(name, pa.list_(pa.field("element", kind, nullable=False)), nullable=False)


def trials_table(trials: Sequence[Trial], count_type: pa.DataType) -> pa.Table:
    """Validated trials as one Arrow table, one row each, arrays as flat row-major lists.

    Raises ValueError where they hold 2^31 values of a kind or more, which Arrow lists cannot.
    """
    first = trials[0]
    arrays: dict[str, list[np.ndarray]] = {"spikes": [trial.spikes for trial in trials]}
    for name in sorted(first.covariates):
        arrays[f"covariate:{name}"] = [trial.covariates[name] for trial in trials]
    for name in sorted(first.conditions):
        arrays[f"condition:{name}"] = [trial.conditions[name] for trial in trials]
    for name in ("rates", "latents"):
        if getattr(first, name) is not None:
            arrays[name] = [getattr(trial, name) for trial in trials]
    kinds = {name: count_type if name == "spikes" else pa.float32() for name in arrays}
    schema = pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in REQUIRED_COLUMNS[:3]),
            pa.field("n_bins", pa.int32(), nullable=False),
            *(list_field(name, kind) for name, kind in kinds.items()),
        ]
    )
    columns: dict[str, Any] = {
        name: [getattr(trial, name) for trial in trials] for name in REQUIRED_COLUMNS[:4]
    }
    columns |= {name: _flat_lists(arrays[name], kinds[name], name, trials) for name in arrays}
    return pa.table(columns, schema)


def _flat_lists(
    arrays: Sequence[np.ndarray], kind: pa.DataType, name: str, trials: Sequence[Trial]
) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays])])
    if offsets[-1] > np.iinfo(np.int32).max:
        longest = max(trials, key=lambda trial: trial.n_bins)
        raise ValueError(
            f"trial {longest.trial_id!r}: {name} must hold under 2^31 values, got {offsets[-1]} with "
            f"the trials beside it ({longest.n_bins} bins). Cut it into shorter trials."
        )
    values = np.concatenate([array.reshape(-1) for array in arrays])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(values.astype(kind.to_pandas_dtype(), copy=False), kind),
        type=list_field(name, kind).type,
    )


def trials_of_table(table: pa.Table) -> Iterator[Trial]:
    """The inverse of `trials_table`, in the order of the rows; arrays are views of the table's."""
    n_bins = table["n_bins"].to_pylist()

    def arrays(column: str) -> list[np.ndarray]:
        lists = table[column].combine_chunks()
        offsets, values = np.asarray(lists.offsets), lists.values.to_numpy()
        return [values[i:j] for i, j in zip(offsets[:-1], offsets[1:], strict=True)]

    def per_bin(column: str) -> list[np.ndarray]:
        return [a.reshape(n, -1) for n, a in zip(n_bins, arrays(column), strict=True)]

    def named(kind: str, read: Callable[[str], list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
        found = (name for name in table.column_names if name.startswith(f"{kind}:"))
        return {name.removeprefix(f"{kind}:"): read(name) for name in found}

    texts = [table[name].to_pylist() for name in ("trial_id", "session", "split")]
    spikes = per_bin("spikes")
    covariates, conditions = named("covariate", per_bin), named("condition", arrays)
    rates = per_bin("rates") if "rates" in table.column_names else None
    latents = per_bin("latents") if "latents" in table.column_names else None
    for i, (trial_id, session, split) in enumerate(zip(*texts, strict=True)):
        yield Trial(
            spikes=spikes[i],
            trial_id=trial_id,
            session=session,
            split=split,
            covariates={name: values[i] for name, values in covariates.items()},
            conditions={name: values[i] for name, values in conditions.items()},
            rates=None if rates is None else rates[i],
            latents=None if latents is None else latents[i],
        )


def check_table(table: pa.Table, card: Card, where: str) -> None:
    """Check that what columns a table from any file has are as the card describes them.

    Raises ValueError, naming `where`, the column, and where it can the row.
    """

    def need(good: bool, name: str, must: str, got: object) -> None:
        if not good:
            raise ValueError(f"{where}: column {name!r} must be {must}, got {got}. {REWRITE}")

    plain = dict.fromkeys(REQUIRED_COLUMNS[:3], pa.string()) | {"n_bins": pa.int32()}
    for name, kind in plain.items():
        column = table[name]
        need(column.type == kind, name, str(kind), column.type)
        need(column.null_count == 0, name, "free of nulls", f"{column.null_count}")
        column.validate(full=True)  # texts are UTF-8
    n_bins_S = table["n_bins"].to_numpy().astype(np.int64)
    least = n_bins_S.min(initial=1)
    need(least > 0, "n_bins", "positive", least)
    per_bin = {"spikes": card.n_units, "rates": card.n_units, "latents": card.n_latents}
    per_bin |= {f"covariate:{key}": item["size"] for key, item in card.covariates.items()}
    per_trial = {f"condition:{key}": item["size"] for key, item in card.conditions.items()}
    for name in table.column_names:
        if name in plain:
            continue
        column = table[name]
        kinds = (pa.uint8(), pa.uint16()) if name == "spikes" else (pa.float32(),)
        flat = pa.types.is_list(column.type) and column.type.value_type in kinds
        need(flat, name, f"lists of {' or '.join(map(str, kinds))}", column.type)
        n_nulls = sum(chunk.null_count + chunk.flatten().null_count for chunk in column.chunks)
        need(n_nulls == 0, name, "free of nulls", n_nulls)
        wanted_S = n_bins_S * per_bin[name] if name in per_bin else 0 * n_bins_S + per_trial[name]
        lengths_S = pc.list_value_length(column).to_numpy()
        wrong = np.flatnonzero(lengths_S != wanted_S)
        if len(wrong):
            i = wrong[0]
            need(False, name, f"{wanted_S[i]} values long in row {i}", lengths_S[i])


def trialset_from_tables(tables: Iterable[pa.Table], card: Card, *, sort: bool = True) -> TrialSet:
    """The trials of some tables of one dataset, in the order of their ids.

    Covariates, conditions, rates and latents that the tables lack are left out; without spikes there are no units.
    sort: False keeps the order of the tables.
    """
    filled = [table for table in tables if len(table)]
    if not filled:
        raise ValueError(f"dataset {card.name!r}: expected trials, got none.")
    names = filled[0].column_names

    n_bins_S = np.concatenate([table["n_bins"].to_numpy() for table in filled]).astype(np.int64)

    def texts(column: str) -> list[str]:
        return [text for table in filled for text in table[column].to_pylist()]

    trial_ids, sessions = texts("trial_id"), texts("session")
    order = list(range(len(trial_ids)))
    if sort:
        order.sort(key=trial_ids.__getitem__)
    in_order = order == list(range(len(order)))

    def rows(column: str, size: int) -> np.ndarray:
        chunks = [chunk for table in filled for chunk in table[column].chunks]
        # Views of the Arrow buffers; one chunk that is in order is not copied at all, all else once.
        parts = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in chunks]
        per_bin = not column.startswith("condition:")
        if not in_order:
            trials: list[np.ndarray] = []
            sizes_S = n_bins_S * size if per_bin else np.full(len(order), size)
            for chunk, part in zip(chunks, parts, strict=True):
                ends = np.cumsum(sizes_S[len(trials) : len(trials) + len(chunk)])
                trials += np.split(part, ends[:-1])
            parts = [trials[i] for i in order]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return values.reshape(n_bins_S.sum() if per_bin else len(order), size)

    covariates = {k: v["size"] for k, v in card.covariates.items() if f"covariate:{k}" in names}
    conditions = {k: v["size"] for k, v in card.conditions.items() if f"condition:{k}" in names}
    n_all = int(n_bins_S.sum())
    return TrialSet(
        n_bins_S=n_bins_S[order],
        spikes=rows("spikes", card.n_units)
        if "spikes" in names
        else np.zeros((n_all, 0), np.uint8),
        covariates={k: rows(f"covariate:{k}", size) for k, size in covariates.items()},
        conditions={k: rows(f"condition:{k}", size) for k, size in conditions.items()},
        latents=rows("latents", card.n_latents) if "latents" in names else None,
        rates=rows("rates", card.n_units) if "rates" in names else None,
        trial_ids=[trial_ids[i] for i in order],
        sessions=[sessions[i] for i in order],
        bin_width_s=card.bin_width_s,
    )
