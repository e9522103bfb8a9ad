"""What was found, as tables of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ldns_ray.evaluation.catalogue import METRICS, SCORED
from ldns_ray.evaluation.reporting.results import rows_of
from ldns_ray.evaluation.reporting.tables import NONE, ratio_text, significant
from ldns_ray.evaluation.rows import Measured, Row
from ldns_ray.evaluation.wording import told, with_interval
from ldns_ray.reproduction.found import Table

DIGITS = 3
"""Significant digits of a distance."""


def text(x: float | None, digits: str = ".3f") -> str:
    """A number, or a dash where there is none."""
    return NONE if x is None else f"{x:{digits}}"


def of_real(ratio: float | None) -> str:
    """How much of the real trials' score it is, behind a score; nothing where even those have none."""
    return "" if ratio is None else f", {ratio:.2f} of real"


def scored_table(summary: Mapping[str, Any]) -> Table:
    """A row per candidate with its score and the four metrics of the paper, and their noise floors below."""
    rows = rows_of(summary)
    lines = [
        [row.name, _score(row), *(_measured(row.metrics[m.name]) for m in SCORED), str(row.n_silent)]
        for row in rows
    ]  # fmt: skip
    floors = [significant(rows[0].metrics[m.name].floor, DIGITS) for m in SCORED]
    half = f"{summary['split']} trials, half against half (floor)"
    return Table(
        f"Against the {summary['n_reference']} {summary['split']} trials, in halves; score: 1 is as close as the data is "
        "to itself; ×: times the floor; in brackets 95 % intervals by bootstrap over trials.",
        ["", "score", *(m.label for m in SCORED), "silent units"],
        [*lines, [half, "1", *floors, NONE]],
    )  # fmt: skip


def _score(row: Row) -> str:
    bounds = row.score_interval
    return ratio_text(row.score) + (
        "" if bounds is None else f" ({'–'.join(map(ratio_text, bounds))})"
    )


def _measured(x: Measured) -> str:
    shown = f"{significant(x.distance, DIGITS)}, ×{ratio_text(x.ratio)}"
    if x.interval is None:
        return shown
    return f"{shown} ({'–'.join(significant(bound, DIGITS) for bound in x.interval)})"


def within(summary: Mapping[str, Any], few: str, many: str) -> list[dict[str, Any]]:
    """Whether each distance of the candidate `few`, and its score, is within the interval of the candidate `many`.

    Distances from the data that are below the interval are better still, and count as within.

    `metric`, `few` and `many`, the two values, `low` and `high`, the interval, and `within`; the interval's ends and
    `within` are None where no interval was computed.
    """
    rows = {row.name: row for row in rows_of(summary)}
    a, b = rows[few], rows[many]

    def values() -> Iterator[tuple[str, float, float, tuple[float, float] | None]]:
        yield "score", a.score, b.score, b.score_interval
        for name in METRICS:
            if name in a.metrics and name in b.metrics:
                x, y = a.metrics[name], b.metrics[name]
                yield name, x.distance, y.distance, y.interval

    return [
        {
            "metric": name, "few": x, "many": y,
            "low": None if bounds is None else bounds[0], "high": None if bounds is None else bounds[1],
            "within": None if bounds is None else bool(x <= bounds[1]),
        }
        for name, x, y, bounds in values()
    ]  # fmt: skip


def n_beyond(lines: Sequence[Mapping[str, Any]]) -> int | None:
    """How many metrics of `within` lie beyond; None where no interval was computed."""
    judged = [line["within"] for line in lines]
    return None if None in judged else judged.count(False)


def within_table(title: str, few: str, many: str, lines: Sequence[Mapping[str, Any]]) -> Table:
    """What `within` says; few, many: heads of the columns."""
    rows = []
    for line in lines:
        label = "score" if line["metric"] == "score" else METRICS[line["metric"]].label
        bounds = NONE
        if line["low"] is not None:
            bounds = f"{significant(line['low'], DIGITS)}–{significant(line['high'], DIGITS)}"
        inside = NONE if line["within"] is None else "yes" if line["within"] else "no"
        rows.append(
            [label, significant(line["few"], DIGITS), significant(line["many"], DIGITS), bounds, inside]
        )  # fmt: skip
    return Table(title, ["", few, many, f"95 % interval of {many}", "within, or closer"], rows)


def likelihood_line(summary: Mapping[str, Any]) -> str:
    """What the autoencoder knows of counts that were hidden from it, beside the smoothed PSTH, in a sentence."""
    nll = summary["likelihood"]
    better = "below" if nll["nll"] < nll["nll_psth"] else "not below"
    return (
        f"Counts hidden from the autoencoder: {nll['nll']:.4f} nats per entry, {better} the smoothed PSTH's "
        f"{nll['nll_psth']:.4f}; {told(nll, 'bits_per_spike')} bits per spike over the mean rates, PSTH "
        f"{told(nll, 'bits_per_spike_psth')}."
    )


def novelty_line(summary: Mapping[str, Any]) -> str:
    """The novelty of every candidate, in a sentence."""
    said = [
        f"{name} {with_interval(x['ratio'], x['interval'], '.2f')}, near-copies {x['copied']:.1%}"
        for name, x in summary["novelty"].items()
    ]
    return f"Novelty (1: as new as held-out trials, 0: training trials again): {'; '.join(said)}."
