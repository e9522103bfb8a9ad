"""What an evaluation leaves: a summary of JSON values, pictures, a table of units, and a report of it all."""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from ldns_ray import __version__, storage
from ldns_ray.config import Evaluation
from ldns_ray.data.card import Card
from ldns_ray.evaluation.assessment import Assessment
from ldns_ray.evaluation.comparison import format_rows
from ldns_ray.evaluation.decoding.conditional import (
    Conditional,
    conditional_rows,
    format_conditional,
)
from ldns_ray.evaluation.plots import style
from ldns_ray.evaluation.plots.captions import caption
from ldns_ray.evaluation.reporting.report import Report, render
from ldns_ray.evaluation.rows import Row
from ldns_ray.evaluation.units import unit_table
from ldns_ray.evaluation.wording import told, with_interval
from ldns_ray.revision import commit

REPORT, UNITS, PLOTS = "report.html", "units.parquet", "plots"
"""Files, and the folder of pictures, that `write_results` makes."""


@dataclass(frozen=True)
class Results:
    """What was found, and how it looks."""

    summary: dict[str, Any]
    """JSON values: `score` and `rows` (`Row.to_dict`), the judged candidate first; `split` and `n_reference`;
    `novelty` and `conditional` by candidate; `likelihood` or None; `warnings`; `plots`, names of the figures."""
    figures: dict[str, Figure]
    units: dict[str, list[Any]]
    """`units.unit_table` of the reference, the candidates and the baselines."""


def results(
    assessment: Assessment,
    figures: Mapping[str, Figure],
    decoded: Mapping[str, Conditional],
    settings: Evaluation,
    n_reference: int,
    unit_names: Sequence[str],
    *,
    likelihood: Mapping[str, Any] | None = None,
) -> Results:
    """Put together what was found. decoded: by candidate; those that are empty are left out."""
    rows = assessment.rows
    summary = {
        "score": rows[0].score,
        "rows": [row.to_dict() for row in rows],
        "split": settings.split,
        "n_reference": n_reference,
        "novelty": {
            name: {**x.to_dict(), "in": assessment.novelty_in}
            for name, x in assessment.novelty.items()
        },
        "conditional": {name: x.summary(seed=settings.seed) for name, x in decoded.items() if x},
        "likelihood": None if likelihood is None else dict(likelihood),
        "warnings": list(assessment.warnings),
        "plots": list(figures),
    }
    return Results(summary, dict(figures), unit_table(assessment.units, unit_names))


@dataclass(frozen=True)
class Origin:
    """Where what was evaluated comes from, for the report."""

    title: str
    cards: Mapping[str, tuple[Card, str]]
    """By role, such as "real": a dataset's card, and its URI. The first is that of the reference trials."""
    command: str
    """Makes the same evaluation again."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    changed: Collection[str] = ()
    """Settings that differ from those of the named experiment."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What else is known of it; code and date of the evaluation are added."""


def write_results(uri: str, found: Results, origin: Origin) -> None:
    """Write report, pictures and the table of units under `uri`."""
    pngs = {name: style.png(figure) for name, figure in found.figures.items()}
    for name, content in pngs.items():
        storage.write_bytes(storage.join(uri, PLOTS, f"{name}.png"), content)
    buffer = io.BytesIO()
    pq.write_table(pa.table(found.units), buffer)
    storage.write_bytes(storage.join(uri, UNITS), buffer.getvalue())
    text = render(_report(found.summary, pngs, origin))
    storage.write_bytes(storage.join(uri, REPORT), text.encode())


def _report(summary: Mapping[str, Any], pngs: Mapping[str, bytes], origin: Origin) -> Report:
    card, _ = next(iter(origin.cards.values()))
    return Report(
        title=origin.title,
        rows=rows_of(summary),
        reference=f"{summary['n_reference']} {summary['split']} trials of {card.name}, {card.n_units} units, "
        f"{1e3 * card.bin_width_s:g} ms bins",
        warnings=summary["warnings"],
        figures=pngs,
        captions={name: caption(name) for name in pngs},
        tables=_tables(summary),
        datasets={role: card for role, (card, _) in origin.cards.items()},
        dataset_uris={role: uri for role, (_, uri) in origin.cards.items()},
        settings=origin.settings,
        changed=origin.changed,
        command=origin.command,
        provenance={
            **origin.provenance,
            "code": f"ldns_ray {__version__}, commit {commit() or 'unknown'}",
            "evaluated": time.strftime("%Y-%m-%d %H:%M"),
        },
    )


def rows_of(summary: Mapping[str, Any]) -> list[Row]:
    """The rows of a summary, also of one that was read from a file."""
    return [Row.from_dict(row) for row in summary["rows"]]


def format_summary(summary: Mapping[str, Any]) -> str:
    """What was found, for a terminal."""
    lines = [
        f"Sampled spikes beside the {summary['split']} split (score: 1 is as close as the data is to itself)",
        format_rows(rows_of(summary)),
        "",
    ]
    nll = summary["likelihood"]
    if nll is not None:
        lines.append(
            f"Autoencoder, counts it did not see: {nll['nll']:.4f} nats per entry (mean rates {nll['nll_mean_rate']:.4f}, "
            f"PSTH {nll['nll_psth']:.4f}); {told(nll, 'bits_per_spike')} bits per spike, PSTH "
            f"{told(nll, 'bits_per_spike_psth')}"
        )
    for name, x in summary["novelty"].items():
        lines.append(
            f"{name}: novelty {with_interval(x['ratio'], x['interval'], '.2f')} in {x['in']} (1: as new "
            f"as held-out trials, 0: training trials again), near-copies {x['copied']:.1%}"
        )
    lines += [f"{name}: {format_conditional(x)}" for name, x in summary["conditional"].items()]
    lines += [f"Warning: {text}" for text in summary["warnings"]]
    return "\n".join(lines).rstrip()


def _tables(summary: Mapping[str, Any]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Further tables of the report: what is known besides the metrics."""
    tables: dict[str, Sequence[Mapping[str, Any]]] = {}
    nll = summary["likelihood"]
    if nll is not None:
        tables["Counts hidden from the autoencoder"] = [
            {"Rates": "autoencoder", "Nats per count": f"{nll['nll']:.4f}", "Bits per spike": told(nll, "bits_per_spike")},
            {"Rates": "smoothed PSTH", "Nats per count": f"{nll['nll_psth']:.4f}", "Bits per spike": told(nll, "bits_per_spike_psth")},
            {"Rates": "mean rates", "Nats per count": f"{nll['nll_mean_rate']:.4f}", "Bits per spike": "0"},
        ]  # fmt: skip
    if summary["novelty"]:
        tables["Novelty"] = [
            {
                "Trials": name,
                "Distance to the nearest training trial, over that of held-out trials": with_interval(x["ratio"], x["interval"]),
                "Near-copies of training trials": f"{x['copied']:.1%}", "Measured in": x["in"],
            }
            for name, x in summary["novelty"].items()
        ]  # fmt: skip
    for name, x in summary["conditional"].items():
        tables[f"Conditions decoded from {name}"] = conditional_rows(x)
    return tables
