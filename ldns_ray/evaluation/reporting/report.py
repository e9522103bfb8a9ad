"""An evaluation as one HTML page that needs no other file and no network: it can be mailed, printed and kept."""

from __future__ import annotations

import base64
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldns_ray.data.card import Card
from ldns_ray.evaluation.reporting.html import Content, Html, anchors, element, facts
from ldns_ray.evaluation.reporting.page import page
from ldns_ray.evaluation.reporting.tables import (
    check_finite,
    further_table,
    record_table,
    scored_table,
    setting_table,
)
from ldns_ray.evaluation.reporting.words import how_to_read, legend, verdict
from ldns_ray.evaluation.rows import Row
from ldns_ray.settings import did_you_mean

OVERVIEW = "overview"
"""The picture that stands among the results; all others come after the tables."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TITLES = {"isi": "Inter-spike intervals"}
"""Of pictures whose names do not say it; the others are called by their names."""
ROLES = {"real": "Real", "sampled": "Sampled"}
"""Titles of datasets; others have the name that was given to them, letter by letter."""


@dataclass(frozen=True)
class Report:
    """What is told of an evaluation; empty parts have no section."""

    title: str
    """Such as "reach_small on PMd"."""
    rows: Sequence[Row]
    """At least one; the first is the candidate that is judged."""
    reference: str
    """What candidates are compared with: "145 test trials of pmd, 97 units, 5 ms bins"."""
    warnings: Sequence[str]
    """What makes the numbers mean less than they seem to, a sentence each."""
    figures: Mapping[str, bytes]
    """PNG files by name; `OVERVIEW` goes to the top."""
    captions: Mapping[str, str]
    """By name of a picture; missing ones have none."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    """Further tables by title, records of column → value. None is shown as a dash."""
    datasets: Mapping[str, Card]
    """By role: "real", "sampled"."""
    dataset_uris: Mapping[str, str]
    """Where they lie, by role."""
    settings: Mapping[str, Any]
    """Dotted name → value."""
    changed: Collection[str]
    """Names of the settings that differ from the named experiment's."""
    command: str
    """Of a shell, to get the same again."""
    provenance: Mapping[str, str]
    """Model, training data, version of the code, date, seed."""


def render(report: Report) -> str:
    """The page.

    Raises ValueError for a report without rows, for numbers that are not finite, for pictures that are no PNG
    files, and for changed settings that are not among the settings.
    """
    if not report.rows:
        raise ValueError("A report needs at least one row, got none. Compare a candidate first.")
    for row in report.rows:
        check_finite(row)
    sections = [(anchor, title, body) for anchor, title, body in _sections(report) if body]
    contents = element(
        "nav",
        element("ul", [element("li", element("a", title, href=f"#{anchor}")) for anchor, title, _ in sections]),
        aria_label="Contents",
    )  # fmt: skip
    main = [
        element("section", element("h2", title), body, id=anchor, aria_label=title)
        for anchor, title, body in sections
    ]  # fmt: skip
    header = element(
        "header",
        element("h1", report.title),
        element("p", "Compared with ", report.reference, class_="reference") if report.reference else None,
    )  # fmt: skip
    return page(report.title, header, contents, element("main", main))


def _sections(report: Report) -> Iterator[tuple[str, str, Content]]:
    """(anchor, title, content) in order; a section without content is left out."""
    rows, provenance, command = report.rows, report.provenance, report.command
    result = (
        verdict(rows),
        _warnings(report.warnings),
        scored_table(rows),
        legend(),
        _overview(report),
    )
    yield "result", "Result", result
    yield "further-metrics", "Further metrics", further_table(rows)
    tables = {title: records for title, records in report.tables.items() if records}
    for anchor, title in zip(anchors(tables, "table"), tables, strict=True):
        yield anchor, title, record_table(title, tables[title])
    yield "pictures", "Pictures", _pictures(report)
    yield "datasets", "Datasets", _datasets(report)
    yield "settings", "Settings", _settings(report)
    yield (
        "provenance",
        "Provenance",
        facts("Provenance", provenance.items()) if provenance else None,
    )
    yield (
        "command",
        "Command",
        element("pre", element("code", command), tabindex="0") if command else None,
    )
    yield "reading", "How to read this", how_to_read(rows)


