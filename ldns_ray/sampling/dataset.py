"""Trials sampled from a trained model into a dataset, by this process or by whoever works for it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ldns_ray import storage
from ldns_ray.data.card import Card
from ldns_ray.data.card_writer import CardWriter
from ldns_ray.data.publishing import is_whole, publish
from ldns_ray.data.shard_records import ShardRecord
from ldns_ray.data.verification import THREADS
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.threads import torch_threads
from ldns_ray.revision import commit
from ldns_ray.sampling.places import check_free, done, record_uri, remove_records
from ldns_ray.sampling.plan import Plan, Range, plan_samples
from ldns_ray.sampling.progress import Meter, Progress
from ldns_ray.sampling.ranges import OnTrials, write_range
from ldns_ray.stages import best_device, origin

OnProgress = Callable[[Progress], None]


class Work(Protocol):
    """Who samples ranges: each range to its shard and its record, see `write_range`."""

    @property
    def device(self) -> str:
        """Kind of device that it samples on, cpu or cuda."""

    def __call__(
        self, model: LDNS, plan: Plan, out_uri: str, ranges: Sequence[Range], on_trials: OnTrials
    ) -> None:
        """Do these ranges. Raises what sampling one of them raised; those done until then stay."""


@dataclass(frozen=True)
class InProcess:
    """One range after another, in this process.

    n_threads: of torch, 0 for as many as there are. With other numbers of threads, samples differ by rounding.
    """

    n_threads: int = 0

    @property
    def device(self) -> str:
        return best_device().type

    def __call__(
        self, model: LDNS, plan: Plan, out_uri: str, ranges: Sequence[Range], on_trials: OnTrials
    ) -> None:
        model = model.to(best_device())
        with torch_threads(self.n_threads or torch.get_num_threads()):
            for trials in ranges:
                write_range(model, plan, out_uri, trials, plan.rows(trials), on_trials)


def sample_dataset(
    model_uri: str,
    out_uri: str,
    n: int,
    *,
    work: Work | None = None,
    overwrite: bool = True,
    on_progress: OnProgress = lambda progress: None,
    **how: Any,
) -> Card:
    """Sample `n` trials from the model at `model_uri` into a dataset: spikes, rates, latents, conditions.

    work: who does it; this process if none. how: as in `plan_samples`. The rest as in `carry_out`.
    """
    work = work or InProcess()
    model = LDNS.load(model_uri)
    planned = plan_samples(model, model_uri, n, device=work.device, **how)
    return carry_out(planned, model, out_uri, work, overwrite=overwrite, on_progress=on_progress)


def carry_out(
    plan: Plan,
    model: LDNS,
    out_uri: str,
    work: Work,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Card:
    """Sample what is planned into the dataset `out_uri`; what an interrupted call has done is not done again.

    A complete dataset of this plan is left as it is; another one, or the beginning of another one, raises
    FileExistsError unless `overwrite`, which replaces it. The card's provenance leads back to the model, the data it
    was trained on, and the code (see `origin`), and names the plan's key as `request`.
    """
    out_uri = storage.absolute(out_uri)
    present = check_free(plan, out_uri, overwrite)
    if present is not None and is_whole(out_uri, present):
        remove_records(out_uri)
        return present
    with storage.reaching(out_uri):
        filesystem, folder = storage.filesystem_of(out_uri)
        filesystem.create_dir(folder, recursive=True)
    remove_records(out_uri, but=plan.key)
    kept = done(plan, out_uri)
    missing = [trials for trials in plan.ranges if trials not in set(kept)]
    if missing:
        work(model, plan, out_uri, missing, Meter(plan, kept, on_progress).trials)
    card = publish(out_uri, gathered(plan, model, out_uri), overwrite)
    remove_records(out_uri)
    return card


def gathered(plan: Plan, model: LDNS, out_uri: str) -> Card:
    """The card of all ranges, from their records.

    Memory is that of a trial's name and digest for each, besides a few records.
    """
    cards = CardWriter(
        bin_width_s=model.bin_width_s, unit_names=model.unit_names, covariate_units=None, condition_units=None,
        provenance=provenance(plan, model),
        texts={"name": "LDNS samples", "source": "sampled by ldns_ray", "citation": "", "licence": ""},
    )  # fmt: skip
    shards = []
    uris = (record_uri(out_uri, plan.key, trials) for trials in plan.ranges)
    with ThreadPoolExecutor(THREADS) as readers:
        while some := list(itertools.islice(uris, THREADS)):
            for record in readers.map(ShardRecord.read, some):
                shards.append(record.shard)
                for trial in record.trials:
                    cards.add_summary(trial)
    return cards.card(shards)


def provenance(plan: Plan, model: LDNS) -> Mapping[str, Any]:
    """What the card of a planned dataset says of where it comes from."""
    return {
        **origin(model, plan.model_uri), "commit": commit(), "sampler": plan.sampler, "n_steps": plan.n_steps,
        "guidance": plan.guidance, "seed": plan.seed, "request": plan.key,
    }  # fmt: skip
