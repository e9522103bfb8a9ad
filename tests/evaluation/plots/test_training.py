"""Curves of training hold the losses they claim to show."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.training import training_curves


def test_training_curves_have_a_panel_per_stage_and_mark_the_best():
    history = [
        {"stage": stage, "step": 10 * i, "epoch": i, "train_loss": 1 / (i + 1), "val_loss": loss}
        for stage in ("autoencoder", "diffusion")
        for i, loss in enumerate([0.9, None, 0.4, 0.6])
    ]
    figure = training_curves(history)
    assert [ax.get_title() for ax in figure.axes] == ["Autoencoder", "Diffusion"]
    train, validation, best = figure.axes[0].lines
    np.testing.assert_allclose(train.get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(validation.get_xdata(), [0, 20, 30])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (20, 0.4)
    with pytest.raises(ValueError, match="history is empty"):
        training_curves([])
