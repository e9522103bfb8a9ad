"""Correlograms are drawn as they are given, in milliseconds and thousandths."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.correlograms import correlograms
from ldns_ray.evaluation.plots.style import MARKS, REAL, SAMPLED, png

pytestmark = pytest.mark.filterwarnings("error")


def pair(seed, n_groups=4, n_lags=3):
    rng = np.random.default_rng(seed)
    auto_GL, cross_GL = rng.normal(size=(2, n_groups, 2 * n_lags + 1)) / 1000
    auto_GL[:, n_lags] = 0
    return auto_GL, cross_GL


def test_each_group_has_an_auto_and_a_cross_correlogram_of_every_candidate():
    real, sampled, baseline = pair(0), pair(1), pair(2)
    figure = correlograms(real=real, sampled=sampled, bin_width_s=0.005, others={"PSTH": baseline})
    assert len(figure.axes) == 8
    for i, ax in enumerate(figure.axes):
        row, group = divmod(i, 4)
        _, *lines = ax.lines
        assert [line.get_color() for line in lines] == [REAL, SAMPLED, MARKS[1].colour]
        assert lines[0].get_linewidth() > lines[2].get_linewidth()
        for line, side in zip(lines, (real, sampled, baseline), strict=True):
            wanted = 1000 * side[row][group]
            if row == 0:
                wanted[3] = np.nan
            np.testing.assert_allclose(line.get_ydata(), wanted)
            np.testing.assert_allclose(line.get_xdata(), [-15, -10, -5, 0, 5, 10, 15])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "real",
        "sampled",
        "PSTH",
    ]
    assert "ms" in figure.axes[4].get_xlabel()


def test_titles_tell_the_distance_without_lag_0_of_the_autocorrelogram():
    real, (auto_GL, cross_GL) = pair(0), pair(0)
    auto_GL[0] += 0.002
    cross_GL[1] += 0.004
    axes = correlograms(real=real, sampled=(auto_GL, cross_GL), bin_width_s=0.005).axes
    assert axes[0].get_title() == "Group 1 of units, most correlated\nRMSE 2"
    assert axes[3].get_title() == "Group 4 of units, least\nRMSE 0"
    assert [ax.get_title() for ax in axes[4:6]] == ["RMSE 0", "RMSE 4"]


@pytest.mark.parametrize(("n_groups", "n_lags"), [(1, 1), (2, 0), (4, 1)])
def test_few_groups_and_lags_and_silence_can_be_drawn(n_groups, n_lags):
    silent = tuple(np.zeros((n_groups, 2 * n_lags + 1)) for _ in range(2))
    figure = correlograms(real=silent, sampled=silent, bin_width_s=0.02)
    assert len(figure.axes) == 2 * n_groups
    assert png(figure).startswith(b"\x89PNG")
