"""What a report says in words: the verdict, what is in a cell, and what the numbers mean."""

from __future__ import annotations

from collections.abc import Sequence

from ldns_ray.evaluation.catalogue import METRICS, SCORED
from ldns_ray.evaluation.metrics import TELLING_INTERVALS
from ldns_ray.evaluation.reporting.html import Html, element
from ldns_ray.evaluation.reporting.tables import (
    LEVELS,
    further_metrics,
    interval_text,
    level,
    ratio_text,
)
from ldns_ray.evaluation.rows import Row, rivals

TERMS = (
    (
        "Distance",
        "How far sampled trials are from one half of the reference trials; 0 where they agree. The reference is "
        "halved at random many times, and the median is told.",
    ),
    (
        "Floor",
        "The same distance from as many trials of the other half. That much the data differs from itself by chance, "
        "and the more, the fewer trials there are.",
    ),
    (
        "Ratio",
        "Distance over floor: 1 is as close as the data is to itself, 2 is twice as far.",
    ),
    (
        "Score",
        f"Geometric mean of the ratios of {', '.join(m.title for m in SCORED)}. Lower is better, down to 1. Samples "
        "score below 1 by chance, or because they vary less than the data or repeat it.",
    ),
    (
        "95 % interval",
        "By bootstrap over trials: where the number would mostly lie if other trials had been recorded and sampled.",
    ),
    (
        "Silent units",
        "Units that spike in the reference and never in the samples. In the score, those with "
        f"{TELLING_INTERVALS} inter-spike intervals or more in a half of the reference count with the largest error "
        "that an interval can have.",
    ),
)


def verdict(rows: Sequence[Row]) -> Html:
    """The score of the first row, in words."""
    first, others = rows[0], rows[1:]
    score = element("p", ratio_text(first.score), class_=f"hero {level(first.score)}", aria_hidden="true")  # fmt: skip
    said = [_of_score(first), _of_worst(first), _of_silence(first), _of_others(first, rivals(rows))]
    said += [
        f"{row.name}, which are real, score {ratio_text(row.score)}."
        for row in others
        if row.kind == "real"
    ]
    words = element("p", element("strong", first.name, "."), " ", " ".join(filter(None, said)))
    return element("div", score, words, class_="verdict")


def legend() -> Html:
    """What a cell of the tables of metrics holds, and what its shade means."""
    bounds = [*(f"up to {bound:g}" for bound in LEVELS), "above"]
    return element(
        "p",
        "In a cell: ",
        element("b", "ratio"),
        " of distance to floor, the distance, and the floor, which is the distance of as many other real trials; "
        "behind ratio and distance their 95 % intervals (– where none was computed). Shaded by ratio: ",
        [element("span", text, class_=f"shade level-{i}") for i, text in enumerate(bounds)],
        class_="legend",
    )


def how_to_read(rows: Sequence[Row]) -> Html:
    """The terms, and the metrics that there are."""
    told = [*SCORED, *(m for m in further_metrics(rows) if m.name in METRICS)]
    terms = [*TERMS, *((metric.label, metric.meaning) for metric in told)]
    entries = [
        element("div", element("dt", term), element("dd", meaning)) for term, meaning in terms
    ]
    return element("dl", entries)


def _of_score(row: Row) -> str:
    known = row.score_interval
    interval = f"95 % interval {interval_text(known)}" if known else "no interval was computed"
    said = f"Score {ratio_text(row.score)} ({interval}): 1 is as close as the data is to itself, larger is farther."
    if known and known[1] < 1:
        said += " Closer than the data is to itself: see whether samples repeat trials or vary too little."
    elif known and known[0] <= 1:
        said += (
            " The interval includes 1: by this score, so many samples cannot be told from the data."
        )
    return said


def _of_worst(row: Row) -> str:
    metrics = [(row.metrics[m.name].ratio, m.title) for m in SCORED if m.name in row.metrics]
    ratio, title = max(metrics, default=(0.0, ""))
    return f"Worst is {title}, {ratio_text(ratio)} times its floor." if ratio > LEVELS[0] else ""


def _of_silence(row: Row) -> str:
    if row.n_silent == 0:
        return ""
    units = "unit of the reference is" if row.n_silent == 1 else "units of the reference are"
    return f"{row.n_silent} {units} silent in the samples."


def _of_others(first: Row, others: Sequence[Row]) -> str:
    """The best of the other candidates, and whether its score can be told from the first one's."""
    if not others:
        return ""
    best = min(others, key=lambda row: row.score)
    which = "The other candidate" if len(others) == 1 else f"Best of the {len(others)} others"
    said = f"{which}: {best.name}, {ratio_text(best.score)}"
    if best.relative_score is None:
        return said + "."
    said += f", {ratio_text(best.relative_score)} times that of {first.name}"
    known = best.relative_interval
    if known is None:
        return said + "."
    told = "which may be chance" if known[0] <= 1 <= known[1] else "which is more than chance"
    return f"{said} (95 % interval {interval_text(known)}, {told})."
