"""How real sampled spikes are: every candidate beside the noise floor, with intervals over trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldns_ray.evaluation.catalogue import METRICS, SCORED
from ldns_ray.evaluation.measurement import Estimate, Measurement, measured
from ldns_ray.evaluation.recording import yardstick
from ldns_ray.evaluation.resampling import common_size
from ldns_ray.evaluation.rows import Kind, Measured, Row
from ldns_ray.evaluation.score import check_sets, score_of
from ldns_ray.evaluation.statistics import Floats, Spikes, summarise
from ldns_ray.evaluation.wording import with_interval
from ldns_ray.text_table import format_table


@dataclass(frozen=True)
class Candidate:
    """Trials to compare: spikes, (S, T, N) or (T_i, N) each, and latents, (T_i, D) each, where there are some."""

    spikes: Spikes
    latents: Sequence[np.ndarray] | None = None
    kind: Kind = "sampled"


def compare_candidates(
    reference: Candidate,
    candidates: Mapping[str, Candidate],
    bin_width_s: float,
    *,
    seed: int = 0,
    n_splits: int = 20,
    n_resamples: int = 0,
) -> list[Row]:
    """One row per candidate, in order, each with all of `catalogue.METRICS` that it can have.

    Args:
        reference: real trials, at least 2.
        candidates: by name; latents count only where they are those of the reference's autoencoder.
        seed: keys the halvings of the reference and the resamples; all candidates see the same.
        n_splits: random halvings, of which medians are taken.
        n_resamples: bootstrap resamples of both sets of trials for the intervals; 0 for none.
    """
    real = summarise(reference.spikes)
    rod = yardstick(real, bin_width_s, [c.spikes for c in candidates.values()])
    recordings = []
    for candidate in candidates.values():
        trials = summarise(candidate.spikes)
        check_sets(real.n_trials, real.n_units, trials.n_units)
        latents = None if reference.latents is None else candidate.latents
        recordings.append(rod.of(trials, latents))
    measurements = measured(
        rod.of(real, reference.latents), recordings, rod.distances,
        seed=seed, n_splits=n_splits, n_resamples=n_resamples,
    )  # fmt: skip
    rows: list[Row] = []
    first: Estimate | None = None
    for (name, candidate), recording, found in zip(
        candidates.items(), recordings, measurements, strict=True
    ):
        score, size = found.estimate(score_of), common_size(real.n_trials, recording.n_trials)
        relative = score.over(first) if first and size == rows[0].size else None
        first = first or score
        rows.append(
            Row(
                name=name,
                n_trials=recording.n_trials,
                score=score.value,
                score_interval=score.interval,
                metrics={metric: _medians(found, metric) for metric in found.distances},
                n_silent=int(np.sum(_silent(real.spikes_SN, recording.spikes.spikes_SN))),
                kind=candidate.kind,
                relative_score=None if relative is None else relative.value,
                relative_interval=None if relative is None else relative.interval,
                size=size,
            )
        )
    return rows


def _medians(found: Measurement, metric: str) -> Measured:
    """Over halvings."""
    distance = found.estimate(lambda m: np.asarray(np.median(m.distances[metric], axis=-1)))
    ratio = found.estimate(lambda m: np.asarray(np.median(m.ratios(metric), axis=-1)))
    floor = float(np.median(found.floors[metric]))
    return Measured(distance.value, floor, ratio.value, distance.interval, ratio.interval)


def _silent(real_SN: Floats, sampled_SN: Floats) -> np.ndarray:
    """(N,) units that spike in the real trials and never in the sampled ones."""
    return (real_SN.sum(0) > 0) & (sampled_SN.sum(0) == 0)


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as a table for a terminal, each distance of the score with its floor."""
    columns = [_with_floors([row.metrics[metric.name] for row in rows]) for metric in SCORED]
    table = [["", "score", *(metric.label for metric in SCORED), "silent units"]]
    for row, *cells in zip(rows, *columns, strict=True):
        table.append(
            [
                row.name,
                with_interval(row.score, row.score_interval, ".2f"),
                *cells,
                str(row.n_silent),
            ]
        )
    return format_table(table)


def _with_floors(column: Sequence[Measured]) -> list[str]:
    """Distances with their floors, of one metric: four decimals, or as many as show two digits of the smallest."""
    smallest = min(x for m in column for x in (m.distance, m.floor))
    decimals = max(4, 1 - math.floor(math.log10(smallest)))
    return [f"{m.distance:.{decimals}f} (floor {m.floor:.{decimals}f})" for m in column]


def metric_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One line per candidate and metric: distance, floor, ratio, their intervals."""
    lines = []
    for row in rows:
        for name, x in row.metrics.items():
            low, high = x.ratio_interval or (None, None)
            lines.append(
                {
                    "candidate": row.name, "score": row.score, "metric": METRICS[name].label, "distance": x.distance,
                    "floor": x.floor, "ratio": x.ratio, "ratio, low": low, "ratio, high": high,
                }
            )  # fmt: skip
    return lines
