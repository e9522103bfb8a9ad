"""Figures of spikes hold the data they claim to show."""

import numpy as np
import pytest

from ldns_ray.evaluation import metrics
from ldns_ray.evaluation.plots import spikes, style

pytestmark = pytest.mark.filterwarnings("error")

BIN = 0.01


def test_rasters_draw_every_bin_with_spikes(pair):
    real, sampled = pair
    axes = spikes.rasters(real, sampled, BIN, n_trials=2).axes
    drawn = [len(ax.collections[0].get_segments()) for ax in axes]
    expected = [np.count_nonzero(trial) for trial in (*real[:2], *sampled[:2])]
    assert drawn == expected
    times = np.array([segment[0, 0] for segment in axes[0].collections[0].get_segments()])
    np.testing.assert_allclose(
        np.bincount(np.rint(times / BIN - 0.5).astype(int), minlength=40),
        np.count_nonzero(real[0], axis=1),
    )


def test_population_counts_show_histograms_and_densities(pair):
    real, sampled = pair
    (ax,) = spikes.population_counts(real, sampled).axes
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(2.0)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), metrics.count_densities(real, sampled)[0])
    assert ax.get_yscale() == "log"
    assert spikes.population_counts(real, sampled, log=False).axes[0].get_yscale() == "linear"


def test_correlations_plot_each_pair_once(pair):
    real, sampled = pair
    figure = spikes.correlations(real, sampled)
    points = figure.axes[2].collections[0].get_offsets()
    below = np.tril_indices(6, -1)
    expected = np.stack([metrics.correlations(x)[below] for x in pair], axis=1)
    np.testing.assert_allclose(points, expected)
    assert f"{metrics.rmse_corr(real, sampled):.3g}" in figure.axes[2].get_title()


def test_isi_leaves_out_units_without_intervals_and_says_so(pair):
    real, sampled = pair
    mute = sampled.copy()
    mute[:, :, 2] = 0
    left, right = spikes.isi(real, mute, BIN).axes
    assert len(left.collections[0].get_offsets()) == 5
    assert "5 of 6 units" in left.get_title()
    keep = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(
        right.collections[0].get_offsets()[:, 0], 1e3 * metrics.isi_statistics(real, BIN)[1][keep]
    )


def test_further_candidates_are_thin_lines_and_open_markers(pair):
    real, sampled = pair
    others = {"PSTH": sampled[:, :, ::-1], "mean rates": real[:5] // 2}
    (ax,) = spikes.population_counts(real, sampled, others=others).axes
    real_line, _, *thin = ax.lines
    assert len(thin) == 2
    for line, mark, (name, x) in zip(thin, style.MARKS[1:], others.items(), strict=False):
        np.testing.assert_allclose(line.get_ydata(), metrics.count_densities(real, x)[1])
        assert line.get_color() == mark.colour
        assert line.get_linewidth() < real_line.get_linewidth()
        assert line.get_label() == f"{name}, KL = {metrics.kl_psc(real, x):.2g} nats"
    figure = spikes.isi(real, sampled, BIN, others=others)
    for panel, moment in zip(figure.axes, (0, 1), strict=True):
        assert len(panel.collections) == 3
        a_N, b_N = (1e3 * metrics.isi_statistics(x, BIN)[moment] for x in (real, others["PSTH"]))
        low, high = panel.get_xlim()
        wanted = np.stack([a_N, np.clip(b_N, low, high)], axis=1)
        np.testing.assert_allclose(panel.collections[1].get_offsets(), wanted)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["sampled", "PSTH", "mean rates"]


def test_candidates_out_of_range_lie_at_the_edge(pair):
    real, sampled = pair
    rare = np.zeros_like(sampled)
    rare[:, [0, -1]] = 1
    ax = spikes.isi(real, sampled, BIN, others={"rare": rare}).axes[0]
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 1], ax.get_ylim()[1])


def test_degenerate_data_can_be_drawn(tmp_path):
    silent, one = np.zeros((2, 5, 1), int), np.ones((1, 5, 1), int)
    others = {"silent": silent, "two bins": one[:, :2]}
    figures = {
        "rasters": spikes.rasters(silent, one, BIN),
        "counts": spikes.population_counts(silent, one),
        "correlations": spikes.correlations(silent, one),
        "isi": spikes.isi(silent, one, BIN),
        "isi, beside others": spikes.isi(one, one, BIN, others=others),
        "counts, beside others": spikes.population_counts(one, silent, others=others),
    }
    assert len(style.save_figures(figures, tmp_path)) == 6
