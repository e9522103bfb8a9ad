"""Figures of latents hold the traces they claim to show."""

import numpy as np

from ldns_ray.evaluation.plots.latents import latents


def test_latents_show_the_given_traces():
    rng = np.random.default_rng(0)
    real, sampled = rng.normal(size=(5, 30, 7)), [rng.normal(size=(n, 7)) for n in (20, 25)]
    figure = latents(real, sampled, n_trials=2, n_shown=3)
    assert len(figure.axes) == 7
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), real[1, :, 1])
    np.testing.assert_allclose(figure.axes[3].lines[0].get_ydata(), sampled[0][:, 0])
    one = latents(real[:, :, :1], real[:, :, :1])
    assert len(one.axes) == 2 + 1
