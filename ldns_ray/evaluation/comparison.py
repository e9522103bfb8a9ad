"""How real sampled spikes are: every candidate beside the noise floor, with intervals over trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldns_ray.evaluation.catalogue import METRICS, SCORED
from ldns_ray.evaluation.recording import PooledRecording, yardstick
from ldns_ray.evaluation.resampling import halvings, interval, measured, measured_resamples
from ldns_ray.evaluation.rows import Interval, Kind, Measured, Row
from ldns_ray.evaluation.score import check_sets, score_of
from ldns_ray.evaluation.statistics import Floats, Spikes, summarise
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
    rows: list[Row] = []
    first_scores_Q: Floats | None = None
    for name, candidate in candidates.items():
        fake = summarise(candidate.spikes)
        check_sets(real.n_trials, real.n_units, fake.n_units)
        with_latents = reference.latents is not None and candidate.latents is not None
        a = rod.of(real, reference.latents if with_latents else None)
        b = rod.of(fake, candidate.latents if with_latents else None)
        names = [n for n in METRICS if with_latents or n != "latent_spectrum"]

        def distances(x: PooledRecording, y: PooledRecording) -> list[float]:
            return list(rod.distances(x, y).values())

        drawn = halvings(a.n_trials, b.n_trials, seed, n_splits)
        distances_IM, floors_IM = measured(a, b, distances, drawn)
        score = float(score_of(distances_IM, floors_IM))
        scores_Q = None
        resampled = None
        if n_resamples:
            resampled = measured_resamples(a, b, distances, seed, n_resamples)
            scores_Q = score_of(*resampled)
        relative, relative_interval = None, None
        if rows:
            relative = score / rows[0].score
            if scores_Q is not None and first_scores_Q is not None:
                relative_interval = interval(relative, scores_Q / first_scores_Q)
        else:
            first_scores_Q = scores_Q
        rows.append(
            Row(
                name=name,
                n_trials=b.n_trials,
                score=score,
                score_interval=None if scores_Q is None else interval(score, scores_Q),
                metrics=_measured(names, distances_IM, floors_IM, resampled),
                n_silent=int(np.sum(_silent(real.spikes_SN, fake.spikes_SN))),
                kind=candidate.kind,
                relative_score=relative,
                relative_interval=relative_interval,
            )
        )
    return rows


def _measured(
    names: Sequence[str],
    distances_IM: Floats,
    floors_IM: Floats,
    resampled: tuple[Floats, Floats] | None,
) -> dict[str, Measured]:
    """Medians over halvings, metric by metric."""
    result = {}
    for m, name in enumerate(names):
        distance, floor = (float(np.median(x_IM[:, m])) for x_IM in (distances_IM, floors_IM))
        ratio = float(np.median(distances_IM[:, m] / floors_IM[:, m]))
        of_distance, of_ratio = None, None
        if resampled is not None:
            distances_QI, floors_QI = (x_QIM[..., m] for x_QIM in resampled)
            of_distance = interval(distance, np.median(distances_QI, 1))
            of_ratio = interval(ratio, np.median(distances_QI / floors_QI, 1))
        result[name] = Measured(distance, floor, ratio, of_distance, of_ratio)
    return result


def _silent(real_SN: Floats, sampled_SN: Floats) -> np.ndarray:
    """(N,) units that spike in the real trials and never in the sampled ones."""
    return (real_SN.sum(0) > 0) & (sampled_SN.sum(0) == 0)


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as a table for a terminal, each distance of the score with its floor."""
    table = [["", "score", *(metric.label for metric in SCORED), "silent units"]]
    for row in rows:
        measured = [row.metrics[metric.name] for metric in SCORED]
        cells = [f"{x.distance:.4f} (floor {x.floor:.4f})" for x in measured]
        table.append(
            [row.name, _with_interval(row.score, row.score_interval), *cells, str(row.n_silent)]
        )
    return format_table(table)


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.2f}" + ("" if interval is None else f" ({interval[0]:.2f}–{interval[1]:.2f})")


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
