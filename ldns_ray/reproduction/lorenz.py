"""The Lorenz system: latents and rates recovered, statistics of samples that agree, samples of sixteen times the length.

Kapoor, Schulz et al. 2024, section 4.1 and figure 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldns_ray.data.conditions import TrialConditions
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.plots.latents import latents
from ldns_ray.logged import evaluation_metrics
from ldns_ray.models.blocks import decode, encode
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.agreement import PUBLISHED, beside_ceiling
from ldns_ray.reproduction.criteria import Criterion, at_least, criteria_table
from ldns_ray.reproduction.departure import BINS, departure, nearest, window
from ldns_ray.reproduction.found import Found, Table
from ldns_ray.reproduction.maker import (
    Maker,
    picture,
    pictures_of,
    report_of,
    save_picture,
)
from ldns_ray.reproduction.recovery import check_truth, recovery
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.simulations import real_of_length
from ldns_ray.reproduction.wording import NONE, scored_table, text

TIMES = 16
"""How much longer than the training trials the long samples are."""
LONG_TRIALS = 32
"""Long samples."""
R_SLACK, RATES_R2 = 0.01, 0.95
"""What an r may be below its ceiling, and the least R² of the true rates."""
WINDOWS = {"first": 0, "last": TIMES - 1}
"""Of long samples, windows of the training trials' length that are looked at."""
MAX_TRAINING = 500
"""Training trials that give the distribution over time; the first ones."""
STATISTICS = {
    "mean_isi": "mean ISI",
    "sd_isi": "sd ISI",
    "correlations": "correlations",
    "correlations_paper": "correlations, full matrix",
    "count_density": "population count density",
}
"""Of `agreement`, as they are told."""


def check(pipeline: Pipeline, request: Request) -> None:
    """Raise ValueError for a dataset that the result cannot be made of."""
    check_truth(pipeline)


def make(maker: Maker, request: Request) -> Found:
    """Train, sample, and compare with what the simulation was made of."""
    pipeline = maker.trained(request.experiment, request.data_uri, request.result)
    e = request.experiment.evaluation
    record = pipeline.record("evaluation")
    assert record is not None
    summary = record["summary"]
    found = maker.step(
        "recovery", pipeline.fingerprints["latents"], e.split, work=lambda _: recovery(pipeline, e.split)
    ).summary  # fmt: skip
    agreed = maker.step(
        "agreement", pipeline.fingerprints["samples"], e.split, e.seed, work=lambda _: _agreement(pipeline)
    ).summary  # fmt: skip
    n_bins = TIMES * pipeline.card.max_bins
    long_uri = maker.sampled(
        pipeline, f"{TIMES} times as long", LONG_TRIALS, TrialConditions(np.full(LONG_TRIALS, n_bins), {}, {}),
    )  # fmt: skip
    stays = maker.step(
        "departure", pipeline.fingerprints["samples"], read_card(long_uri).fingerprint, e.split,
        work=lambda uri: _departure(pipeline, long_uri, uri),
    )  # fmt: skip
    evaluation, judged = pipeline.uri("evaluation"), criteria(found, agreed)
    return Found(
        numbers={
            "criteria": [c.to_dict() for c in judged], "evaluation": summary, "recovery": found, "agreement": agreed,
            "long": stays.summary,
        },
        metrics=_metrics(summary, found, agreed, stays.summary),
        tables=[
            criteria_table(judged), scored_table(summary), _agreement_table(agreed), _departure_table(stays.summary),
        ],
        lines=[
            f"On {found['n_trials']} {e.split} trials the true latents are an affine map of the model's with R² "
            f"{found['latents']:.3f}, and the decoded rates are the true rates with R² {found['rates']:.3f} "
            f"(median unit {found['rates_median_unit']:.3f})."
        ],
        pictures=pictures_of(evaluation, summary) | picture(stays.uri, "latents_last_sixteenth"),
        report=report_of(evaluation),
        places={"Model": pipeline.model_uri, "Samples": pipeline.samples_uri, "Long samples": long_uri},
    )  # fmt: skip


def criteria(found: Mapping[str, Any], agreed: Mapping[str, Any]) -> list[Criterion]:
    """Every r may be `R_SLACK` below that of as many real trials; rates must be recovered with R² of `RATES_R2`."""
    judged = [at_least("R² of the true rates", found["rates"], RATES_R2)]
    for name, label in STATISTICS.items():
        ceiling = agreed["ceiling"][name]
        bound = None if ceiling is None else ceiling - R_SLACK
        judged.append(at_least(f"r of {label}", agreed["sampled"][name], bound))
    return judged


def _agreement(pipeline: Pipeline) -> dict[str, Any]:
    e = pipeline.experiment.evaluation
    real, other = (load_trialset(pipeline.data_uri, name, []) for name in (e.split, "train"))
    sampled = load_trialset(pipeline.samples_uri, None, [])
    return beside_ceiling(
        real.spikes_list(), other.spikes_list(), sampled.spikes_list(), real.bin_width_s, seed=e.seed
    )  # fmt: skip


