"""Figures hold the data they claim to show, and are written where they should be."""

import sys

import numpy as np
import pytest
from matplotlib.image import imread

from ldns_ray.evaluation import metrics, plots

BIN = 0.01


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    rates = np.linspace(0.2, 0.6, 6)
    return rng.poisson(rates, (30, 40, 6)), rng.poisson(rates, (25, 40, 6))


def test_rasters_draw_every_bin_with_spikes(pair):
    real, sampled = pair
    axes = plots.rasters(real, sampled, BIN, n_trials=2).axes
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
    (ax,) = plots.population_counts(real, sampled).axes
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(2.0)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), metrics.count_densities(real, sampled)[0])
    assert ax.get_yscale() == "log"
    assert plots.population_counts(real, sampled, log=False).axes[0].get_yscale() == "linear"


def test_correlations_plot_each_pair_once(pair):
    real, sampled = pair
    figure = plots.correlations(real, sampled)
    points = figure.axes[2].collections[0].get_offsets()
    below = np.tril_indices(6, -1)
    expected = np.stack([metrics.correlations(x)[below] for x in pair], axis=1)
    np.testing.assert_allclose(points, expected)
    assert f"{metrics.rmse_corr(real, sampled):.3g}" in figure.axes[2].get_title()


def test_isi_leaves_out_units_without_intervals_and_says_so(pair):
    real, sampled = pair
    mute = sampled.copy()
    mute[:, :, 2] = 0
    left, right = plots.isi(real, mute, BIN).axes
    assert len(left.collections[0].get_offsets()) == 5
    assert "5 of 6 units" in left.get_title()
    keep = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(
        right.collections[0].get_offsets()[:, 0], 1e3 * metrics.isi_statistics(real, BIN)[1][keep]
    )


def test_training_curves_have_a_panel_per_stage_and_mark_the_best():
    history = [
        {"stage": stage, "step": 10 * i, "epoch": i, "train_loss": 1 / (i + 1), "val_loss": loss}
        for stage in ("autoencoder", "diffusion")
        for i, loss in enumerate([0.9, None, 0.4, 0.6])
    ]
    figure = plots.training_curves(history)
    assert [ax.get_title() for ax in figure.axes] == ["Autoencoder", "Diffusion"]
    train, validation, best = figure.axes[0].lines
    np.testing.assert_allclose(train.get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(validation.get_xdata(), [0, 20, 30])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (20, 0.4)
    with pytest.raises(ValueError, match="history is empty"):
        plots.training_curves([])


def test_latents_show_the_given_traces():
    rng = np.random.default_rng(0)
    real, sampled = rng.normal(size=(5, 30, 7)), [rng.normal(size=(n, 7)) for n in (20, 25)]
    figure = plots.latents(real, sampled, n_trials=2, n_shown=3)
    assert len(figure.axes) == 7
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), real[1, :, 1])
    np.testing.assert_allclose(figure.axes[3].lines[0].get_ydata(), sampled[0][:, 0])
    one = plots.latents(real[:, :, :1], real[:, :, :1])
    assert len(one.axes) == 2 + 1


def test_degenerate_data_can_be_drawn(tmp_path):
    silent, one = np.zeros((2, 5, 1), int), np.ones((1, 5, 1), int)
    figures = {
        "rasters": plots.rasters(silent, one, BIN),
        "counts": plots.population_counts(silent, one),
        "correlations": plots.correlations(silent, one),
        "isi": plots.isi(silent, one, BIN),
    }
    assert len(plots.save_figures(figures, tmp_path)) == 4


def test_figures_are_written_at_their_size(pair, tmp_path):
    figures = {"isi": plots.isi(*pair, BIN), "rasters": plots.rasters(*pair, BIN)}
    paths = plots.save_figures(figures, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["isi.png", "rasters.png"]
    for path, figure in zip(paths, figures.values(), strict=True):
        width, height = figure.get_size_inches() * plots.DPI
        assert imread(path).shape[:2] == (round(height), round(width))


def test_no_global_state():
    assert "matplotlib.pyplot" not in vars(plots)
    assert not any(
        getattr(value, "__name__", "") == "matplotlib.pyplot"
        for value in vars(sys.modules[plots.__name__]).values()
    )
