"""Speech: trials of all lengths, sampled with the length that was asked for, also lengths that no trial had.

Kapoor, Schulz et al. 2024, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.conditions import TrialConditions
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.reporting.tables import significant
from ldns_ray.logged import evaluation_metrics
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.departure import departure, window
from ldns_ray.reproduction.found import Found, Table
from ldns_ray.reproduction.lengths import beside, of_lengths, terciles
from ldns_ray.reproduction.maker import (
    Maker,
    picture,
    pictures_of,
    report_of,
    save_picture,
)
from ldns_ray.reproduction.pictures import rates_by_length
from ldns_ray.reproduction.request import Request
from ldns_ray.reproduction.simulations import real_of_length
from ldns_ray.reproduction.wording import NONE, likelihood_line, novelty_line, scored_table

N_UNSEEN = 64
"""Samples of each length that no training trial had."""
HEADS = (
    "trials", "real (Hz)", "sampled (Hz)", "KL population count (floor)", "RMSE correlations (floor)",
    "RMSE mean ISI (s; floor)",
)  # fmt: skip
"""Columns of what `beside` says."""


def check(pipeline: Pipeline, request: Request) -> None:
    """Raise ValueError for a model that needs more than lengths, and for trials that all have the same."""
    d, card = pipeline.experiment.diffusion, pipeline.card
    if d.covariates or set(d.conditions) - {LENGTH}:
        raise ValueError(
            "diffusion.conditions must be length or nothing, and diffusion.covariates nothing, got "
            f"{','.join((*d.conditions, *d.covariates))}."
        )
    if card.min_bins == card.max_bins:
        raise ValueError(
            f"{pipeline.data_uri} must have trials of several lengths, got {card.min_bins} bins in all. Use reach."
        )


def make(maker: Maker, request: Request) -> Found:
    """Train, sample, compare by length; sample lengths that no training trial had."""
    pipeline = maker.trained(request.experiment, request.data_uri, request.result)
    e, prints = request.experiment.evaluation, pipeline.fingerprints
    record = pipeline.record("evaluation")
    assert record is not None
    summary = record["summary"]
    by_length = maker.step(
        "statistics by length", prints["samples"], e.split, e.seed, work=lambda _: _by_length(pipeline)
    ).summary  # fmt: skip
    unseen = {
        n_bins: maker.sampled(pipeline, f"{n_bins} bins", N_UNSEEN, TrialConditions(np.full(N_UNSEEN, n_bins), {}, {}))
        for n_bins in unseen_lengths(pipeline)
    }  # fmt: skip
    checked = maker.step(
        "lengths never seen", prints["latents"], prints["samples"], e.split, e.seed, request.experiment.dataset,
        {n: read_card(uri).fingerprint for n, uri in unseen.items()},
        work=lambda uri: _unseen(pipeline, unseen, uri),
    )  # fmt: skip
    metrics = {
        f"{third['bins']} bins/{name}": third["found"] and third["found"][name]
        for third in by_length["thirds"] for name in ("kl_psc", "kl_psc_floor")
    }  # fmt: skip
    metrics |= {f"{n} bins never seen/kl_psc": x["beside"] and x["beside"]["kl_psc"] for n, x in checked.summary.items()}  # fmt: skip
    evaluation = pipeline.uri("evaluation")
    return Found(
        numbers={"evaluation": summary, "by_length": by_length, "unseen": checked.summary},
        metrics=evaluation_metrics(summary) | metrics,
        tables=[scored_table(summary), _lengths_table(by_length), _unseen_table(checked.summary)],
        lines=[likelihood_line(summary), novelty_line(summary)],
        pictures=pictures_of(evaluation, summary) | picture(checked.uri, "rates_by_length"),
        report=report_of(evaluation),
        places={"Model": pipeline.model_uri, "Samples": pipeline.samples_uri}
        | {f"{n} bins": uri for n, uri in unseen.items()},
    )


def unseen_lengths(pipeline: Pipeline) -> tuple[int, int]:
    """Half the shortest and twice the longest trial of the dataset, in bins."""
    return max(1, pipeline.card.min_bins // 2), 2 * pipeline.card.max_bins


def _by_length(pipeline: Pipeline) -> dict[str, Any]:
    e = pipeline.experiment.evaluation
    real, train = (load_trialset(pipeline.data_uri, name, []) for name in (e.split, "train"))
    sampled = load_trialset(pipeline.samples_uri, None, [])
    sets = [trials.spikes_list() for trials in (real, train, sampled)]
    return {
        "thirds": [
            {
                "bins": f"{low}-{high}",
                "found": beside(
                    *(of_lengths(x, low, high) for x in sets), bin_width_s=real.bin_width_s, seed=e.seed
                ),
            }
            for low, high in terciles(train.n_bins_S)
        ]
    }  # fmt: skip


def _unseen(pipeline: Pipeline, unseen: dict[int, str], uri: str) -> dict[str, Any]:
    """By length: `beside` real trials of that length where they can be simulated, else beside those of all lengths.

    `like`: which of both. `n_bins`: whether all samples have the length. `latents`: the `departure` from the training
    latents of the second half of the samples.
    """
    e = pipeline.experiment.evaluation
    train = pipeline.latent_trials("train", ["latents"])
    real = load_trialset(pipeline.data_uri, e.split, [])
    typical = load_trialset(pipeline.samples_uri, None, [])
    found, drawn = {}, {}
    for n_bins, where in unseen.items():
        sampled = load_trialset(where, None, ["latents"])
        drawn[n_bins] = sampled.spikes_list()
        simulated = real_of_length(pipeline.experiment.dataset, pipeline.card, n_bins, 2 * len(sampled))  # fmt: skip
        of_length: tuple[Sequence[np.ndarray], Sequence[np.ndarray]]
        of_length = (simulated[::2], simulated[1::2]) if simulated else (real.spikes_list(), train.spikes_list())  # fmt: skip
        halves = window(sampled.latents_list(), 1, 2) if n_bins > 1 else sampled.latents_list()
        found[str(n_bins)] = {
            "like": f"{len(of_length[0])} real trials of that length" if simulated else f"{e.split} trials of all lengths",
            "n_bins": bool((sampled.n_bins_S == n_bins).all()),
            "beside": beside(*of_length, drawn[n_bins], bin_width_s=real.bin_width_s, seed=e.seed),
            "latents": departure(train.latents_list(), halves),
        }  # fmt: skip
    save_picture(uri, "rates_by_length", _picture(train, typical, drawn))
    return found


def _picture(train: TrialSet, sampled: TrialSet, unseen: dict[int, list[np.ndarray]]) -> Any:
    new = [x for trials in unseen.values() for x in trials]
    return rates_by_length(train.spikes_list(), sampled.spikes_list(), new, train.bin_width_s)


def _cells(x: dict[str, Any] | None) -> list[str]:
    if x is None:
        return [NONE] * len(HEADS)
    distances = [
        f"{significant(x[name], 2)} ({significant(x[f'{name}_floor'], 2)})"
        for name in ("kl_psc", "rmse_corr", "rmse_mean_isi")
    ]
    rates = [f"{x[f'rate_{side}']:.2f}" for side in ("real", "sampled")]
    return [str(x["n_trials"]), *rates, *distances]


def _lengths_table(by_length: dict[str, Any]) -> Table:
    return Table(
        "By length, thirds of the training trials: mean rates, and distances of samples to the held-out trials of that "
        "length, beside those of as many training trials.",
        ["bins", *HEADS],
        [[third["bins"].replace("-", "–"), *_cells(third["found"])] for third in by_length["thirds"]],
    )  # fmt: skip


def _unseen_table(unseen: dict[str, Any]) -> Table:
    rows = [
        [
            n_bins, x["like"], *_cells(x["beside"]), f"{x['latents']['sd_ratio']:.2f}",
            f"{x['latents']['out_of_range']:.2%}",
        ]
        for n_bins, x in unseen.items()
    ]  # fmt: skip
    return Table(
        f"{N_UNSEEN} samples of each of two lengths that no trial had, half the shortest and twice the longest; the "
        "latents of their second half beside those of training: sd ratio, share of values beyond all of training.",
        ["bins", "beside", *HEADS, "latents' sd", "out of range"],
        rows,
    )
