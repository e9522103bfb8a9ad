"""One pass over a dataset that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import SPLITS
from ldns_ray.data.shards import check_split, read_card
from ldns_ray.data.tables import column_names, trialset_from_tables
from ldns_ray.storage import Uri, filesystem_of


def iter_trialsets(
    uri: Uri, split: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, TrialSet]]:
    """Every trial once, shard by shard: (split, its trials) in the order of their ids within the shard.

    Memory is that of one shard; what may be read of it is never all of the dataset.
    split: of this split only; shards that are known to hold none of it are not opened.
    columns: read only these of the optional columns, such as ["covariate:vel", "latents"].
    Raises ValueError, when the first set is asked for, for an unknown split or column.
    """
    card = read_card(uri)
    check_split(card, split)
    names = column_names(card, columns)
    filesystem, folder = filesystem_of(uri)
    for shard in card.shards:
        if split is not None and shard.get("split", split) != split:
            continue
        with filesystem.open_input_file(f"{folder}/{shard['file']}") as file:
            table = pq.read_table(file, columns=names)
        for name in SPLITS if split is None else (split,):
            own = table.filter(pc.equal(table["split"], name))
            if len(own):
                yield name, trialset_from_tables([own], card)
