"""Monkey reaches: spikes with and without history, baselines, and whether few steps of a solver do as well as all.

Kapoor, Schulz et al. 2024, section 4.3 and table 1.
"""

from __future__ import annotations

from ldns_ray.logged import evaluation_metrics
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.found import Found
from ldns_ray.reproduction.maker import Maker, pictures_of, report_of
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.wording import (
    likelihood_line,
    novelty_line,
    scored_table,
    within,
    within_table,
)
from ldns_ray.settings import override

KINDS = {"spike_history": "LDNS with spike history", "poisson": "LDNS with Poisson spikes"}
"""Observation models, and what their samples are called; the first is the one that is judged."""


def check(pipeline: Pipeline, request: Request) -> None:
    """Any recording will do."""


def make(maker: Maker, request: Request) -> Found:
    """Train, sample with both observation models in all and in few steps, and evaluate it together."""
    s, n_all = request.experiment.sampling, request.experiment.diffusion.n_steps
    few, every = f"DPM-Solver++ in {s.n_steps} steps", f"DDPM in {n_all} steps"
    samples: dict[str, str] = {}
    pipelines = []
    for kind, name in KINDS.items():
        experiment = override(request.experiment, {"observation.kind": kind})
        pipeline = maker.trained(experiment, request.data_uri, name, until="observation")
        n = s.n_trials or pipeline.card.splits["train"]["n_trials"]
        for way, sampler, n_steps in ((every, "ddpm", n_all), (few, "dpmpp_2m", s.n_steps)):
            told = f"{name}, {way}"
            samples[told] = maker.sampled(pipeline, told, n, sampler=sampler, n_steps=n_steps)
        pipelines.append(pipeline)
    judged = pipelines[0]
    evaluation = maker.evaluated(judged, samples)
    summary = evaluation.summary
    compared = {name: within(summary, f"{name}, {few}", f"{name}, {every}") for name in KINDS.values()}  # fmt: skip
    tables = [
        within_table(f"{name}: does {few} do as well as {every}?", few, every, lines)
        for name, lines in compared.items()
    ]
    scores = {f"score/{row['name']}": row["score"] for row in summary["rows"]}
    return Found(
        numbers={"evaluation": summary, "few_steps": compared},
        metrics=evaluation_metrics(summary) | scores,
        tables=[scored_table(summary), *tables],
        lines=[likelihood_line(summary), novelty_line(summary)],
        pictures=pictures_of(evaluation.uri, summary),
        report=report_of(evaluation.uri),
        places={"Model": judged.model_uri, **samples},
    )
