"""One pass over a dataset that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ldns_ray.data import pieces
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import check_split, read_card
from ldns_ray.data.tables import column_names, trialset_from_tables
from ldns_ray.data.verification import check_sizes
from ldns_ray.storage import Uri

SET_ENTRIES = 2**23
"""Counts of a set, at most: reading takes about ten bytes of memory for each."""


def iter_trialsets(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, TrialSet]]:
    """Every trial once: (split, some trials of it in the order of their ids), shard by shard.

    Memory grows neither with the dataset nor with its shards; a set has at least one trial.
    split: of this split only; other shards are not opened.
    columns: read only these of the optional columns, such as ["covariate:vel", "latents"].
    Raises ValueError, when the first set is asked for, for an unknown split or column; and, naming the file, for
        one that is truncated or cannot be read; FileNotFoundError for one that is missing.
    """
    card = read_card(uri)
    check_split(card, split)
    names = column_names(card, columns)
    n_trials = max(1, SET_ENTRIES // (card.max_bins * card.n_units))
    check_sizes(uri, card.shards_of(split))
    for name in list(card.splits) if split is None else [split]:
        for table in pieces.read(uri, pieces.whole_shards(card, name), names, n_trials):
            yield name, trialset_from_tables([table], card)
