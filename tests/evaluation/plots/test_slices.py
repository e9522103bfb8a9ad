"""Slices hold every trial at its value and score."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.searched import Axis
from ldns_ray.evaluation.plots.slices import slices
from tests.evaluation.plots.sweep_rows import AXES, row, rows

pytestmark = pytest.mark.filterwarnings("error")


def drawn(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_a_panel_for_each_setting_and_a_point_for_each_trial():
    made = rows(30)
    figure = slices(made, AXES)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "diffusion.learning_rate (log)", "observation.kind", "diffusion.width",
    ]  # fmt: skip
    scores = [r["score"] for r in made]
    for ax, axis in zip(figure.axes, AXES, strict=True):
        (points,) = drawn(ax, "finished")
        np.testing.assert_array_equal(points.get_ydata(), scores)
        values = [r["settings"][axis.name] for r in made]
        if axis.kind == "log":
            np.testing.assert_allclose(points.get_xdata(), np.log10(values))
        elif axis.kind == "linear":
            np.testing.assert_array_equal(np.round(points.get_xdata()), values)
        else:
            chosen = [axis.choices[round(x)] for x in points.get_xdata()]
            assert chosen == values
        low, high = ax.get_xlim()
        assert low < min(points.get_xdata())
        assert max(points.get_xdata()) < high


def test_the_best_is_a_star_at_its_value_in_every_panel():
    made = rows(30)
    best = min(made, key=lambda r: r["score"])
    for ax in slices(made, AXES).axes:
        (star,) = drawn(ax, "best")
        assert star.get_marker() == "*"
        assert star.get_ydata()[0] == best["score"]
    assert f"trial {best['number']}:" in slices(made, AXES).get_suptitle()


def test_choices_have_the_median_of_their_finished_trials():
    made = rows(30)
    medians = drawn(slices(made, AXES).axes[1], "median")
    wanted = [
        np.median([r["score"] for r in made if r["settings"][AXES[1].name] == choice])
        for choice in AXES[1].choices
    ]
    assert [line.get_ydata()[0] for line in medians] == wanted
    few = [row(i, score=float(i), kind=k) for i, k in enumerate(["poisson"] * 3 + ["spike_history"] * 2, 1)]  # fmt: skip
    (only,) = drawn(slices(few, AXES[1:2]).axes[0], "median")
    assert list(only.get_ydata()) == [2, 2]


def test_trials_that_were_stopped_stand_at_their_last_score():
    made = [*rows(3), row(4, "STOPPED", rungs=[(1, 9.0), (3, 8.0)], rate=2e-3), row(5, "STOPPED")]
    figure = slices(made, AXES)
    (early,) = drawn(figure.axes[0], "stopped early, last score")
    assert early.get_xydata().tolist() == [[pytest.approx(np.log10(2e-3)), 8.0]]
    assert np.isnan(drawn(figure.axes[1], "stopped early, last score")[0].get_xdata()).all()
    assert {t.get_text() for t in figure.legends[0].get_texts()} >= {"finished", "best", "stopped early, last score"}  # fmt: skip


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (4, (4, 1)), (5, (3, 2)), (12, (4, 3)), (15, (4, 3))])  # fmt: skip
def test_panels_fill_a_page(n, shape):
    many = [Axis(f"part.setting_{i}", "linear", low=0, high=1) for i in range(n)]
    made = [row(i, score=1.0 + i) | {"settings": {a.name: 0.5 for a in many}} for i in (1, 2)]
    figure = slices(made, many)
    assert len(figure.axes) == min(n, 12)
    places = [ax.get_subplotspec() for ax in figure.axes]
    assert (places[0].get_gridspec().ncols, places[0].get_gridspec().nrows) == shape
    assert ("12 of 15 settings" in figure.get_suptitle()) == (n == 15)
    assert figure.get_size_inches()[0] <= 9.6


def test_too_little_has_no_picture():
    assert slices(rows(1), AXES) is None
    assert slices(rows(3), []) is None
    assert slices(rows(3), [Axis("a", "linear", low=2, high=2)]) is None
