"""Lines of the parallel coordinates go through the values of their trials."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from ldns_ray.evaluation.plots.parallel import BELOW, COLOURS, parallel_coordinates
from ldns_ray.evaluation.plots.searched import MAX_SETTINGS, Axis
from ldns_ray.evaluation.plots.style import SAMPLED
from tests.evaluation.plots.sweep_rows import AXES, row, rows

pytestmark = pytest.mark.filterwarnings("error")

THREE = [
    row(1, score=4.0, rate=1e-2, kind="poisson", width=16),
    row(2, score=1.2, rate=1e-3, kind="spike_history", width=64),
    row(3, score=2.0, rate=1e-4, kind="poisson", width=40),
]


def others(figure):
    (found,) = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return found


def best_line(figure):
    (found,) = [line for line in figure.axes[0].lines if line.get_color() == SAMPLED]
    return found


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_line_for_each_trial_over_an_axis_for_each_setting_and_the_score():
    figure = parallel_coordinates(THREE, AXES)
    worst, middle = others(figure).get_segments()  # the better ones are drawn later
    best = best_line(figure).get_xydata()
    for line in (worst, middle, best):
        np.testing.assert_array_equal(line[:, 0], [0, 1, 2, 3])
    # The first setting is next to the score: width, kind, rate, score from left to right.
    assert worst[0, 1] < middle[0, 1] < best[0, 1]
    assert max(worst[1, 1], middle[1, 1]) < 0.5 < best[1, 1]
    assert best[2, 1] == pytest.approx(0.5)
    assert worst[2, 1] == pytest.approx(1 - middle[2, 1])
    assert best[3, 1] < middle[3, 1] < worst[3, 1]
    assert all(0 <= y <= 1 for line in (worst, middle, best) for y in line[:, 1])


def test_the_best_trial_stands_out():
    figure = parallel_coordinates(THREE, AXES)
    best = best_line(figure)
    assert best.get_linewidth() > 2 * max(others(figure).get_linewidths())
    assert best.get_zorder() > others(figure).get_zorder()
    assert SAMPLED not in {to_hex(c).upper() for c in others(figure).get_colors()}
    assert "best, trial 2: 1.20" in figure.get_suptitle()


def test_colours_are_those_of_the_scores_on_their_axis():
    figure = parallel_coordinates(THREE, AXES)
    worst, middle = others(figure).get_segments()
    (bar,) = figure.axes[0].images
    colours = others(figure).get_colors()
    assert to_hex(colours[0]) == to_hex(COLOURS(1.0))
    for line, colour in ((worst, colours[0]), (middle, colours[1])):
        beside = bar.get_array()[round(line[3, 1] * 255), 0]
        np.testing.assert_allclose(colour[:3], beside[:3], atol=0.02)
    lightness = COLOURS(np.linspace(0, 1, 20))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()


def test_axes_are_named_and_choices_labelled():
    written = texts(parallel_coordinates(THREE, AXES))
    for text in (
        "poisson",
        "spike_history",
        "0.001",
        "diffusion.\nlearning rate\n(log)",
        "observation.\nkind",
    ):
        assert text in written
    assert written[-1].startswith("realism score")


def test_a_setting_that_a_trial_lacks_is_below_its_axis():
    made = [*THREE, row(4, score=3.0, rate=1e-3, kind="poisson")]
    figure = parallel_coordinates(made, AXES)
    assert [line[0, 1] for line in others(figure).get_segments()].count(BELOW) == 1
    assert texts(figure).count("not set") == 1
    assert "not set" not in texts(parallel_coordinates(THREE, AXES))
    assert figure.axes[0].get_ylim()[0] < BELOW


def test_only_settings_that_were_searched_and_only_so_many_are_drawn():
    fixed = Axis("a.b", "choices", choices=("only",))
    figure = parallel_coordinates(THREE, [fixed, *AXES])
    assert best_line(figure).get_xydata().shape == (4, 2)
    many = [Axis(f"part.setting_{i}", "linear", low=0, high=1) for i in range(MAX_SETTINGS + 3)]
    made = [row(i, score=1.0 + i) | {"settings": {a.name: 0.5 for a in many}} for i in (1, 2)]
    figure = parallel_coordinates(made, many)
    assert best_line(figure).get_xydata().shape == (MAX_SETTINGS + 1, 2)
    assert "in 12 of 15 settings" in figure.get_suptitle()
    assert "part.setting_0" in texts(figure)
    assert "part.setting_12" not in texts(figure)


@pytest.mark.parametrize("n_axes", [2, 7, 12])
def test_names_of_axes_do_not_touch_and_are_inside(n_axes):
    many = [Axis(f"autoencoder.long_setting_{i}", "log", low=1e-3, high=1) for i in range(n_axes)]
    made = [row(i, score=1.0 + i) | {"settings": {a.name: 0.5 for a in many}} for i in (1, 2)]
    figure = parallel_coordinates(made, many)
    figure.draw_without_rendering()
    names = [
        t for t in figure.axes[0].texts if "setting" in t.get_text() or "score" in t.get_text()
    ]
    boxes = [text.get_window_extent() for text in names]
    assert len(boxes) == n_axes + 1
    width, height = figure.get_size_inches() * figure.dpi
    assert min(b.x0 for b in boxes) >= 0
    assert max(b.x1 for b in boxes) <= width
    assert max(b.y1 for b in boxes) < figure._suptitle.get_window_extent().y0 <= height
    if not names[0].get_rotation():
        assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_many_trials_are_drawn_each():
    figure = parallel_coordinates(rows(200), AXES)
    assert len(others(figure).get_segments()) == 199
    assert others(figure).get_alpha() < 0.5


def test_too_little_has_no_picture():
    assert parallel_coordinates(THREE[:1], AXES) is None
    assert parallel_coordinates(THREE, []) is None
    assert parallel_coordinates([row(1, "FAILED"), row(2, "STOPPED", rungs=[(1, 2.0)])], AXES) is None  # fmt: skip
