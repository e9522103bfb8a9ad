"""The files that a result leaves: JSON, Markdown to paste, pictures, the report of the evaluation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldns_ray import storage
from ldns_ray.durations import duration
from ldns_ray.evaluation.reporting.results import PLOTS, REPORT
from ldns_ray.redaction import redacted, without_secrets
from ldns_ray.reproduction.found import Found, Table
from ldns_ray.revision import commit

JSON, MARKDOWN = "reproduction.json", "RESULTS.md"
CHANGED, LISTED = 12, ("autoencoder", "diffusion", "samples", "evaluation")
"""Settings that are listed by name, and works whose durations are."""


@dataclass(frozen=True)
class About:
    """Where a result comes from."""

    title: str
    command: str
    machine: str
    data: Mapping[str, Any]
    """Of its dataset: name, fingerprint, URI, sizes."""
    settings: Mapping[str, Any]
    """Dotted name → value."""
    changed: Mapping[str, Any]
    """Settings that differ from those of the named experiment."""
    seconds: Mapping[str, float]
    """What was done → how long it took."""


def write(uri: str, found: Found, about: About) -> dict[str, Any]:
    """Write everything under `uri`; what there is, as JSON values."""
    for name, where in found.pictures.items():
        storage.write_bytes(storage.join(uri, PLOTS, f"{name}.png"), storage.read_bytes(where))
    storage.write_bytes(storage.join(uri, REPORT), storage.read_bytes(found.report))
    date, revision = time.strftime("%Y-%m-%d"), commit()
    content = {
        "result": about.title, "command": about.command, "date": date, "machine": about.machine, "commit": revision,
        "data": dict(about.data), "settings": dict(about.settings), "changed": dict(about.changed),
        "seconds": dict(about.seconds), "found": found.numbers,
        "tables": [{"title": t.title, "header": list(t.header), "rows": [list(row) for row in t.rows]} for t in found.tables],
        "places": dict(found.places),
    }  # fmt: skip
    text = json.dumps(redacted(content), indent=1, ensure_ascii=False)
    storage.write_bytes(storage.join(uri, JSON), text.encode())
    told = without_secrets(markdown(found, about, date, revision))
    storage.write_bytes(storage.join(uri, MARKDOWN), told.encode())
    return {"plots": list(found.pictures)}


def markdown(found: Found, about: About, date: str, revision: str) -> str:
    """A section to paste: where it comes from, the tables, what else there is to say."""
    splits = ", ".join(f"{n} {name}" for name, n in about.data["splits"].items())
    changed = ", ".join(f"`{name}={value}`" for name, value in list(about.changed.items())[:CHANGED])  # fmt: skip
    more = len(about.changed) - CHANGED
    lines = [
        f"### {about.title}",
        f"`{about.command}`, {about.machine}, {date}"
        + (f", commit {revision[:10]}" if revision else "")
        + f": {took(about.seconds)}.",
        f"Data: {about.data['name']} ({about.data['fingerprint']}), {about.data['units']} units, trials: {splits}."
        + (f" Settings: {changed}{f' and {more} more' if more > 0 else ''}." if changed else ""),
        *(f"{table.title}\n\n{table_text(table)}" for table in found.tables),
        *found.lines,
    ]
    return "\n\n".join(lines) + "\n"


def table_text(table: Table) -> str:
    """As Markdown; bars within cells are escaped."""

    def line(cells: Any) -> str:
        return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    return "\n".join(
        [line(table.header), line(["---"] * len(table.header)).replace(" ", ""), *map(line, table.rows)]
    )  # fmt: skip


def took(seconds: Mapping[str, float]) -> str:
    """`16 min (autoencoder 5 min, diffusion 10 min)`."""
    parts = [f"{name} {duration(seconds[name])}" for name in LISTED if name in seconds]
    whole = duration(sum(seconds.values()))
    return f"{whole} ({', '.join(parts)})" if parts else whole