def _departure(pipeline: Pipeline, long_uri: str, uri: str) -> dict[str, Any]:
    """By `latents` and `rates`, the `departure` of test trials, of samples of the usual length, and of the first and the
    last window of long samples; of latents, also how far they are from the `nearest` of training.

    Beside them, where the dataset is simulated by its settings, the same windows of long trials of the simulation,
    encoded as wholes: all trials are z-scored over their own bins, so even those have not the moments of the training
    trials in every window.
    """
    e = pipeline.experiment
    train, real = (
        pipeline.latent_trials(name, ["latents"]).latents_list()[:n]
        for name, n in (("train", MAX_TRAINING), (e.evaluation.split, LONG_TRIALS))
    )
    usual, long = (
        load_trialset(u, None, ["latents", "rates"]) for u in (pipeline.samples_uri, long_uri)
    )
    model = pipeline.autoencoder()
    simulated = encode(model, real_of_length(e.dataset, pipeline.card, int(long.n_bins_S[0]), LONG_TRIALS))  # fmt: skip
    kinds = {
        "latents": (train, real, usual.latents_list()[:LONG_TRIALS], long.latents_list(), simulated),
        "rates": (
            decode(model, train), decode(model, real), usual.rates_list()[:LONG_TRIALS], long.rates_list(),
            decode(model, simulated),
        ),
    }  # fmt: skip
    last = window(long.latents_list(), TIMES - 1, TIMES)
    save_picture(uri, "latents_last_sixteenth", latents(real, last, long.bin_width_s))
    found = {}
    for kind, (known, held_out, short, sampled, long_real) in kinds.items():
        sets = {"real": held_out, "usual": short}
        for name, number in WINDOWS.items():
            sets[name] = window(sampled, number, TIMES)
            if long_real:
                sets[f"real_{name}"] = window(long_real, number, TIMES)
        found[kind] = {name: departure(known, traces) for name, traces in sets.items()}
        if kind == "latents":
            for name, traces in sets.items():
                found[kind][name]["nearest"] = nearest(known, traces)
    return found


def _metrics(
    summary: dict[str, Any], found: dict[str, Any], agreed: dict[str, Any], stays: dict[str, Any]
) -> dict[str, float | None]:
    last = stays["latents"]["last"]
    return {
        **evaluation_metrics(summary),
        "recovery/latents_r2": found["latents"],
        "recovery/rates_r2": found["rates"],
        **{f"r/{name}": agreed["sampled"][name] for name in STATISTICS},
        **{f"r_ceiling/{name}": agreed["ceiling"][name] for name in STATISTICS},
        **{
            f"long/latents_{name}": last[name]
            for name in ("sd_ratio", "ks", "out_of_range", "nearest")
        },
    }


def _agreement_table(agreed: dict[str, Any]) -> Table:
    rows = [
        [label, text(agreed["sampled"][name], ".4f"), text(agreed["ceiling"][name], ".4f"), text(PUBLISHED.get(name), ".4f")]
        for name, label in STATISTICS.items()
    ]  # fmt: skip
    return Table(
        f"Pearson's r between real and sampled, {agreed['n_trials']} trials each, and between real and as many other "
        "real trials (the ceiling); medians over random subsets.",
        ["r over units, pairs, counts", "sampled", "real (ceiling)", "paper"],
        rows,
    )


def _departure_table(stays: dict[str, Any]) -> Table:
    names = {
        "real": "test trials", "usual": "samples of the usual length",
        "first": "long samples, first sixteenth", "last": "long samples, last sixteenth",
        "real_first": "long real trials, first sixteenth", "real_last": "long real trials, last sixteenth",
    }  # fmt: skip
    rows = [
        [
            f"{kind}, {told}", f"{x['sd_ratio']:.2f} ({x['sd_ratio_low']:.2f}–{x['sd_ratio_high']:.2f})",
            f"{x['mean_shift']:.2f}", f"{x['ks']:.3f}", f"{x['out_of_range']:.2%}",
            f"{x['nearest']:.3f}" if "nearest" in x else NONE,
        ]
        for kind in ("latents", "rates")
        for name, told in names.items() if name in stays[kind]
        for x in [stays[kind][name]]
    ]  # fmt: skip
    return Table(
        f"{LONG_TRIALS} samples of {TIMES} times the length: is their end where the training trials are? Medians over "
        "channels of the sd over that in training (smallest to largest), root mean square shift of the means in sd, mean "
        f"Kolmogorov-Smirnov distance, share of values beyond all of training (at most {MAX_TRAINING} trials of it), and "
        f"the distance (sd) of {BINS} bins to the nearest {BINS} bins of training. Long real trials are new ones of the "
        "simulation, encoded.",
        ["", "sd ratio", "shift (sd)", "KS", "out of range", "nearest"],
        rows,
    )
