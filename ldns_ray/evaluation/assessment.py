"""How real sets of sampled trials are: every metric beside its floor and the baselines, novelty, statistics of units."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ldns_ray.config import Evaluation
from ldns_ray.data.batches import TrialSet
from ldns_ray.evaluation.baselines.factor_var import fit_factor_var, sample_factor_var
from ldns_ray.evaluation.baselines.psth import psth, sample_psth
from ldns_ray.evaluation.comparison import Candidate, compare_candidates
from ldns_ray.evaluation.decoding.conditional import smoothed_counts
from ldns_ray.evaluation.labels import split_labels
from ldns_ray.evaluation.novelty import Novelty, novelty
from ldns_ray.evaluation.rows import Row
from ldns_ray.evaluation.units import unit_statistics

FEW_TRIALS = 20
"""With fewer reference trials, halves and intervals say little."""
TELLING_BINS = 20
"""Trials in which units spike in so many bins are not equal by chance; those without a spike are."""
PSTH, FACTORS = BASELINES = ("PSTH + Poisson", "FA + VAR + Poisson")
"""Names of the baselines' rows."""
REAL, TRAINING = "real", "Training trials"
"""Names of the reference trials in the table of units, and of the row of the training trials: what a perfect model
would score, or one that only repeats them."""


@dataclass(frozen=True)
class Assessment:
    """What was found of each candidate, and of the baselines beside them."""

    rows: list[Row]
    """The candidates in their order, then the baselines, then the training trials."""
    baselines: dict[str, list[np.ndarray]]
    """The spikes of each baseline, (T_i, N)."""
    novelty: dict[str, Novelty]
    """By candidate; empty without training trials."""
    novelty_in: str
    """What trials were compared in: latents, or smoothed counts where there are none."""
    units: dict[str, dict[str, np.ndarray]]
    """`unit_statistics` of the reference, `REAL`, the candidates and the baselines."""
    warnings: list[str]


def assess(
    train: TrialSet | None,
    reference: TrialSet,
    candidates: Mapping[str, TrialSet],
    settings: Evaluation,
) -> Assessment:
    """Compare candidates with the reference trials.

    Args:
        train: trials that the candidates were made from; baselines and novelty need them.
        reference: trials that no candidate has seen. Where it, `train` and a candidate carry latents, these must be of
            one autoencoder.
        candidates: sampled trials by name. The first decides how many trials the baselines sample.
    """
    spikes = {name: trials.spikes_list() for name, trials in candidates.items()}
    baselines: dict[str, list[np.ndarray]] = {}
    warnings = _of_sizes(reference, candidates)
    if train is not None:
        n = len(next(iter(spikes.values())))
        labels, _ = split_labels(train, reference, settings.label)
        baselines, left_out = sample_baselines(train, labels, n, seed=settings.seed)
        warnings += left_out
    sets = {name: Candidate(x, _latents(candidates[name])) for name, x in spikes.items()}
    sets |= {name: Candidate(x, kind="baseline") for name, x in baselines.items()}
    if train is not None:
        sets[TRAINING] = Candidate(train.spikes_list(), _latents(train), kind="real")
    real = reference.spikes_list()
    rows = compare_candidates(
        Candidate(real, _latents(reference)), sets,
        reference.bin_width_s, seed=settings.seed, n_splits=settings.n_splits, n_resamples=settings.n_resamples,
    )  # fmt: skip
    found, measured_in = _novelties(train, reference, candidates, settings.seed)
    warnings += [said for name, x in spikes.items() for said in _of_reference(name, x, real)]
    warnings += [_silent(row) for row in rows[: len(candidates)] if row.n_silent]
    warnings += [_replayed(name, x, measured_in) for name, x in found.items() if x.replayed]
    statistics = {
        name: unit_statistics(x, reference.bin_width_s)
        for name, x in {REAL: real, **spikes, **baselines}.items()
    }
    return Assessment(rows, baselines, found, measured_in, statistics, warnings)


def sample_baselines(
    train: TrialSet, labels: np.ndarray | None, n: int, *, seed: int
) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """Spikes of `n` trials of each baseline made from the training trials, and which could not be made, and why."""
    spikes, width = train.spikes_list(), train.bin_width_s
    result = {PSTH: _small(sample_psth(psth(spikes, labels, bin_width_s=width), n, seed=seed)[0])}
    try:
        model = fit_factor_var(spikes, bin_width_s=width, seed=seed)
    except ValueError as e:  # too little data for it: no reason to have no evaluation
        return result, [f"{FACTORS} is left out: {e}"]
    result[FACTORS] = _small(sample_factor_var(model, n, seed=seed)[0])
    return result, []


def _small(trials: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Counts in as few bytes as hold them: there may be hundreds of millions."""
    kind = np.min_scalar_type(max(int(spikes_TN.max()) for spikes_TN in trials))
    return [spikes_TN.astype(kind) for spikes_TN in trials]


def _latents(trials: TrialSet) -> list[np.ndarray] | None:
    return None if trials.latents is None else trials.latents_list()


def _novelties(
    train: TrialSet | None, reference: TrialSet, candidates: Mapping[str, TrialSet], seed: int
) -> tuple[dict[str, Novelty], str]:
    if train is None:
        return {}, ""
    sets = (train, reference, *candidates.values())
    latents = [_latents(trials) for trials in sets]
    if all(z is not None for z in latents):
        traces, measured_in = [z for z in latents if z is not None], "latents"
    else:
        traces, measured_in = [smoothed_counts(trials) for trials in sets], "smoothed counts"
    known, held_out, *sampled = traces
    return {
        name: novelty(known, held_out, x, seed=seed)
        for name, x in zip(candidates, sampled, strict=True)
    }, measured_in


def _of_sizes(reference: TrialSet, candidates: Mapping[str, TrialSet]) -> list[str]:
    said = []
    if len(reference) < FEW_TRIALS:
        said.append(
            f"Only {len(reference)} reference trials: floors and intervals are rough. Take a larger reference split."
        )
    for name, trials in candidates.items():
        if len(trials) < len(reference) // 2:
            said.append(
                f"{name} has {len(trials)} trials, fewer than half the reference's {len(reference)}: it is compared "
                "at that size, where scores are nearer to 1 than at a larger one. Sample more."
            )
    return said


def _of_reference(
    name: str, sampled: Sequence[np.ndarray], reference: Sequence[np.ndarray]
) -> list[str]:
    """Trials of a candidate that are trials of the reference itself."""
    known = set(map(_content, filter(_tells, reference)))
    n = sum(_content(trial) in known for trial in sampled if _tells(trial))
    if not n:
        return []
    return [
        f"{n} of {len(sampled)} trials of {name} are reference trials, spike for spike: its score means nothing. "
        "Compare trials that are not among those it is compared with."
    ]


def _tells(spikes_TN: np.ndarray) -> bool:
    return bool(np.count_nonzero(spikes_TN) >= TELLING_BINS)


def _content(spikes_TN: np.ndarray) -> bytes:
    """The same for equal trials of the same units, whatever the type of their counts."""
    return hashlib.blake2b(spikes_TN.astype(np.uint32).tobytes(), digest_size=16).digest()


def _silent(row: Row) -> str:
    return (
        f"{row.name}: {row.n_silent} units that spike in the reference never spike in the samples."
    )


def _replayed(name: str, found: Novelty, measured_in: str) -> str:
    return (
        f"{name} replays training trials: novelty {found.ratio:.2f} (1: as new as held-out trials), {found.copied:.0%} of "
        f"its trials are near-copies of training trials, in {measured_in}."
    )
