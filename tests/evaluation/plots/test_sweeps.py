"""A sweep has the pictures that its trials allow, and never an error."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldns_ray.evaluation.plots.captions import caption
from ldns_ray.evaluation.plots.searched import Axis
from ldns_ray.evaluation.plots.style import png
from ldns_ray.evaluation.plots.sweeps import importance_bars, sweep_figures
from tests.evaluation.plots.sweep_rows import AXES, KIND, RATE, WIDTH, row, rows

pytestmark = pytest.mark.filterwarnings("error")

KNOWN = {WIDTH: 0.05, RATE: 0.7, KIND: 0.15}


def test_a_whole_sweep_has_every_picture_the_most_important_setting_first():
    made = [*rows(20), row(21, "STOPPED", rungs=[(1, 4.0)], rate=1e-3, kind="poisson", width=20)]
    figures = sweep_figures(made, AXES[::-1], KNOWN)
    assert list(figures) == ["history", "halving", "importances", "parallel_coordinates", "slices"]
    assert all(caption(name) for name in figures)
    names = [ax.get_xlabel() for ax in figures["slices"].axes]
    assert [name.split()[0] for name in names] == ["diffusion.learning_rate", "observation.kind", "diffusion.width"]  # fmt: skip
    assert all(figure.get_size_inches()[0] <= 9.6 for figure in figures.values())


def test_bars_are_sorted_and_what_is_missing_to_one_is_a_bar_of_its_own():
    figure = importance_bars(KNOWN | {"seed": None})
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "diffusion.learning_rate", "observation.kind", "diffusion.width", "seed", "several together, and noise",
    ]  # fmt: skip
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([70, 15, 5, 10])
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in ax.patches] == [0, 1, 2, 4]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [text.get_text() for text in ax.texts] == ["70 %", "15 %", "5 %", "not known", "10 %"]
    assert ax.get_title().startswith("diffusion.learning_rate matters most: 70 %")


@pytest.mark.parametrize("values", [{}, {"a": None}, {"a": 0.0, "b": 0.0}])
def test_there_are_no_bars_of_nothing(values):
    assert importance_bars(values) is None


def test_shares_that_make_up_all_leave_no_bar():
    ax = importance_bars({"a.x": 1.0, "b.x": 0.0}).axes[0]
    assert [text.get_text() for text in ax.texts] == ["100 %", "< 1 %"]


BEGUN = {"history"}
ALL = BEGUN | {"parallel_coordinates", "slices"}


@pytest.mark.parametrize(
    ("made", "axes", "names"),
    [
        ([], AXES, set()),
        ([row(1, "RUNNING", rate=1e-3)], AXES, set()),
        ([row(1, score=1.5, rate=1e-3)], AXES, BEGUN),
        ([row(1, "FAILED"), row(2, "FAILED", rate=1e-3)], AXES, BEGUN),
        ([row(1, "STOPPED"), row(2, "STOPPED", rungs=[(2, 3.0)])], AXES, BEGUN | {"halving"}),
        ([row(i, score=1.5, rate=i * 1e-3, kind="poisson") for i in (1, 2)], AXES, ALL),  # equal scores
        ([row(i, score=float(i), rate=1e-3) for i in (1, 2)], AXES[:1], ALL),  # a constant setting
        ([row(i, score=float(i), kind="poisson") for i in (1, 2)], AXES[1:2], ALL),  # choices alone
        ([row(i, score=float(i)) for i in (1, 2)], AXES, ALL),  # no setting in any trial
        ([row(1, score=2.0, rate="auto"), row(2, score=1.0, rate=0.0)], AXES, ALL),
        ([row(i, score=-float(i), rate=1e-3) for i in (0, 1, 2)], AXES, ALL),
        ([row(i, score=10.0 ** (i * 9), rate=1e-3) for i in (1, 2)], AXES, ALL),
        ([row(1, score=math.nan), row(2, score=math.inf, rate=1e-3)], AXES, BEGUN),
        ([row(i, score=1e-320 * i, rate=1e-3) for i in (1, 5)], AXES, ALL),
    ],
)  # fmt: skip
def test_few_or_odd_trials_have_the_pictures_they_allow(made, axes, names):
    figures = sweep_figures(made, axes, {})
    assert set(figures) == names
    for figure in figures.values():
        figure.draw_without_rendering()


NAMES = st.sampled_from(["a.x", "a.opt.y", "b.$z_", "神経.x"])
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.floats(1e-9, 1e9)
    | st.sampled_from(["a", "$b_", "神"])
)
SCORES = st.floats(1e-6, 1e6) | st.none() | st.just(math.nan)
ROWS = st.builds(
    lambda status, score, settings, rungs: {"status": status, "score": score, "settings": settings, "rungs": rungs},
    st.sampled_from(["FINISHED", "FINISHED", "STOPPED", "FAILED"]), SCORES,
    st.dictionaries(NAMES, VALUES), st.lists(st.tuples(st.integers(0, 1000), st.floats(0.1, 1e3)), max_size=3),
)  # fmt: skip
SPACES = st.lists(
    st.builds(lambda name, values: Axis(name, "choices", choices=tuple(values)), NAMES, st.lists(VALUES, max_size=4, unique_by=repr))
    | st.builds(lambda name, low: Axis(name, "log", low=low, high=2 * low), NAMES, st.floats(1e-9, 1e9))
    | st.builds(lambda name, low, whole: Axis(name, "linear", low=low, high=low + 3, integer=whole), NAMES, st.integers(-9, 99), st.booleans())
    | st.builds(lambda name: Axis(name, "linear"), NAMES),
    max_size=4, unique_by=lambda axis: axis.name,
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(ROWS, max_size=6), SPACES)
@settings(max_examples=25, deadline=None)
def test_no_trials_are_an_error(made, axes):
    numbered = [r | {"number": i} for i, r in enumerate(made, 1)]
    figures = sweep_figures(numbered, axes, {})
    assert ("history" in figures) == bool(made)
    for figure in figures.values():
        assert png(figure).startswith(b"\x89PNG")
