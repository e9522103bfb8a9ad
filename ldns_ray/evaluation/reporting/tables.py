"""The tables of a report: candidates against metrics, every number with sensible digits and exact underneath.

A number is shown rounded, in a `<data>` element whose `value` is the number itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ldns_ray.evaluation.catalogue import METRICS, SCORED, Metric
from ldns_ray.evaluation.reporting.html import Content, Html, column_head, element, facts, table
from ldns_ray.evaluation.rows import Interval, Measured, Row

NONE = "–"
"""Shown where there is no value."""
LEVELS = (1.25, 2.0, 4.0, 10.0)
"""Ratios above these are shaded, the deeper the larger."""
_WIDEST_RANGE = 1e4
"""Numbers of a column that differ by more than this factor do not share their decimals."""
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def check_finite(row: Row) -> None:
    """Raises ValueError, naming the row and the metric, where a number is infinite or not a number."""

    def check(what: str, *numbers: float | None) -> None:
        for number in numbers:
            if number is not None and not math.isfinite(number):
                raise ValueError(
                    f"Row {row.name!r}: {what} must be finite, got {number}. Leave out a metric that has no value."
                )

    check("score", row.score)
    check("score interval", *(row.score_interval or ()))
    for name, m in row.metrics.items():
        check(f"distance of {name}", m.distance, *(m.interval or ()))
        check(f"floor of {name}", m.floor)
        check(f"ratio of {name}", m.ratio, *(m.ratio_interval or ()))


def scored_table(rows: Sequence[Row]) -> Html:
    """A line per candidate: its score, the metrics that make it, silent units, and how many trials it had."""
    columns = [_metric_cells(metric, rows) for metric in SCORED]
    lines = [
        [
            element("th", row.name, scope="row"),
            _score_cell(row),
            *(column[i] for column in columns),
            element("td", _number(row.n_silent)),
            element("td", _number(row.n_trials)),
        ]
        for i, row in enumerate(rows)
    ]
    titles = ["Candidate", "Score", *map(_title, SCORED), "Silent units", "Sampled trials"]
    return table(
        "Candidates beside the reference",
        [column_head(x) for x in titles],
        lines,
        class_="metrics judged-row",
    )


def further_table(rows: Sequence[Row]) -> Html | None:
    """A line per metric that is no part of the score, a column per candidate; None where there is none."""
    further = further_metrics(rows)
    if not further:
        return None
    lines = [
        [element("th", _title(metric), scope="row"), *_metric_cells(metric, rows)]
        for metric in further
    ]
    head = [column_head(x) for x in ("Metric", *(row.name for row in rows))]
    return table("Further metrics", head, lines, class_="metrics judged-column")


def further_metrics(rows: Sequence[Row]) -> list[Metric]:
    """Those of the rows that are no part of the score, as the catalogue orders them, unknown ones last."""
    there = {name for row in rows for name in row.metrics} - {metric.name for metric in SCORED}
    known = [metric for metric in METRICS.values() if metric.name in there]
    return known + [Metric(name, name, "", "") for name in sorted(there - METRICS.keys())]


def record_table(title: str, records: Sequence[Mapping[str, Any]]) -> Html:
    """Any records as a table, a column per key. Raises ValueError, naming the column, for a number that is not finite."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    columns = [[record.get(key) for record in records] for key in keys]
    head = [column_head(key, class_=_kind(x)) for key, x in zip(keys, columns, strict=True)]
    cells = [_record_cells(title, key, x) for key, x in zip(keys, columns, strict=True)]
    return table(title, head, zip(*cells, strict=True))


def setting_table(label: str, values: Mapping[str, Any]) -> Html:
    """Settings as a command line takes them."""
    return facts(
        label, [(element("code", name), element("code", setting_text(value))) for name, value in values.items()]
    )  # fmt: skip


