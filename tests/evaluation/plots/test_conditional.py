"""Figures of what was asked for hold the data they claim to show."""

import numpy as np
import pytest

from ldns_ray.evaluation.decoding.conditional import Conditional
from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    ClassDecoding,
    RSquared,
    TraceDecoding,
)
from ldns_ray.evaluation.plots import conditional

BIN = 0.05


def decoding(n_trials=3, n_channels=2):
    rng = np.random.default_rng(0)
    asked = [rng.normal(size=(n, n_channels)) for n in range(8, 8 + n_trials)]
    decoded = [x + 0.1 for x in asked]
    r2 = tuple(0.5 + 0.1 * k for k in range(n_channels))
    return TraceDecoding(RSquared(0.9, r2), RSquared(-0.2, r2), asked, decoded, asked, decoded)


def test_traces_are_those_asked_for_and_decoded():
    d = decoding()
    figure = conditional.traces(d, "velocity", BIN, "cm/s", n_trials=2)
    *panels, bars = figure.axes
    assert len(panels) == 4
    for ax, (channel, trial) in zip(panels, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        _, asked, decoded = ax.lines
        np.testing.assert_allclose(asked.get_ydata(), d.asked[trial][:, channel])
        np.testing.assert_allclose(decoded.get_ydata(), d.decoded[trial][:, channel])
        np.testing.assert_allclose(asked.get_xdata()[:2], [BIN / 2, 3 * BIN / 2])
    assert panels[0].get_ylabel() == "velocity 1 (cm/s)"
    assert [bar.get_height() for bar in bars.patches] == [0.9, 0.5, 0.6, -0.2, 0.5, 0.6]
    low, high = bars.get_ylim()
    assert low < -0.2
    assert high > 1


def test_few_trials_and_many_channels_fit():
    figure = conditional.traces(decoding(n_trials=1, n_channels=5), "pose", BIN)
    assert len(figure.axes) == conditional.MAX_CHANNELS + 1


def test_confusions_are_shares_of_rows():
    real = np.array([[3, 1], [0, 4]])
    sampled = np.array([[2, 2], [0, 0]])
    left, right, _ = conditional.confusions(ClassDecoding(real, sampled), ["up", "down"]).axes
    np.testing.assert_allclose(left.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    np.testing.assert_allclose(right.images[0].get_array(), [[0.5, 0.5], [0, 0]])
    assert left.get_title() == "Real held-out: 87.5% of 8 trials"
    assert [text.get_text() for text in left.texts] == ["75", "25", "100"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["up", "down"]


def test_angles_are_drawn_the_short_way_round():
    asked, decoded = np.array([0.0, 350.0]), np.array([355.0, 5.0])
    left, _ = conditional.angles(AngleDecoding(asked, decoded, asked, asked), "angle").axes
    np.testing.assert_allclose(left.collections[0].get_offsets(), [[0, -5], [350, 365]])
    assert "median error 10.0°" in left.get_title()


@pytest.mark.parametrize("n_classes", [2, 20])
def test_a_picture_for_everything(n_classes):
    table = np.eye(n_classes, dtype=int)
    angle = AngleDecoding(*[np.array([0.0, 90.0])] * 4)
    names = [str(i) for i in range(n_classes)]
    decoded = Conditional({"v": decoding()}, ClassDecoding(table, table), names, {"a": angle})
    figures = conditional.conditional(decoded, BIN, {"v": "m/s"})
    assert list(figures) == ["decoded_v", "reached_v", "decoded_classes", "decoded_a"]
    assert "reached_v" not in conditional.conditional(decoded, BIN, {"v": "m"})
    odd = Conditional({"hand/$v$": decoding()}, None, [], {})
    assert list(conditional.conditional(odd, BIN, {"hand/$v$": "m/s"})) == [
        "decoded_hand__v_",
        "reached_hand__v_",
    ]
    assert conditional.conditional(Conditional({}, None, [], {}), BIN, {}) == {}
