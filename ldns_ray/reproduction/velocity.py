"""Monkey reaches given the hand's velocity: is it decoded from samples, also of movements that were never made?

Kapoor, Schulz et al. 2024, section 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.conditions import TrialConditions
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.bootstrap import as_list
from ldns_ray.evaluation.decoding.conditional import (
    decode_samples,
    decoded_rates,
    smoothed_counts,
    with_rates,
)
from ldns_ray.evaluation.decoding.decoders import TraceDecoding
from ldns_ray.evaluation.decoding.intervals import trace_intervals
from ldns_ray.evaluation.novelty import novelty
from ldns_ray.evaluation.plots.reaches import is_planar_velocity, reaches
from ldns_ray.evaluation.wording import told
from ldns_ray.logged import evaluation_metrics
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.angle import OWN, guided_samples, own_samples
from ldns_ray.reproduction.found import Found, Table
from ldns_ray.reproduction.maker import (
    Maker,
    asked_of,
    picture,
    pictures_of,
    report_of,
    save_picture,
)
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.warping import NEW_MOVEMENTS
from ldns_ray.reproduction.wording import of_real, scored_table


def covariate_of(pipeline: Pipeline) -> str:
    """The one covariate that the model takes. Raises ValueError where it takes something else, or more."""
    d = pipeline.experiment.diffusion
    conditions = [c for c in d.conditions if c != LENGTH]
    if len(d.covariates) != 1 or conditions:
        raise ValueError(
            "diffusion.covariates must name one velocity, and diffusion.conditions nothing but length, got "
            f"{','.join(d.covariates) or 'none'} and {','.join(conditions) or 'none'}."
        )
    return d.covariates[0]


def check(pipeline: Pipeline, request: Request) -> None:
    """Raise ValueError for a dataset without the velocity."""
    name, known = covariate_of(pipeline), pipeline.card.covariates
    if name not in known:
        raise ValueError(
            f"{pipeline.data_uri} has no covariate {name!r}; it has: {', '.join(known) or 'none'}. Ingest it with "
            f"--covariate {name}=…"
        )


def make(maker: Maker, request: Request) -> Found:
    """Train, sample for the velocities of held-out trials at every guidance, and for movements never made; decode."""
    pipeline = maker.trained(
        request.experiment, request.data_uri, request.result, until="observation"
    )
    name, e = covariate_of(pipeline), request.experiment.evaluation
    samples = guided_samples(maker, pipeline)
    likened = {OWN: own_samples(maker, pipeline), **samples}
    evaluation = maker.evaluated(pipeline, likened)
    summary = evaluation.summary
    asked = asked_of(pipeline, e.split)
    new = {
        movement: maker.sampled(pipeline, movement, len(asked), _changed(asked, name, change))
        for movement, change in NEW_MOVEMENTS.items()
    }
    prints = [[key, read_card(uri).fingerprint] for key, uri in (samples | new).items()]
    decoded = maker.step(
        "decoding of new movements", pipeline.fingerprints["latents"], name, e.split, e.seed, prints,
        work=lambda uri: _decoded(pipeline, name, samples, new, uri),
    )  # fmt: skip
    guidance = request.experiment.sampling.guidance
    metrics: dict[str, float | None] = {}
    for key, x in decoded.summary["asked"].items():
        metrics[f"{key}/r2_rates"] = x["rates"]["sampled"]
        metrics[f"{key}/r2_smoothed_spikes"] = x["smoothed spikes"]["sampled"]
    unit = str(pipeline.card.covariates[name]["unit"])
    drawn = picture(decoded.uri, "new_movements") if decoded.summary["drawn"] else {}
    return Found(
        numbers={"evaluation": summary, "decoded": decoded.summary, "unit": unit},
        metrics=evaluation_metrics(summary) | metrics,
        tables=[scored_table(summary), _table(decoded.summary, list(samples), list(new), guidance)],
        lines=[],
        pictures=pictures_of(evaluation.uri, summary) | drawn,
        report=report_of(evaluation.uri),
        places={"Model": pipeline.model_uri, **likened, **new},
    )


def _changed(asked: TrialConditions, name: str, change: Any) -> TrialConditions:
    return TrialConditions(None, {}, {name: [change(trace) for trace in asked.covariates[name]]})


def _decoded(
    pipeline: Pipeline, name: str, samples: Mapping[str, str], new: Mapping[str, str], uri: str
) -> dict[str, Any]:
    """R² of what decoders of real training trials read from real held-out and from sampled trials.

    `asked`: by name of a set of samples, from its `rates` and from its `smoothed spikes`: `real`, `sampled`, `ratio`,
    and their intervals; and how new what was asked for is, its `novelty`: distances in relative time of the asked
    velocities to the nearest of training, over those of held-out trials. `drawn`: whether there is a picture of the last
    set's paths.
    """
    e = pipeline.experiment.evaluation
    column = f"covariate:{name}"
    real = [pipeline.latent_trials(split, ["latents", column]) for split in ("train", e.split)]
    decode = decoded_rates(pipeline.autoencoder())
    by_rates = [with_rates(trials, decode) for trials in real]
    by_spikes = [with_rates(trials, smoothed_counts) for trials in real]
    found: dict[str, Any] = {}
    last: TraceDecoding | None = None
    for key, where in {**samples, **new}.items():
        sampled = load_trialset(where, None, [column, "rates"])
        last = _trace(by_rates, sampled, name)
        smoothed = _trace(by_spikes, with_rates(sampled, smoothed_counts), name)
        found[key] = {
            "rates": _summary(last, e.seed),
            "smoothed spikes": _summary(smoothed, e.seed),
            "novelty": novelty(
                *(x.covariates_list(name) for x in (*real, sampled)), seed=e.seed
            ).ratio,
        }
    assert last is not None
    unit = str(pipeline.card.covariates[name]["unit"])
    drawn = is_planar_velocity(last, name, unit)
    if drawn:
        save_picture(uri, "new_movements", reaches(last, name, pipeline.card.bin_width_s, unit))
    return {"asked": found, "drawn": drawn}


def _trace(real: Sequence[TrialSet], sampled: TrialSet, name: str) -> TraceDecoding:
    train, held_out = real
    return decode_samples(train, held_out, sampled, covariates=[name]).covariates[name]


def _summary(x: TraceDecoding, seed: int) -> dict[str, Any]:
    bounds = trace_intervals(x, seed=seed)
    return {
        "real": x.real.total, "real_interval": as_list(bounds.real), "sampled": x.sampled.total,
        "sampled_interval": as_list(bounds.sampled), "ratio": x.ratio, "ratio_interval": as_list(bounds.ratio),
    }  # fmt: skip


def _table(decoded: Mapping[str, Any], seen: list[str], new: list[str], guidance: float) -> Table:
    asked = decoded["asked"]
    kinds = ("rates", "smoothed spikes")
    first = asked[seen[0]]
    rows = [["real held-out trials", *(told(first[kind], "real") for kind in kinds), "1"]]
    for key in (*seen, *new):
        cells = [
            told(asked[key][kind], "sampled") + of_real(asked[key][kind]["ratio"]) for kind in kinds
        ]
        rows.append(
            [key if key in seen else f"changed: {key}", *cells, f"{asked[key]['novelty']:.2f}"]
        )
    return Table(
        "R² of the velocity that decoders of real training trials read from samples for the velocities of held-out "
        f"trials, and for these changed to movements that nobody made (guidance {guidance:g}). The last column says how "
        "far the velocities are from the nearest of the training trials, held-out trials' being 1.",
        ["", "from rates", "from smoothed spikes", "how new"],
        rows,
    )
