"""Tables for a terminal."""

import unicodedata
from collections.abc import Sequence


def format_table(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first row a header, as aligned text: the first column to the left, others to the right."""
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(_padded(cell, w, left=i == 0) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
             for row in table]  # fmt: skip
    return "\n".join([lines[0], "-" * width(lines[0]), *lines[1:]])


def width(text: str) -> int:
    """Columns that a terminal takes for it: two for a letter of East Asian scripts, none for an accent on another."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _padded(cell: str, to: int, *, left: bool) -> str:
    space = " " * (to - width(cell))
    return cell + space if left else space + cell
