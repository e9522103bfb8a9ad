"""Curves of training hold the losses they claim to show."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.training import training_curves

pytestmark = pytest.mark.filterwarnings("error")


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


@pytest.mark.parametrize(("last", "scale"), [(0.2, "linear"), (0.05, "log"), (-0.5, "linear")])
def test_losses_over_a_large_range_are_drawn_on_a_logarithmic_axis(last, scale):
    history = [{"step": i, "train_loss": loss} for i, loss in enumerate([1.0, 0.9, last])]
    (ax,) = training_curves(history).axes
    assert ax.get_yscale() == scale


def test_losses_that_are_missing_or_not_finite_are_skipped():
    losses = [1.0, None, float("nan"), 0.5, float("inf")]
    (ax,) = training_curves([{"step": i, "val_loss": x} for i, x in enumerate(losses)]).axes
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 3])
    assert ax.lines[1].get_xdata()[0] == 3
    (empty,) = training_curves([{"step": 0}]).axes
    assert not empty.lines
