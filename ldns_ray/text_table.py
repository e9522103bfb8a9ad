"""Tables for a terminal."""

from collections.abc import Sequence


def format_table(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first row a header, as aligned text."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in table]  # fmt: skip
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