def setting_text(value: Any) -> str:
    """The value as it is written after `name=`."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(str(v) for v in value) or NONE
    return str(value)


def ratio_text(x: float) -> str:
    """A score or ratio with three significant digits, and two decimals at most unless it is tiny."""
    return f"{x:.2f}" if 0.1 <= x < 10 or x == 0 else significant(x, 2 if x < 0.1 else 3)


def interval_text(interval: Interval | None) -> str:
    """Of a score or ratio."""
    return NONE if interval is None else NONE.join(ratio_text(x) for x in interval)


def significant(x: float, digits: int) -> str:
    """`x` with so many significant digits; as a power of ten only where that is much shorter."""
    if x == 0:
        return "0"
    mantissa, _, exponent = f"{x:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if -5 <= power <= 6:
        return f"{x:.{max(0, digits - 1 - power)}f}".replace("-", "−")
    return f"{mantissa.replace('-', '−')}·10{str(power).translate(_SUPERSCRIPTS)}"


def numbers_text(values: Sequence[float], digits: int) -> list[str]:
    """Numbers of one column with the same decimals.

    As many as give the smallest `digits` significant ones; where numbers range too widely for that, each has its own.
    """
    sizes = [abs(x) for x in values if x]
    if not sizes or max(sizes) > _WIDEST_RANGE * min(sizes) or min(sizes) < 1e-5:
        return [significant(x, digits) for x in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(min(sizes))))
    return [f"{x:.{decimals}f}".replace("-", "−") for x in values]


def telling_text(values: Sequence[float]) -> list[str]:
    """`numbers_text` with three digits, or as many more, up to six, as tell different numbers apart."""
    for digits in range(3, 7):
        shown = numbers_text(values, digits)
        if len(set(shown)) == len(set(values)):
            break
    return shown


def level(ratio: float) -> str:
    """Class of a cell's shade."""
    return f"level-{sum(ratio > bound for bound in LEVELS)}"


def _title(metric: Metric) -> Content:
    unit = element("span", f"({metric.unit})", class_="unit") if metric.unit else None
    return [metric.title, " " if unit else None, unit]


def _score_cell(row: Row) -> Html:
    shown = element("div", _ratio(row.score, row.score_interval), class_="measured")
    return element("td", shown, class_=level(row.score))


def _metric_cells(metric: Metric, rows: Sequence[Row]) -> list[Html]:
    """Of one metric, a cell per candidate: ratio, distance and floor below one another."""
    measured = [row.metrics.get(metric.name) for row in rows]
    numbers = [x for m in measured if m for x in (m.distance, m.floor, *(m.interval or ()))]
    shown = iter(numbers_text(numbers, 2))
    return [_metric_cell(m, shown) if m else element("td", NONE, class_="none") for m in measured]


def _metric_cell(m: Measured, shown: Iterator[str]) -> Html:
    distance, floor = next(shown), next(shown)
    bounds = [next(shown) for _ in m.interval or ()]
    lines = [
        *_ratio(m.ratio, m.ratio_interval),
        *_line(element("span", _number(m.distance, distance)), _interval(m.interval, bounds)),
        *_line(element("span", _number(m.floor, floor), class_="floor"), "floor"),
    ]
    return element("td", element("div", lines, class_="measured"), class_=level(m.ratio))


def _ratio(ratio: float, interval: Interval | None) -> list[Html]:
    bounds = [ratio_text(x) for x in interval or ()]
    return _line(element("b", _number(ratio, ratio_text(ratio))), _interval(interval, bounds))


def _line(value: Html, beside: Content) -> list[Html]:
    """The two columns within a cell."""
    return [value, Html(" "), element("span", beside, class_="beside"), Html(" ")]


def _interval(interval: Interval | None, shown: Sequence[str]) -> Content:
    if interval is None:
        return NONE
    low, high = (_number(x, text) for x, text in zip(interval, shown, strict=True))
    return [low, NONE, high]


def _number(x: float, shown: str | None = None) -> Html:
    return element("data", str(x) if shown is None else shown, value=repr(_plain(x)))


def _plain(x: Real | Any) -> Any:
    """A NumPy scalar as Python's number."""
    return int(x) if isinstance(x, Integral) else float(x)


def _record_cells(title: str, key: str, values: Sequence[Any]) -> list[Html]:
    numbers = [float(x) for x in values if _is_fraction(x)]
    for x in numbers:
        if not math.isfinite(x):
            raise ValueError(
                f"Table {title!r}: {key} must be finite, got {x}. Give None where there is no value."
            )
    shown = iter(telling_text(numbers))
    return [_record_cell(x, shown, _kind(values)) for x in values]


def _record_cell(x: Any, shown: Iterator[str], kind: str | None) -> Html:
    if x is None:
        return element("td", NONE, class_="none")
    if _is_fraction(x):
        return element("td", _number(x, next(shown)))
    if _is_number(x):
        return element("td", _number(x))
    return element(
        "td", ("yes" if x else "no") if isinstance(x, bool) else setting_text(x), class_=kind
    )


def _kind(values: Sequence[Any]) -> str | None:
    """Class of a column's cells: words begin at the left, numbers end at the right."""
    return None if any(_is_number(x) for x in values) else "text"


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _is_fraction(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, Integral)
