"""A shard that is written apart from the others of its dataset, and its record: what a card says of its trials.

Several processes write shards, each with a record; one gathers the records, in order, into the card. The trials
are not read again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ldns_ray import storage
from ldns_ray.data.schema import Summary, Trial, TrialChecker, summarise, validate_trial
from ldns_ray.data.shard_writer import ShardWriter
from ldns_ray.storage import Uri

ABOUT = b"ldns.record"
COLUMNS = pa.schema(
    {
        "trial_id": pa.string(),
        "session": pa.string(),
        "split": pa.string(),
        "n_bins": pa.int64(),
        "digest": pa.binary(),
        "spikes": pa.list_(pa.int64()),
    }
)


@dataclass(frozen=True, eq=False)
class ShardRecord:
    """A shard that is there.

    shard: its entry of a card. trials: what it holds, in its order. about: free JSON, such as what it was made for.
    """

    shard: dict[str, Any]
    trials: list[Summary]
    about: dict[str, Any]

    def to_bytes(self) -> bytes:
        """A small Parquet file."""
        first = self.trials[0]
        alike = {
            "n_latents": first.n_latents, "has_rates": first.has_rates,
            "covariate_sizes": dict(first.covariate_sizes), "condition_sizes": dict(first.condition_sizes),
        }  # fmt: skip
        columns = {
            name: [getattr(trial, name) for trial in self.trials]
            for name in COLUMNS.names
            if name != "spikes"
        }
        columns["spikes"] = [trial.spikes_N for trial in self.trials]
        head = json.dumps({"shard": self.shard, "alike": alike, "about": self.about})
        table = pa.table(columns, schema=COLUMNS.with_metadata({ABOUT: head.encode()}))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())

    @classmethod
    def read(cls, uri: Uri) -> ShardRecord:
        """From a file of `to_bytes`. Raises FileNotFoundError, and ValueError for one that is none."""
        try:
            table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)))
            head = json.loads((table.schema.metadata or {})[ABOUT])
        except (pa.ArrowInvalid, KeyError) as error:
            raise ValueError(f"{uri} is not the record of a shard: {error}. Remove it.") from error
        trials = [
            Summary(**row | head["alike"], spikes_N=np.array(spikes, np.int64))
            for row, spikes in zip(
                table.drop_columns(["spikes"]).to_pylist(),
                table["spikes"].to_pylist(),
                strict=True,
            )
        ]
        return cls(head["shard"], trials, head["about"])


def write_shard(
    trials: Iterable[Trial], uri: Uri, number: int, about: dict[str, Any] | None = None
) -> ShardRecord:
    """Write trials of one split as the shard of this number in the folder `uri`, which must be there, and tell of it.

    Memory is that of the compressed shard and one row group. The shard is whole under its name, or not there.
    Raises ValueError where a trial is invalid or does not fit those before it, for several splits, for counts above
    255, whose shards have another column (`write_dataset` takes them), and for no trials.
    """
    checker, summaries = TrialChecker(), []
    with storage.reaching(uri):
        writer = ShardWriter(*storage.filesystem_of(uri), math.inf, first=number)
    for trial in trials:
        checked = validate_trial(trial)
        if checked.spikes.dtype != np.uint8:
            raise ValueError(
                f"trial {checked.trial_id!r}: counts of a shard written by itself must be at most 255, got "
                f"{checked.spikes.max()}. Write the dataset in one process."
            )
        summaries.append(summarise(checked))
        checker.add(summaries[-1])
        writer.add(checked)
    if len(checker.splits) != 1:
        raise ValueError(
            f"A shard must have trials of one split, got {', '.join(checker.splits) or 'none'}."
        )
    with storage.reaching(uri):
        (shard,) = writer.finish()
    return ShardRecord(shard, summaries, about or {})
