"""Values of settings lie where they should on an axis, and are told in few letters."""

import math

import numpy as np
import pytest

from ldns_ray.evaluation.plots.searched import (
    UNSET,
    Axis,
    best,
    draw_scores,
    number,
    padded,
    scale,
    score_axis,
    spaced,
    titles,
    told,
    tried,
)
from ldns_ray.evaluation.plots.style import new_figure

RATE = Axis("optimisation.learning_rate", "log", low=1e-4, high=1e-2)


def test_numbers_lie_evenly_on_the_scale_that_they_are_drawn_from():
    one = scale(RATE, [1e-3])
    low, middle, high = (one.share(10.0**k) for k in (-4, -3, -2))
    assert middle == pytest.approx(0.5)
    assert 0 < low < 0.1
    assert high == pytest.approx(1 - low)
    assert one.at(2e-3) == pytest.approx(math.log10(2e-3))
    assert scale(Axis("x", "linear", low=0.0, high=4.0), []).share(1.0) == pytest.approx(
        0.5 - 0.25 / 1.06
    )


def test_an_axis_reaches_what_was_tried_outside_of_it():
    one = scale(Axis("x", "linear", low=0.0, high=1.0), [3.0])
    assert 0 < one.share(0.0) < one.share(3.0) < 1
    assert scale(Axis("kind", "choices", choices=("a",)), ["b", "a"]).choices == ("a", "b")
    unbounded = scale(Axis("x", "linear"), [-2.0, 5.0])
    assert 0 < unbounded.share(-2.0) < unbounded.share(5.0) < 1


def test_choices_lie_at_their_places_numbers_in_order():
    one = scale(Axis("width", "choices", choices=(64, 16, 32)), [])
    assert [one.at(x) for x in (16, 32, 64)] == [0, 1, 2]
    assert one.labels == ("16", "32", "64")
    assert 0.5 < one.at(32, aside=-0.5) < 1 < one.at(32, aside=0.5) < 1.5
    assert scale(Axis("x", "choices", choices=(None, "long_name_of_it")), [], width=6).labels == ("none", "long_…")  # fmt: skip


@pytest.mark.parametrize("value", [UNSET, None, "a", math.nan, -1.0])
def test_what_has_no_place_has_none(value):
    assert math.isnan(scale(RATE, [value, 1e-3]).at(value))
    assert math.isnan(scale(Axis("kind", "choices", choices=("b",)), []).at(value))


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0.0, 1.0, False, [0, 0.2, 0.4, 0.6, 0.8, 1]), (1.0, 100.0, True, [1, 3, 10, 30, 100]),
        (1.0, 3.1, True, [1, 1.5, 2, 3]), (1e-9, 1.0, True, [1e-9, 1e-7, 1e-5, 1e-3, 1e-1]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_few(low, high, log, ticks):
    np.testing.assert_allclose(spaced(low, high, log, 5), ticks)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.013, 0.0131), (3.0, 4000.0), (1e-8, 1.0)])
def test_every_axis_has_ticks_inside_it(low, high, log):
    ends = padded([low, high], log, 0.05)
    assert ends[0] < low <= high < ends[1]
    ticks = spaced(*ends, log, 6)
    assert 2 <= len(ticks) <= 7
    assert all(ends[0] <= tick <= ends[1] for tick in ticks)


def test_integers_have_whole_ticks():
    one = scale(Axis("n", "linear", low=2, high=6, integer=True), [])
    assert one.labels == ("2", "3", "4", "5", "6")
    assert one.low < one.at(2, aside=-0.5) < 2
    logs = scale(Axis("n", "log", low=1, high=64, integer=True), [])
    assert all(float(text) == int(text) for text in logs.labels)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3e-4, "3e-4"), (0.001, "0.001"), (0.02, "0.02"), (128, "128"), (2.5e7, "2.5e7"), (0, "0"), (-1e-5, "-1e-5")],
)  # fmt: skip
def test_numbers_are_told_in_few_letters(value, text):
    assert number(value) == text
    assert float(text) == value


def test_scores_are_told_with_the_digits_that_count():
    assert [told(x) for x in (1.234, 99.9, 1234.5)] == ["1.23", "99.90", "1234"]


def test_settings_are_told_without_their_middle_where_that_is_clear():
    names = ["a.optimisation.rate", "b.rate", "c.x.width", "c.y.width", "seed"]
    assert list(titles(names).values()) == ["a.rate", "b.rate", "c.x.width", "c.y.width", "seed"]


def test_trials_are_read_by_number_and_lost_scores_are_failures():
    rows = [
        {"number": 3, "status": "FINISHED", "settings": {}, "score": math.nan},
        {"number": 2, "status": "STOPPED", "settings": {}, "rungs": [(9, 2.0), (1, 3.0), (3, math.inf)]},
        {"number": 1, "status": "FINISHED", "settings": {}, "score": 2, "rungs": None},
        {"number": 4, "status": "RUNNING", "settings": {}},
        {"number": 5, "status": "FINISHED", "settings": {}, "score": 2},
    ]  # fmt: skip
    trials = tried(rows)
    assert [t.status for t in trials] == ["FINISHED", "STOPPED", "FAILED", "FINISHED"]
    assert trials[1].rungs == ((1, 3.0), (9, 2.0))
    assert best(trials).number == 1


@pytest.mark.parametrize(("scores", "kind"), [([1.0, 2.9], "linear"), ([1.0, 3.1], "log"), ([], "linear"), ([1e-320, 1.0], "linear"), ([-1.0, 9.0], "linear")])  # fmt: skip
def test_scores_over_a_large_range_are_logarithmic(scores, kind):
    assert score_axis(scores).kind == kind


def test_the_noise_floor_is_on_every_axis_of_scores():
    _, axes = new_figure(1, 1, (3, 3))
    draw_scores(axes[0, 0], [20.0, 30.0])
    assert axes[0, 0].get_yscale() == "log"
    assert axes[0, 0].get_ylim()[0] < 1 < 30 < axes[0, 0].get_ylim()[1]
    assert list(axes[0, 0].lines[0].get_ydata()) == [1, 1]
    assert "lower is better, log" in axes[0, 0].get_ylabel()
