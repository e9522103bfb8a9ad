"""Splits read pass by pass, never in memory as a whole: by tasks of Ray Data, or by a thread of this process.

A pass is a sequence of trials that (seed, epoch) alone decides: shards in an order of the epoch, cut into one
stretch per worker, mixed in a buffer of bounded size. Whoever reads them, the trials and their order are the
same: a streamed training can be repeated and resumed, and an epoch has every trial exactly once.

`Dataset.streaming_split` drops the remainder of the trials over the workers, and what a worker gets depends on who
asks first; `read_parquet` starts dozens of processes for the shards' footers, in every pass. Here each worker's
pass is a Ray dataset of its own, whose tasks read the worker's stretch.

Ray is imported only inside the functions that need it.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from ldns_ray.data import pieces
from ldns_ray.data.batches import Batch, TrialSet
from ldns_ray.data.card import Card, check_split, read_card
from ldns_ray.data.pieces import Piece
from ldns_ray.data.regrouping import mixed, regrouped
from ldns_ray.data.residence import trial_bytes
from ldns_ray.data.tables import trialset_from_tables
from ldns_ray.storage import Uri

if TYPE_CHECKING:
    import ray.data
    import ray.data.dataset

SHUFFLE_BATCHES = 16
SHUFFLE_BYTES = 64 * 2**20
"""Trials are mixed within so many of a worker's batches, and within as many more as fit into so many bytes."""
BLOCK_BYTES = 4 * 2**20
"""Trials that are read at once. Decoding them from Parquet takes ten times as much for a moment."""
READERS = 2
"""Tasks that read for a worker at the same time, or blocks that its thread is ahead."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Stream:
    """A split of a dataset whose passes read these columns, a few trials at a time.

    columns: `spikes` and optional ones, such as ["latents", "condition:angle"].
    through_ray: whether tasks of the Ray cluster read the shards, or a thread of this process.
    Raises ValueError where the dataset has no such split.
    """

    uri: Uri
    split: str
    columns: Sequence[str]
    through_ray: bool = False

    def __post_init__(self) -> None:
        check_split(self.card, self.split)

    @cached_property
    def card(self) -> Card:
        return read_card(self.uri)

    @cached_property
    def shards(self) -> list[Piece]:
        return pieces.whole_shards(self.card, self.split)

    @property
    def n_trials(self) -> int:
        return self.card.splits[self.split]["n_trials"]

    @cached_property
    def trial_bytes(self) -> int:
        """Bytes of a trial of average length."""
        return trial_bytes(self.uri, self.card, self.split, self.columns)

    @property
    def n_bytes(self) -> int:
        """Bytes of all trials in memory."""
        return self.n_trials * self.trial_bytes

    # -- all at once --------------------------------------------------------------------------

    def load(self) -> TrialSet:
        """All trials in memory, in the order of their ids."""
        return trialset_from_tables(self.tables(), self.card)

    def materialized(self) -> ray.data.dataset.MaterializedDataset:
        """All trials in the object store, where the processes of a Ray cluster share them."""
        import ray

        return self.dataset(
            readers=max(READERS, int(ray.cluster_resources().get("CPU", 1)))
        ).materialize()

    # -- passes -------------------------------------------------------------------------------

    def sets(self, n_trials: int) -> Iterator[TrialSet]:
        """All trials in the order in which they were written, so many at a time; the last may be fewer."""
        return regrouped(self._read(self.shards), itertools.repeat(n_trials))

    def groups(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TrialSet | None]:
        """This worker's trials of each global batch of an epoch; None where a batch has none for it.

        As many as `epoch_batches` gives it. Without an epoch, trials come in the order in which they were written.
        """
        sizes = [shares(self.n_trials, batch_size, r, world_size) for r in range(world_size)]
        first, mine = sum(map(sum, sizes[:rank])), sizes[rank]
        if epoch is None:
            sets = self._read(pieces.cut(self.shards, first, sum(mine)))
        else:
            shards = pieces.shuffled(self.shards, seed=seed, epoch=epoch)
            sets = mixed(
                self._read(pieces.cut(shards, first, sum(mine))),
                max(SHUFFLE_BATCHES * max(mine), SHUFFLE_BYTES // self.trial_bytes),
                np.random.default_rng([seed, epoch, rank + 1]),
            )
        filled = regrouped(sets, (n for n in mine if n))
        for n in mine:
            yield next(filled) if n else None

    def blank(self) -> TrialSet:
        """One trial of one bin in which nothing is."""
        card, names = self.card, set(self.columns)

        def zeros(prefix: str, described: dict[str, dict[str, int]]) -> dict[str, np.ndarray]:
            there = {k: v["size"] for k, v in described.items() if f"{prefix}:{k}" in names}
            return {k: np.zeros((1, size), np.float32) for k, size in there.items()}

        return TrialSet(
            n_bins_S=np.ones(1, np.int64),
            spikes=np.zeros((1, card.n_units if "spikes" in names else 0), np.uint8),
            covariates=zeros("covariate", card.covariates),
            conditions=zeros("condition", card.conditions),
            latents=np.zeros((1, card.n_latents), np.float32) if "latents" in names else None,
            rates=np.zeros((1, card.n_units), np.float32) if "rates" in names else None,
            trial_ids=[""],
            sessions=[""],
            bin_width_s=card.bin_width_s,
        )

    # -- reading ------------------------------------------------------------------------------

    def tables(self, wanted: Sequence[Piece] | None = None) -> Iterator[pa.Table]:
        """Pieces of the split, or all of it, read here, in order."""
        return self._reader()(self.shards if wanted is None else wanted)

    def dataset(
        self, wanted: Sequence[Piece] | None = None, readers: int = READERS
    ) -> ray.data.Dataset:
        """Pieces of the split, or all of it, as a Ray dataset of Arrow blocks, in order."""
        import ray.data

        read = self._reader()

        def read_rows(rows: pa.Table) -> Iterator[pa.Table]:
            return read([Piece(**row) for row in rows.to_pylist()])

        items = [part._asdict() for part in (self.shards if wanted is None else wanted)]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            read_rows,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0,  # a task that waited for a CPU of a training would wait for ever
            compute=ray.data.TaskPoolStrategy(min(readers, len(items))),
        )
        dataset.context.target_max_block_size = BLOCK_BYTES
        dataset.context.enable_progress_bars = False
        dataset.context.execution_options.preserve_order = True
        return dataset

    def _reader(self) -> Callable[[Sequence[Piece]], Iterator[pa.Table]]:
        return functools.partial(
            pieces.read,
            self.uri,
            columns=["trial_id", "session", "n_bins", *self.columns],
            n_rows=max(1, BLOCK_BYTES // self.trial_bytes),
        )

    def _read(self, wanted: Sequence[Piece]) -> Iterator[TrialSet]:
        if not self.through_ray:
            for table in ahead(self.tables(wanted), READERS):
                yield trialset_from_tables([table], self.card, sort=False)
        elif wanted:
            for block in self._blocks(wanted):
                trials = trialset_from_tables([block], self.card, sort=False)
                # A copy, lest trials that wait in a buffer keep their blocks in the object store.
                yield trials.subset(np.arange(len(trials)))

    def _blocks(self, wanted: Sequence[Piece]) -> Iterable[pa.Table]:
        import ray.data

        dataset = self.dataset(wanted)
        dataset.context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
            object_store_memory=2 * READERS * BLOCK_BYTES
        )
        return dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def shares(n_trials: int, batch_size: int, rank: int, world_size: int) -> list[int]:
    """How many trials of each global batch a worker has: every world_size-th, as in `epoch_batches`."""
    full, rest = divmod(n_trials, batch_size)
    sizes = [len(range(rank, batch_size, world_size))] * full
    return sizes + [len(range(rank, rest, world_size))] * (rest > 0)


def batches(
    groups: Iterable[TrialSet | None],
    blank: TrialSet,
    prepare: Callable[[TrialSet], TrialSet] = lambda trials: trials,
) -> Iterator[Batch]:
    """The batches of a worker's groups. `index_B` is the place in its pass.

    blank: a trial that stands in where there is none. prepare: makes of trials what the network sees.
    """
    first = 0
    for trials in groups:
        if trials is None:  # a worker without a trial still takes part
            batch = prepare(blank).uncounted_batch()
        else:
            batch = prepare(trials).batch(np.arange(len(trials)))
            batch.index_B += first
            first += len(trials)
        yield batch


def ahead(items: Iterator[Item], n: int) -> Iterator[Item]:
    """The same items, made by a thread that is up to `n` of them ahead. Its errors are raised here."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(n))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item  # type: ignore[misc]
