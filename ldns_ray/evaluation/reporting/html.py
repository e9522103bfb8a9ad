"""HTML elements as functions: what goes into one is escaped, and rid of passwords and keys, unless it is HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

VOID = ("img", "meta")
"""Elements without content and end."""

_SCHEME = r"[a-z][a-z0-9+.-]*://"
_USER = re.compile(
    # Before the host. Keys of object stores may hold a slash, so what follows a colon is only a port if it reads so.
    rf"\b({_SCHEME})(?:[^\s/?#]*@|[^\s/?#@:]*:(?!\d*(?:\W|$))[^\s@]*@)+",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"((?:secret|token|password|passwd|pwd|signature|credentials?|authorization"
    r"|(?:access|secret|api|account|private|shared)[-_]?key(?:[-_]?id)?|[?&;](?:sig|key|code|pass|auth))\s*=\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s&;,\"']+)",
    re.IGNORECASE,
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | int | None | Iterable["Content"]
"""Of an element: HTML, text, whole numbers, nothing, or several of them."""


def without_secrets(text: str) -> str:
    """`text` whose URIs have no user and password, and whose `token=…`, `secret_key=…` and the like no value."""
    return _SECRET.sub(r"\1…", _USER.sub(r"\1", text))


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
