"""One range of trials: sampled, written as a shard, and recorded."""

from collections.abc import Callable, Iterator

from ldns_ray import storage
from ldns_ray.data.schema import Trial
from ldns_ray.data.shard_records import write_shard
from ldns_ray.models.blocks import BLOCK
from ldns_ray.models.ldns import LDNS
from ldns_ray.models.requests import Requests
from ldns_ray.sampling.places import record_uri
from ldns_ray.sampling.plan import Plan, Range

OnTrials = Callable[[Range, int], None]
"""Called with a range and how many of its trials are sampled."""


def write_range(
    model: LDNS, plan: Plan, out_uri: str, trials: Range, rows: Requests | None, on_trials: OnTrials
) -> None:
    """Sample a range into its shard in the folder `out_uri`, then leave its record. rows: see `Plan.rows`.

    Memory is that of the compressed shard, a row group and a block of trials. The record comes last: a range that has
    one is done.
    """
    record = write_shard(
        sampled(model, plan, trials, rows, on_trials), out_uri, trials.number, plan.choices
    )
    storage.write_bytes(record_uri(out_uri, plan.key, trials), record.to_bytes())


def sampled(
    model: LDNS, plan: Plan, trials: Range, rows: Requests | None, on_trials: OnTrials
) -> Iterator[Trial]:
    """The trials of a range."""
    if rows is None:
        rows = model.requests(trials.stop - trials.start, seed=plan.seed, first_trial=trials.start)
    for start in range(trials.start, trials.stop, BLOCK):
        stop = min(start + BLOCK, trials.stop)
        asked = rows.rows(start - trials.start, stop - trials.start)
        block = model.sample(
            stop - start, n_bins=asked.n_bins, condition=asked.conditions, covariates=asked.covariates,
            sampler=plan.sampler, n_steps=plan.n_steps, guidance=plan.guidance, seed=plan.seed, first_trial=start,
        )  # fmt: skip
        for i in range(stop - start):
            yield Trial(
                spikes=block.spikes[i],
                trial_id=f"sample-{start + i:07d}",
                session="sampled",
                split="test",
                covariates={k: v[i] for k, v in block.covariates.items()},
                conditions={k: v[i] for k, v in block.conditions.items()},
                rates=block.rates[i],
                latents=block.latents[i],
            )
        on_trials(trials, stop - trials.start)
