"""Pictures of how a sweep went hold every trial, whatever became of it."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.progress import halving, history
from tests.evaluation.plots.sweep_rows import row

pytestmark = pytest.mark.filterwarnings("error")

MIXED = [
    row(1, score=3.0, rungs=[(1, 6.0), (3, 4.0)]),
    row(2, "STOPPED", rungs=[(1, 9.0)]),
    row(3, "FAILED", rungs=[(1, 7.0)]),
    row(4, score=1.5, rungs=[(1, 5.0), (3, 2.5)]),
    row(5, "STOPPED"),
    row(6, score=2.0, rungs=[(1, 5.5), (3, 2.4)]),
]


def lines(figure):
    """By label, those that are in the legend."""
    return {line.get_label(): line for line in figure.axes[0].lines if not line.get_label().startswith("_")}  # fmt: skip


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_trial_stands_at_its_number_and_score():
    figure = history(MIXED)
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["finished (3)"].get_xydata(), [[1, 3.0], [4, 1.5], [6, 2.0]])  # fmt: skip
    np.testing.assert_array_equal(drawn["stopped early, last score (2)"].get_xydata(), [[2, 9.0]])
    assert list(drawn["failed (1)"].get_xdata()) == [3]
    assert list(drawn["best: trial 4, 1.50"].get_xydata()[0]) == [4, 1.5]
    assert set(labels(figure)) == set(drawn)
    at_edge = [line for line in figure.axes[0].lines if line.get_transform() == figure.axes[0].get_xaxis_transform()]  # fmt: skip
    assert [list(line.get_xdata()) for line in at_edge] == [[5], [3]]
    assert len({drawn[k].get_marker() for k in drawn if k not in ("best so far",)} - {"None"}) == 4
    assert figure.axes[0].get_title() == "The best of 3 finished trials scores 1.50"


def test_the_best_so_far_only_falls_and_reaches_the_last_trial():
    line = lines(history(MIXED))["best so far"]
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(line.get_xydata(), [[1, 3.0], [4, 1.5], [6, 1.5], [6, 1.5]])


@pytest.mark.parametrize(("worst", "kind"), [(2.9, "linear"), (40.0, "log")])
def test_scores_over_a_large_range_are_drawn_on_a_logarithmic_axis(worst, kind):
    ax = history([row(1, score=worst), row(2, score=1.2)]).axes[0]
    assert ax.get_yscale() == kind
    assert ax.get_ylim()[0] < 1 < worst < ax.get_ylim()[1]


def test_without_a_finished_trial_there_is_no_best():
    figure = history([row(1, "FAILED"), row(2, "FAILED")])
    assert figure.axes[0].get_title() == "None of 2 trials finished"
    assert labels(figure)[1:] == ["failed (2)"]
    assert history([]) is None


def test_trials_go_from_rung_to_rung_to_their_score():
    figure = halving(MIXED)
    ax = figure.axes[0]
    start, second, end = sorted(ax.get_xticks())
    assert start == 1
    assert second == 3
    paths = [list(map(tuple, line.get_xydata())) for line in ax.lines]
    best = lines(figure)["best: trial 4, 1.50"]
    assert list(map(tuple, best.get_xydata())) == [(start, 5.0), (second, 2.5), (end, 1.5)]
    thin = [x for x in ax.lines if x is not best and x.get_linestyle() != "None"]
    assert best.get_linewidth() > 2 * max(line.get_linewidth() for line in thin)
    for path in ([(start, 6), (second, 4), (end, 3)], [(start, 9)], [(start, 7)]):
        assert path in paths
    assert [text.get_text() for text in sorted(ax.get_xticklabels(), key=lambda t: t.get_position())] == [
        "1\n5 trials", "3\n3 trials", "final\n3 trials"
    ]  # fmt: skip
    assert ax.get_title() == "2 of 6 trials stopped early; the best went from 5.00 at epoch 1 to 1.50"  # fmt: skip


def test_trials_that_were_stopped_are_dashed_and_of_a_colour_of_their_own():
    drawn = lines(halving(MIXED))
    early, done = drawn["stopped early (2)"], drawn["finished (3)"]
    assert early.is_dashed()
    assert not done.is_dashed()
    assert early.get_color() != done.get_color()
    assert early.get_marker() != done.get_marker() != drawn["failed (1)"].get_marker()


def test_epochs_far_apart_are_spaced_by_their_logarithm():
    ax = halving([row(1, score=2.0, rungs=[(e, 9.0 / e) for e in (1, 3, 9)])]).axes[0]
    first, second, third, _ = sorted(ax.get_xticks())
    assert second - first == pytest.approx(third - second)
    assert ax.get_xlabel() == "epoch (log)"


def test_labels_of_many_epochs_do_not_touch():
    ax = halving([row(1, score=2.0, rungs=[(e, 9.0) for e in range(1, 101)])]).axes[0]
    figure = ax.figure
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in ax.get_xticklabels()), key=lambda b: b.x0)
    assert len(boxes) >= 4
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_a_best_trial_without_rungs_has_its_score_alone():
    rows = [row(1, "STOPPED", rungs=[(0, 4.0)]), row(2, score=1.0)]
    figure = halving(rows)
    best = lines(figure)["best: trial 2, 1.00"]
    assert best.get_ydata().tolist() == [1.0]
    assert figure.axes[0].get_title() == "1 of 2 trials stopped early"
    assert halving([row(1, score=1.0)]) is None


def test_without_a_finished_trial_the_rungs_are_drawn():
    figure = halving([row(1, "STOPPED", rungs=[(2, 4.0)]), row(2, "FAILED", rungs=[(2, 5.0)])])
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["2\n2 trials"]
    assert len(labels(figure)) == 3
