"""The look that all figures share, and how they are written.

Figures belong to nobody: no pyplot, no global state, so they can be drawn in any worker. Real data is
black, samples are orange (colours of Okabe & Ito, safe for colour-blind readers).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

REAL, SAMPLED, OTHER, FAINT = "#000000", "#D55E00", "#0072B2", "0.55"
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


class Mark(NamedTuple):
    """How a candidate is drawn, the same in every picture: by more than its colour."""

    colour: str
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]
    """Of its lines."""
    open: bool = False
    """White inside."""

    @property
    def face(self) -> str:
        return "#FFFFFF" if self.open else self.colour


MARKS = (
    Mark(SAMPLED, "o", "-"),
    Mark("#0072B2", "s", (0, (4, 1.5))),
    Mark("#009E73", "^", (0, (1.2, 1.2))),
    Mark("#CC79A7", "D", (0, (5, 1.2, 1.2, 1.2))),
    Mark("#56B4E9", "v", (0, (7, 2))),
    Mark("#E69F00", "P", (0, (2.5, 1))),
    Mark("#7F7F7F", "X", (0, (1, 2.2))),
    Mark("#A89A00", "*", (0, (5, 1, 1, 1, 1, 1))),  # the yellow, darker: it is on white
)
"""Of the candidates in their order, the samples themselves first."""

DPI = 110

T = TypeVar("T")


def png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Names may be in any script; a letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> list[Path]:
    """Write each figure to `folder/<name>.png` and return the paths, in the order given."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(target / f"{name}.png")
        paths[-1].write_bytes(png(figure))
    return paths


def blank_figure(size: tuple[float, float]) -> Figure:
    """A figure without axes, width and height in inches."""
    fig = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def new_figure(
    rows: int,
    columns: int,
    size: tuple[float, float],
    *,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, np.ndarray]:
    """A figure of the house's look, and its axes (rows, columns)."""
    fig = blank_figure(size)
    axes = fig.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for ax in axes.flat:
        styled(ax)
    return fig, axes


def finished(fig: Figure) -> Figure:
    """The figure with titles, labels and legends of one size."""
    for ax in fig.axes:
        ax.title.set_fontsize(10)
        ax.xaxis.label.set_fontsize(9)
        ax.yaxis.label.set_fontsize(9)
        legend = ax.get_legend()
        if legend is not None:
            legend.set_frame_on(False)
            for text in legend.get_texts():
                text.set_fontsize(9)
    return fig


def styled(ax: Axes) -> None:
    """Axes without box, with small tick labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8.5)


def marked(others: Mapping[str, T] | None) -> list[tuple[str, T, Mark]]:
    """Candidates beside the samples, each with its mark; so many as there are marks."""
    pairs = zip((others or {}).items(), MARKS[1:], strict=False)
    return [(name, x, mark) for (name, x), mark in pairs]


def shared_legend(fig: Figure, ax: Axes) -> None:
    """What is drawn in one of several alike axes, below them all."""
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(
        handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9,
        handletextpad=0.5,
    )  # fmt: skip


def cut(name: str, width: int) -> str:
    """At most `width` letters of a name, as `plain` text."""
    line = " ".join(name.split())
    return plain(line if len(line) <= width else line[: max(width - 1, 1)] + "…")


def plain(text: str) -> str:
    """Text that Matplotlib draws as it is.

    What stands between dollar signs would be mathematics, and a label that begins with an underscore is in no
    legend: such a one gets a space in front.
    """
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