def _warnings(warnings: Sequence[str]) -> Html | None:
    if not warnings:
        return None
    title = "Warning" if len(warnings) == 1 else "Warnings"
    return element(
        "div", element("h3", title), element("ul", [element("li", w) for w in warnings]), class_="warnings", role="note"
    )  # fmt: skip


def _overview(report: Report) -> Html | None:
    return _figure(report, OVERVIEW, OVERVIEW) if OVERVIEW in report.figures else None


def _pictures(report: Report) -> list[Html]:
    names = [name for name in report.figures if name != OVERVIEW]
    ids = anchors(names, "picture")
    return [_figure(report, name, anchor) for name, anchor in zip(names, ids, strict=True)]


def _figure(report: Report, name: str, anchor: str) -> Html:
    content, caption = report.figures[name], report.captions.get(name)
    if not content.startswith(PNG_SIGNATURE) or len(content) < 24:
        raise ValueError(
            f"Picture {name!r} must be a PNG file, got {len(content)} bytes that begin with {content[:8]!r}."
        )
    width, height = struct.unpack(">II", content[16:24])
    title = TITLES.get(name, name[:1].upper() + name[1:].replace("_", " "))
    source = Html(f"data:image/png;base64,{base64.b64encode(content).decode()}")
    return element(
        "figure",
        element("h3", element("a", title, href=f"#{anchor}")),
        element("img", src=source, width=width, height=height, alt=f"{title}, {report.title}"),
        element("figcaption", caption) if caption else None,
        id=anchor,
    )


def _datasets(report: Report) -> Html | None:
    roles = list(dict.fromkeys((*report.datasets, *report.dataset_uris)))
    if not roles:
        return None
    cards = [
        element("article", element("h3", ROLES.get(role, role)), _card(role, report)) for role in roles
    ]  # fmt: skip
    return element("div", cards, class_="cards")


def _card(role: str, report: Report) -> Content:
    card, uri = report.datasets.get(role), report.dataset_uris.get(role)
    where = [("Lies at", element("code", uri))] if uri else []
    if card is None:
        return facts(f"Dataset: {role}", where)
    splits = ", ".join(f"{name} {split['n_trials']}" for name, split in card.splits.items())
    rows: list[tuple[Content, Content]] = [
        ("Name", card.name),
        ("Trials", f"{card.n_trials} ({splits})"),
        ("Trial length", _lengths(card)),
        ("Bin width", f"{1e3 * card.bin_width_s:g} ms"),
        ("Units", card.n_units),
        *((title, _channels(x)) for title, x in (("Covariates", card.covariates), ("Conditions", card.conditions)) if x),
        ("Source", card.source or "not stated"),
        ("Citation", card.citation or "not stated"),
        ("Licence", card.licence or "not stated"),
        ("Fingerprint", element("code", card.fingerprint)),
        *where,
    ]  # fmt: skip
    return [facts(f"Dataset: {role}", rows), _warnings(card.warnings)]


def _lengths(card: Card) -> str:
    low, high = card.min_bins, card.max_bins
    if low == high:
        return f"{low} bins ({low * card.bin_width_s:.3g} s)"
    return f"{low}–{high} bins ({low * card.bin_width_s:.3g}–{high * card.bin_width_s:.3g} s)"


def _channels(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """`velocity (2, mm/s), target (1)`."""
    inner = {name: ", ".join(filter(None, (str(c["size"]), c.get("unit")))) for name, c in columns.items()}  # fmt: skip
    return ", ".join(f"{name} ({said})" for name, said in inner.items())


def _settings(report: Report) -> Content:
    for name in report.changed:
        if name not in report.settings:
            raise ValueError(f"Changed setting {name!r} is not among the settings. {did_you_mean(name, report.settings)}")  # fmt: skip
    changed = {name: value for name, value in report.settings.items() if name in report.changed}
    others = {name: value for name, value in report.settings.items() if name not in report.changed}
    parts: list[Content] = []
    if changed:
        parts.append([element("h3", "Changed from the named experiment"), element("div", setting_table("Changed settings", changed), class_="changed")])  # fmt: skip
    if others:
        summary = f"{len(others)} {'others as they were' if changed else 'settings, none changed'}"
        parts.append(
            element("details", element("summary", summary), setting_table("Other settings", others))
        )
    return parts
