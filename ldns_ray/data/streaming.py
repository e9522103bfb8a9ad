"""Datasets through Ray Data: kept in memory where they fit, streamed where they do not.

Ray is imported only inside the functions that need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa

from ldns_ray.data.batches import Batch, TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.shards import check_split, read_card, read_dataset
from ldns_ray.data.tables import trialset_from_tables
from ldns_ray.storage import Uri

if TYPE_CHECKING:
    import ray.data

OBJECT_STORE_SHARE = 0.3
SHUFFLE_BATCHES = 16


def resident_trialset(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> TrialSet:
    """A split, or all trials, read by the Ray cluster; the same as `load_trialset`."""
    import ray

    refs = read_dataset(uri, split, columns).materialize().to_arrow_refs()
    return trialset_from_tables(cast(list[pa.Table], ray.get(refs)), read_card(uri))


def fits_in_object_store(card: Card, split: str | None = None) -> bool:
    """Whether the trials take at most 30 % of the running cluster's object store."""
    import ray

    check_split(card, split)
    splits = card.splits if split is None else {split: card.splits[split]}
    n_floats = sum(covariate["size"] for covariate in card.covariates.values()) + card.n_latents
    n_floats += card.n_units * card.has_rates
    n_bytes = sum(counts["n_bins"] for counts in splits.values()) * (card.n_units + 4 * n_floats)
    return bool(n_bytes <= OBJECT_STORE_SHARE * ray.cluster_resources()["object_store_memory"])


def streamed_batches(
    source: Uri | ray.data.DataIterator | ray.data.Dataset,
    card: Card,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    split: str | None = "train",
    prepare: Callable[[TrialSet], TrialSet] = lambda trials: trials,
) -> Iterator[Batch]:
    """One epoch of batches that never holds the dataset in memory.

    source: a dataset's URI, of which `split` is read, or a Ray dataset or iterator as it is.
    prepare: makes of a batch's trials what the network sees.
    Trials are shuffled within a buffer of `SHUFFLE_BATCHES` batches, by (seed, epoch). `index_B`
    is the place in the epoch's stream. A new pass is started at every call.
    """
    stream = read_dataset(source, split) if isinstance(source, str | os.PathLike) else source
    key = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
    tables = stream.iter_batches(
        batch_size=batch_size,
        batch_format="pyarrow",
        local_shuffle_buffer_size=SHUFFLE_BATCHES * batch_size,
        local_shuffle_seed=int(key),
    )
    first = 0
    for table in tables:
        trials = prepare(trialset_from_tables([table], card, sort=False))
        batch = trials.batch(np.arange(len(trials)))
        batch.index_B += first
        first += len(trials)
        yield batch
