"""Tables for a terminal."""

import unicodedata
from collections.abc import Sequence


def format_table(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first row a header, as aligned text: the first column to the left, others to the right.

    Cells of the header may have several lines.
    """
    heads = [cell.split("\n") for cell in table[0]]
    height = max(map(len, heads))
    header = list(zip(*([""] * (height - len(head)) + head for head in heads), strict=True))
    rows = [*header, *table[1:]]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_padded(cell, w, left=i == 0) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
             for row in rows]  # fmt: skip
    rule = "-" * width(lines[0])
    return "\n".join([*(line.rstrip() for line in lines[:height]), rule, *lines[height:]])


def width(text: str) -> int:
    """Columns that a terminal takes for it: two for a letter of East Asian scripts, none for an accent on another."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _padded(cell: str, to: int, *, left: bool) -> str:
    space = " " * (to - width(cell))
    return cell + space if left else space + cell
