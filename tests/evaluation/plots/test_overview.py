"""The overview holds every ratio of every candidate where its line is."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ldns_ray.evaluation.catalogue import FURTHER, SCORED
from ldns_ray.evaluation.plots.overview import BAND, overview
from ldns_ray.evaluation.plots.style import MARKS, png
from ldns_ray.evaluation.rows import Measured, Row

pytestmark = pytest.mark.filterwarnings("error")

ALL = [metric.name for metric in (*SCORED, *FURTHER)]


def row(name, score, ratios, *, half=0.2, with_intervals=True):
    """Intervals go from `half` below to `half` above."""

    def around(value):
        return (value - half, value + half) if with_intervals else None

    metrics = {key: Measured(2.5 * r, 2.5, r, None, around(r)) for key, r in ratios.items()}
    return Row(name, 50, score, around(score), metrics, 0)


def dots(ax):
    """(x, y, colour, marker) of every dot; an open one has a + behind its marker."""
    lines = [line for line in ax.lines if line.get_marker() not in ("", "None")]
    of = [f"{line.get_marker()}{'+' * (line.get_markerfacecolor() != line.get_color())}" for line in lines]  # fmt: skip
    return [(line.get_xdata()[0], line.get_ydata()[0], to_hex(line.get_color()).upper(), marker) for line, marker in zip(lines, of, strict=True)]  # fmt: skip


def bars(ax):
    """(left, right) of every interval."""
    lines = [
        line
        for line in ax.lines
        if line.get_marker() in ("", "None") and len(set(line.get_ydata())) == 1
    ]
    return sorted(tuple(line.get_xdata()) for line in lines if line.get_transform() == ax.transData)


def test_every_candidate_has_a_dot_on_every_line_in_its_own_colour_and_marker():
    ldns = row("LDNS", 1.25, {key: 1.1 + i for i, key in enumerate(ALL)})
    psth = row("PSTH", 2.5, {key: 3.05 + i for i, key in enumerate(ALL)}, with_intervals=False)
    figure = overview([ldns, psth])
    ax = figure.axes[0]
    drawn = dots(ax)
    for given, mark in ((ldns, MARKS[0]), (psth, MARKS[1])):
        own = [d for d in drawn if d[2:] == (mark.colour.upper(), mark.marker)]
        wanted = [given.score, *(given.metrics[key].ratio for key in ALL)]
        np.testing.assert_allclose([d[0] for d in sorted(own, key=lambda d: d[1])], wanted)
    assert len(drawn) == 2 * (1 + len(ALL))
    wanted = sorted((x - 0.2, x + 0.2) for x in (1.25, *(1.1 + i for i in range(len(ALL)))))
    np.testing.assert_allclose(bars(ax), wanted)
    assert ax.get_xscale() == "log"


def test_lines_are_named_in_order_and_their_floors_stand_beside_them():
    figure = overview([row("LDNS", 1.25, dict.fromkeys(ALL, 2.0))])
    left, right = figure.axes
    titles = [label.get_text() for label in left.get_yticklabels()]
    assert titles[0].startswith("Realism score")
    assert titles[1:] == [metric.title for metric in (*SCORED, *FURTHER)]
    floors = [label.get_text() for label in right.get_yticklabels()]
    assert floors[1:3] == ["2.5 nats", "2.5"]
    assert floors[-1] == "2.5 dB"
    np.testing.assert_allclose(left.get_yticks(), right.get_yticks())
    assert left.get_ylim() == right.get_ylim()


def test_the_score_is_told_in_numbers_and_in_the_title():
    rows = [row("LDNS", 1.25, {}), row("PSTH", 2.5, {}), row("better", 0.97, {})]
    figure = overview(rows)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts] == ["1.25", "2.50", "0.97"]
    assert ax.get_title().startswith("Realism of LDNS: 1.25, rank 2 of 3")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["LDNS", "PSTH", "better"]


def test_one_is_a_line_inside_a_band():
    ax = overview([row("LDNS", 1.25, {})]).axes[0]
    band = ax.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(BAND)
    assert [1, 1] in [list(line.get_xdata()) for line in ax.lines]
    low, high = ax.get_xlim()
    assert low < BAND[0]
    assert high > BAND[1]


def test_metrics_that_a_candidate_lacks_leave_its_place_empty():
    latent = row("LDNS", 1.2, {"kl_psc": 2.0, "latent_spectrum": 3.0})
    ax = overview([latent, row("PSTH", 2.0, {"kl_psc": 4.0})]).axes[0]
    assert sorted(d[0] for d in dots(ax)) == [1.2, 2.0, 2.0, 3.0, 4.0]
    assert len(ax.get_yticks()) == 3


@pytest.mark.parametrize("n", [1, 8, 9])
def test_any_number_of_candidates_fits(n):
    figure = overview([row(f"{i} " + 60 * "x", 1.0 + i, dict.fromkeys(ALL, 2.0)) for i in range(n)])
    assert ("rank 1 of 9" in figure.axes[0].get_title()) == (n == 9)
    drawn = dots(figure.axes[0])
    assert len(drawn) == n * (1 + len(ALL))
    assert len(set(drawn)) == len(drawn)
    assert len({d[2:] for d in drawn}) == n
    assert len(figure.legends[0].get_texts()) == n
    assert png(figure).startswith(b"\x89PNG")


def test_long_names_stay_within_the_picture(tmp_path):
    rows = [row(f"{i} steps of a solver with a long name", 1.0, {"kl_psc": 2.0}) for i in range(7)]
    figure = overview(rows)
    figure.savefig(tmp_path / "overview.png")
    (legend,) = figure.legends
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1


@pytest.mark.parametrize(("ratio", "marker"), [(0.0, "<"), (1e9, ">"), (np.inf, ">"), (np.nan, None)])  # fmt: skip
def test_ratios_beyond_the_axis_stand_at_its_edge(ratio, marker):
    figure = overview([row("LDNS", 1.5, {"kl_psc": ratio}, half=2.0)])
    ax = figure.axes[0]
    low, high = ax.get_xlim()
    edge = {"<": [(low, "<")], ">": [(high, ">")], None: []}[marker]
    assert [(d[0], d[3]) for d in dots(ax)[1:]] == edge
    # The score's interval begins below 0, and is cut where the axis ends.
    assert min(start for start, _ in bars(ax)) == low > 0
    assert png(figure).startswith(b"\x89PNG")


def test_no_candidate_is_an_error():
    with pytest.raises(ValueError, match="rows is empty"):
        overview([])


def test_real_trials_are_black_and_have_no_rank_nor_have_other_sizes():
    real = replace(row("Training trials", 0.9, dict.fromkeys(ALL, 1.0)), kind="real")
    rows = [row("LDNS", 1.25, dict.fromkeys(ALL, 2.0)), row("PSTH", 2.5, dict.fromkeys(ALL, 3.0)), real, row("Next", 3.0, {})]  # fmt: skip
    figure = overview(rows)
    smaller = replace(row("Few", 0.5, {}), size=3)
    assert "rank 1 of 3" in overview([*rows, smaller]).axes[0].get_title()
    assert "rank 1 of 3" in figure.axes[0].get_title()
    found = {d[0]: d[2:] for d in dots(figure.axes[0])}
    assert found[0.9] == ("#000000", "d")
    assert found[3.0][0] in (MARKS[1].colour.upper(), MARKS[2].colour.upper())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [r.name for r in rows]
