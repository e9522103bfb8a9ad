"""Monkey reaches given their angle: are samples in the direction they were asked for, also in one never seen?

Kapoor, Schulz et al. 2024, section 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldns_ray import storage
from ldns_ray.data.conditions import TrialConditions
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    TrialPairs,
    decode_angles,
    mean_counts,
)
from ldns_ray.evaluation.decoding.intervals import angle_intervals
from ldns_ray.evaluation.plots.conditional import angles
from ldns_ray.evaluation.wording import told, with_interval
from ldns_ray.logged import evaluation_metrics
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.criteria import Criterion, at_most, criteria_table
from ldns_ray.reproduction.directions import LIMIT, SLACK, near, without_direction
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
from ldns_ray.reproduction.steps import Step
from ldns_ray.reproduction.wording import NONE, of_real, scored_table

GUIDANCES = (1.0, 1.5, 2.0)
"""Strengths of the condition; the first is as trained."""
OWN = "conditions of training trials"
"""What samples are called whose conditions are drawn from those."""
N_LEFT_OUT = 100
"""Samples in a direction that was left out."""


def condition_of(pipeline: Pipeline) -> str:
    """The one condition that the model takes. Raises ValueError where there is another number of them."""
    names = [c for c in pipeline.experiment.diffusion.conditions if c != LENGTH]
    if len(names) != 1 or pipeline.experiment.diffusion.covariates:
        raise ValueError(
            "diffusion.conditions must name one angle, and diffusion.covariates nothing, got "
            f"{','.join(names) or 'none'} and {','.join(pipeline.experiment.diffusion.covariates) or 'none'}."
        )
    return names[0]


def check(pipeline: Pipeline, request: Request) -> None:
    """Raise ValueError for a dataset without the angle, and for directions that no trials go in."""
    name, card = condition_of(pipeline), pipeline.card
    if card.conditions.get(name, {}).get("size") != 2:
        raise ValueError(
            f"{pipeline.data_uri} has no condition {name!r} of cosine and sine; it has: "
            f"{', '.join(card.conditions) or 'none'}. Ingest it with --angle {name}=…"
        )
    for split in ("train", pipeline.experiment.evaluation.split):
        direction_S2 = load_trialset(pipeline.data_uri, split, [f"condition:{name}"]).conditions[
            name
        ]
        for degree in request.held_out:
            n = int(near(direction_S2, degree).sum())
            if not 0 < n < len(direction_S2):
                raise ValueError(
                    f"--held-out {degree:g} must be the direction of some, but not all, of the {len(direction_S2)} "
                    f"{split} trials of {pipeline.data_uri}, got {n}."
                )


def make(maker: Maker, request: Request) -> Found:
    """Train, sample for the conditions of held-out trials at every guidance, decode; then without each direction."""
    pipeline = maker.trained(
        request.experiment, request.data_uri, request.result, until="observation"
    )
    samples = guided_samples(maker, pipeline)
    likened = {OWN: own_samples(maker, pipeline), **samples}
    evaluation = maker.evaluated(pipeline, likened)
    summary = evaluation.summary
    left_out, pictures = {}, {}
    for degree in request.held_out:
        name = f"{degree:g}"
        step = _left_out(maker, request, pipeline, degree)
        left_out[name] = step.summary
        pictures[name] = picture(step.uri, f"left_out_{name}")
    table, metrics = guided_table(summary, samples)
    judged = criteria(left_out)
    for name, x in left_out.items():
        metrics |= {
            f"left_out_{name}/error_{key}": y["error_sampled"] for key, y in x["guided"].items()
        }
    return Found(
        numbers={
            "criteria": [c.to_dict() for c in judged],
            "evaluation": summary,
            "left_out": left_out,
        },
        metrics=evaluation_metrics(summary) | metrics,
        tables=[
            criteria_table(judged),
            scored_table(summary),
            table,
            _left_out_table(left_out),
        ],
        lines=[],
        pictures={
            **pictures_of(evaluation.uri, summary),
            **{k: v for x in pictures.values() for k, v in x.items()},
        },
        report=report_of(evaluation.uri),
        places={"Model": pipeline.model_uri, **likened},
    )


def own_samples(maker: Maker, pipeline: Pipeline) -> str:
    """The URI of samples for conditions that are drawn from the training trials, as many as there are of those.

    These are what spike statistics are fairly judged by: samples for the held-out trials' own conditions know something
    of the trials that they are compared with.
    """
    n = pipeline.experiment.sampling.n_trials or pipeline.card.splits["train"]["n_trials"]
    return maker.sampled(pipeline, OWN, n)


def guided_samples(maker: Maker, pipeline: Pipeline) -> dict[str, str]:
    """URIs of samples by guidance, one for each held-out trial and what it had: so are they independent of each other."""
    asked = asked_of(pipeline, pipeline.experiment.evaluation.split)
    return {
        f"guidance {g:g}": maker.sampled(pipeline, f"guidance {g:g}", len(asked), asked, guidance=g)
        for g in GUIDANCES
    }


def guided_table(
    summary: Mapping[str, Any], samples: Mapping[str, str]
) -> tuple[Table, dict[str, float | None]]:
    """What was decoded of the condition at every guidance, as a table and as metrics."""
    decoded = [summary["conditional"][name] for name in samples]
    metrics: dict[str, float | None] = {}
    rows, real_class, real_angle = [], NONE, NONE
    for name, x in zip(samples, decoded, strict=True):
        classes, (angle,) = x["classes"], x["angles"].values()
        cell = NONE
        if classes is not None:
            metrics[f"{name}/accuracy"] = classes["accuracy_sampled"]
            cell = told(classes, "accuracy_sampled") + of_real(classes["ratio"])
            real_class = told(classes, "accuracy_real")
        metrics[f"{name}/angle_error"] = angle["error_sampled"]
        real_angle = told(angle, "error_real", ".1f", "°")
        rows.append([name, cell, told(angle, "error_sampled", ".1f", "°")])
    return Table(
        "Decoded from samples for the directions of held-out trials, by decoders of real training trials.",
        ["", "class decoded", "median angle error"],
        [["real held-out trials", real_class, real_angle], *rows],
    ), metrics


def _left_out(maker: Maker, request: Request, whole: Pipeline, degree: float) -> Step:
    """The step that trains without a direction, samples in it, and decodes the samples."""
    name = condition_of(whole)
    data = maker.step(
        f"training trials without {degree:g}°", whole.card.fingerprint, name, degree,
        work=lambda uri: without_direction(whole.data_uri, storage.join(uri, "dataset"), name, degree),
    )  # fmt: skip
    pipeline = maker.trained(
        request.experiment, storage.join(data.uri, "dataset"), f"{request.result} without {degree:g}°",
        until="observation",
    )  # fmt: skip
    train = load_trialset(whole.data_uri, "train", [f"condition:{name}"])
    indices = np.flatnonzero(near(train.conditions[name], degree))
    asked: TrialConditions = asked_of(whole, "train", indices).cycled(N_LEFT_OUT)
    samples = {
        f"{g:g}": maker.sampled(pipeline, f"{degree:g}° never seen, guidance {g:g}", N_LEFT_OUT, asked, guidance=g)
        for g in GUIDANCES
    }  # fmt: skip
    e = request.experiment.evaluation
    return maker.step(
        f"decoding of {degree:g}°", whole.card.fingerprint, pipeline.fingerprints["observation"], name, degree,
        e.split, e.decode_from_s, e.seed, list(GUIDANCES), [[g, read_card(uri).fingerprint] for g, uri in samples.items()],
        work=lambda uri: _decoded(whole, name, degree, samples, uri),
    )  # fmt: skip


def _decoded(
    whole: Pipeline, name: str, degree: float, samples: Mapping[str, str], uri: str
) -> dict[str, Any]:
    """Errors of samples in a direction that was left out, beside those of real held-out trials in it.

    The decoder is fitted on real training trials of all directions. `limit`: what the error of samples may be.
    """
    e = whole.experiment.evaluation
    train, real = (load_trialset(whole.data_uri, split, [f"condition:{name}"]) for split in ("train", e.split))  # fmt: skip
    real = real.subset(np.flatnonzero(near(real.conditions[name], degree)))
    first_bin = round(e.decode_from_s / train.bin_width_s)
    guided, decoding = {}, None
    for guidance, samples_uri in samples.items():
        sampled = load_trialset(samples_uri, None, [f"condition:{name}"])
        decoding = decode_angles(
            *(TrialPairs(mean_counts(x.spikes_list(), first_bin), x.conditions[name]) for x in (train, real, sampled))
        )  # fmt: skip
        guided[guidance] = _errors(decoding, e.seed)
        if guidance == f"{GUIDANCES[0]:g}":
            save_picture(uri, f"left_out_{degree:g}", angles(decoding, name))
    assert decoding is not None
    bounds = angle_intervals(decoding, seed=e.seed).real
    limit = max(LIMIT, SLACK * decoding.error_real)
    return {
        "error_real": decoding.error_real,
        "error_real_interval": None if bounds is None else list(bounds),
        "limit": limit,
        "guided": guided,
        "n_real": len(real),
        "n_sampled": N_LEFT_OUT,
    }  # fmt: skip


def criteria(left_out: Mapping[str, Any]) -> list[Criterion]:
    """The median error of samples in each direction that was left out, at each guidance."""
    return [
        at_most(f"angle error at {name}°, never seen, guidance {guidance}", y["error_sampled"], x["limit"])
        for name, x in left_out.items()
        for guidance, y in x["guided"].items()
    ]  # fmt: skip


def _errors(decoding: AngleDecoding, seed: int) -> dict[str, Any]:
    bounds = angle_intervals(decoding, seed=seed).sampled
    return {
        "error_sampled": decoding.error_sampled,
        "error_sampled_interval": None if bounds is None else list(bounds),
    }


def _left_out_table(left_out: Mapping[str, Any]) -> Table:
    rows = []
    for name, x in left_out.items():
        cells = [
            with_interval(y["error_sampled"], y["error_sampled_interval"], ".1f", "°")
            for y in x["guided"].values()
        ]
        real = with_interval(x["error_real"], x["error_real_interval"], ".1f", "°")
        rows.append([f"{name}°", real, f"{x['limit']:.1f}°", *cells])
    return Table(
        f"Directions never seen: median angle error of {N_LEFT_OUT} samples of a model that was trained without the "
        f"direction, by a decoder of real trials of all directions; the limit is the larger of {LIMIT:g}° and {SLACK:g} "
        "times the error of real held-out trials in that direction.",
        ["direction", "real trials", "limit", *(f"guidance {g:g}" for g in GUIDANCES)],
        rows,
    )
