"""The trials of a sweep as tables, for MLflow and for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.sweeps.collecting import FAILED, FINISHED
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.wording import as_text, broken, cut, short, shortest
from ldns_ray.text_table import format_table, width

COLUMNS = 120
"""Of tables and errors in a terminal, where possible."""
HEAD_COLUMNS = 12
"""Of a column's head, before it is broken into lines."""


def flat(sweep: Sweep, row: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as a row of MLflow's table."""
    flat = {"trial": row["name"], "status": row["status"], "score": row.get("score")}
    flat |= {short(k): row["settings"].get(k) for k in sweep.space}
    for metric in SCORED:
        measured = row.get("metrics", {}).get(metric.name, {})
        flat[metric.label] = measured.get("distance")
        flat[f"{metric.label}, floor"] = measured.get("floor")
    return flat | {"error": row.get("error", "")}


def format_result(space: Sequence[str], result: Mapping[str, Any]) -> str:
    """The trials as a table for a terminal: best first, each metric beside its floor.

    Where that is too wide, the metrics have a table of their own, and if need be, so have the settings of each
    section. Settings that all trials have in common, and the errors of failed trials, are lines below.
    """
    rows = result["trials"]
    texts = {name: [_chosen(row, name) for row in rows] for name in space}
    common = [name for name in space if len(rows) > 1 and len(set(texts[name])) == 1]
    varied = {name: texts[name] for name in space if name not in common}
    names = ("trial", [row["name"] for row in rows])
    trials = [names, ("score", [_score(row) for row in rows])]
    metrics = [(m.label, [_measured(row, m.name) for row in rows]) for m in SCORED]

    tables = [_table([*trials, *_columns(varied), *metrics])]
    if _width(tables[0]) > COLUMNS:
        finished = [i for i, row in enumerate(rows) if row["status"] == FINISHED]
        of_finished = [(head, [cells[i] for i in finished]) for head, cells in (names, *metrics)]
        tables = [_table([*trials, *_columns(varied)]), _table(of_finished)]
    if _width(tables[0]) > COLUMNS:
        sections: dict[str, dict[str, list[str]]] = {}
        for name, cells in varied.items():
            sections.setdefault(name.partition(".")[0], {})[name] = cells
        tables[:1] = [
            _table([(section, names[1]), trials[1], *_columns(settings)])
            for section, settings in sections.items()
        ]
    if common:
        tables.append(f"All trials: {', '.join(f'{short(n)} {texts[n][0]}' for n in common)}")
    errors = [f"{row['name']} failed: {row['error']}" for row in rows if row["status"] == FAILED]
    if errors:
        tables.append("\n".join(cut(error, COLUMNS) for error in errors))
    return "\n\n".join(tables)


def _columns(settings: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Columns of settings under the shortest names that tell them apart."""
    return list(zip(shortest(list(settings)), settings.values(), strict=True))


def _table(columns: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Columns with their heads, which are broken into lines where they are wider than what is below them."""
    heads = [broken(head, max(HEAD_COLUMNS, *map(width, cells))) for head, cells in columns]
    return format_table([heads, *zip(*(cells for _, cells in columns), strict=True)])


def _width(table: str) -> int:
    return max(map(width, table.splitlines()))


def _chosen(row: Mapping[str, Any], name: str) -> str:
    """A setting of a trial, which may have ended before it had one."""
    return as_text(row["settings"][name]) if name in row["settings"] else "-"


def _score(row: Mapping[str, Any]) -> str:
    """A trial's score, or what stands in its place."""
    if row["status"] == FINISHED:
        return f"{row['score']:.2f}"
    if row["status"] == FAILED:
        return "failed"
    epoch, score = row["rungs"][-1]
    return f"({score:.2f} at epoch {epoch})"


def _measured(row: Mapping[str, Any], metric: str) -> str:
    """A trial's metric and its floor."""
    if row["status"] != FINISHED:
        return "-"
    measured = row["metrics"][metric]
    return f"{measured['distance']:.4f} ({measured['floor']:.4f})"
