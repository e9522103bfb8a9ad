"""Monkey reaches: spikes with and without history, baselines, and whether few steps of a solver do as well as all.

Kapoor, Schulz et al. 2024, section 4.3 and table 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ldns_ray import storage
from ldns_ray.data.batches import trials_of
from ldns_ray.data.card import Card
from ldns_ray.data.shards import load_trialset, read_card, write_dataset
from ldns_ray.logged import evaluation_metrics
from ldns_ray.models.ldns import LDNS
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.criteria import (
    at_least,
    at_most,
    beside_baselines,
    criteria_table,
)
from ldns_ray.reproduction.found import Found
from ldns_ray.reproduction.maker import Maker, pictures_of, report_of
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.wording import (
    likelihood_line,
    n_beyond,
    novelty_line,
    scored_table,
    within,
    within_table,
)
from ldns_ray.settings import override
from ldns_ray.stages import origin

MIN_REFERENCE = 140
"""Trials never trained on: with fewer, floors are too high to tell much."""
SOLVERS = {"dpmpp_2m_sde": "SDE-DPM", "dpmpp_2m": "DPM", "ddim": "DDIM"}
"""What takes few steps, in short; the first where the experiment takes every step."""
KINDS = {"spike_history": "LDNS + spike history", "poisson": "LDNS + Poisson"}
"""Observation models, and what their samples are called; the first is the one that is judged."""


def check(pipeline: Pipeline, request: Request) -> None:
    """Any recording will do."""


def make(maker: Maker, request: Request) -> Found:
    """Train, sample with both observation models in all and in few steps, and evaluate it together."""
    s, n_all = request.experiment.sampling, request.experiment.diffusion.n_steps
    solver = s.sampler if s.sampler in SOLVERS else next(iter(SOLVERS))
    few, every = f"{SOLVERS[solver]} {s.n_steps}", f"DDPM {n_all}"
    judged, other = (
        maker.trained(
            override(request.experiment, {"observation.kind": kind}), request.data_uri, name, until="observation"
        )
        for kind, name in KINDS.items()
    )  # fmt: skip
    n = s.n_trials or judged.card.splits["train"]["n_trials"]
    sampled = {
        way: maker.sampled(judged, way, n, sampler=sampler, n_steps=n_steps)
        for way, sampler, n_steps in ((every, "ddpm", n_all), (few, solver, s.n_steps))
    }
    # Both models have the same latents and rates, which take all the time.
    again = {way: _observed_again(maker, other, way, uri) for way, uri in sampled.items()}
    samples = {
        f"{name}, {way}": uri
        for name, ways in zip(KINDS.values(), (sampled, again), strict=True)
        for way, uri in ways.items()
    }
    evaluation = maker.evaluated(judged, samples)
    summary = evaluation.summary
    compared = {name: within(summary, f"{name}, {few}", f"{name}, {every}") for name in KINDS.values()}  # fmt: skip
    first, lines = next(iter(compared.items()))
    table = within_table(
        f"{first}: do {s.n_steps} steps of {SOLVERS[solver]} (`{solver}`) do as well as the {n_all} of DDPM?",
        few,
        every,
        lines,
    )
    judged_by = [
        *beside_baselines(summary),
        at_most("masked NLL of the autoencoder, smoothed PSTH's", summary["likelihood"]["nll"], summary["likelihood"]["nll_psth"]),
        at_least("held-out trials", summary["n_reference"], MIN_REFERENCE),
        at_most(f"metrics of {few} farther off than the interval of {every}", n_beyond(lines), 0),
    ]  # fmt: skip
    scores = {f"score/{row['name']}": row["score"] for row in summary["rows"]}
    return Found(
        numbers={
            "criteria": [c.to_dict() for c in judged_by],
            "evaluation": summary,
            "few_steps": compared,
        },
        metrics=evaluation_metrics(summary) | scores,
        tables=[criteria_table(judged_by), scored_table(summary), table],
        lines=[likelihood_line(summary), novelty_line(summary)],
        pictures=pictures_of(evaluation.uri, summary),
        report=report_of(evaluation.uri),
        places={"Model": judged.model_uri, **samples},
    )


def _observed_again(maker: Maker, pipeline: Pipeline, name: str, samples_uri: str) -> str:
    """The URI of samples with the same latents and rates, and spikes of this pipeline's observation model."""
    seed, card = pipeline.experiment.sampling.seed, read_card(samples_uri)

    def work(uri: str) -> dict[str, Any]:
        observed_again(pipeline.model_uri, samples_uri, storage.join(uri, "dataset"), seed=seed)
        return {"dataset": storage.join(uri, "dataset")}

    key = (pipeline.fingerprints["observation"], card.fingerprint, seed)
    done = maker.step(f"samples, {name}, other spikes", *key, work=work)
    return storage.join(done.uri, "dataset")


def observed_again(model_uri: str, samples_uri: str, out_uri: str, *, seed: int) -> Card:
    """Write a dataset of samples again, with spikes that a model of the same autoencoder draws for their rates.

    They are the samples of that model itself, spike for spike, if it has the same diffusion model, and the samples are
    all of their `seed`, from its first trial on: trial i of a seed has random numbers of its own.
    """
    model = LDNS.load(model_uri)
    card, trials = read_card(samples_uri), load_trialset(samples_uri)
    spikes = model.observe(trials.rates_list(), seed=seed)
    renewed = replace(trials, spikes=np.concatenate(spikes))
    # The request is that of the other samples, and would be taken for that of these.
    kept = {name: value for name, value in card.provenance.items() if name != "request"}
    return write_dataset(
        trials_of(renewed, next(iter(card.splits))), out_uri, name=card.name, bin_width_s=card.bin_width_s,
        source=card.source, unit_names=card.unit_names,
        provenance={**kept, **origin(model, model_uri)}, overwrite=True,
    )  # fmt: skip
