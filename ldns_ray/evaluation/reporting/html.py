"""HTML elements as functions: what goes into one is escaped, and rid of passwords and keys, unless it is HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from ldns_ray.redaction import without_secrets

VOID = ("img", "meta")
"""Elements without content and end."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | int | None | Iterable["Content"]
"""Of an element: HTML, text, whole numbers, nothing, or several of them."""


def escaped(value: object) -> Html:
    """Any text as HTML: safe within elements and attributes."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(_UNPRINTABLE.sub("\ufffd", without_secrets(str(value)))))


def element(tag: str, /, *content: Content, **attributes: object) -> Html:
    """`<tag …>content</tag>`. Attributes: `class_` for class, `aria_label` for aria-label; those of None are left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{joined(content)}</{tag}>")


def joined(content: Content) -> Html:
    """Pieces one after the other."""
    if content is None:
        return Html("")
    if isinstance(content, str | int):
        return escaped(content)
    return Html("".join(joined(piece) for piece in content))


def scrolling(label: str, *content: Content) -> Html:
    """A box that scrolls sideways where its content is wider than the page, also by keyboard."""
    return element("div", *content, class_="scroll", role="region", aria_label=label, tabindex="0")


def column_head(content: Content, *, class_: str | None = None) -> Html:
    return element("th", content, scope="col", class_=class_)


def table(
    label: str,
    head: Iterable[Html],
    rows: Iterable[Iterable[Html]],
    *,
    class_: str | None = None,
) -> Html:
    """A table in a box of its own. head: of `column_head`; rows: of `th` and `td` elements."""
    body = [element("tr", row) for row in rows]
    whole = element(
        "table",
        element("thead", element("tr", head)),
        element("tbody", body),
        class_=class_,
    )
    return scrolling(label, whole)


def facts(label: str, rows: Iterable[tuple[Content, Content]]) -> Html:
    """A table of two columns, names and values, without a head."""
    body = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows]  # fmt: skip
    return scrolling(label, element("table", element("tbody", body), class_="facts"))


def anchors(names: Iterable[str], prefix: str) -> list[str]:
    """An id for each name, all of them different."""
    ids: list[str] = []
    for name in names:
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        base = new = f"{prefix}-{words}" if words else prefix
        n = 1
        while new in ids:
            n += 1
            new = f"{base}-{n}"
        ids.append(new)
    return ids
