"""Spectra are drawn as they are given, the difference in decibels."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.spectra import spectra
from ldns_ray.evaluation.plots.style import png
from ldns_ray.evaluation.spectra import POWER_FLOOR

pytestmark = pytest.mark.filterwarnings("error")

FREQUENCIES = np.array([0.0, 1.0, 2.0, 4.0])


def test_the_latents_of_most_real_power_are_shown():
    real_DF = np.outer([1.0, 5.0, 3.0, 2.0, 4.0], [100.0, 1.0, 2.0, 3.0])
    sampled_DF = 2 * real_DF
    *panels, last = spectra(frequencies_F=FREQUENCIES, real_DF=real_DF, sampled_DF=sampled_DF).axes
    for ax, d in zip(panels, [1, 4, 2, 3], strict=True):
        real, sampled = ax.lines
        np.testing.assert_allclose(real.get_ydata(), real_DF[d, 1:])
        np.testing.assert_allclose(sampled.get_ydata(), sampled_DF[d, 1:])
        np.testing.assert_allclose(real.get_xdata(), FREQUENCIES[1:])
        assert ax.get_xscale() == ax.get_yscale() == "log"
        assert ax.get_title() == f"Latent {d + 1}: 3 dB off (RMS)"
        assert ax.get_ylim() == panels[0].get_ylim()
    _, *single, mean = last.lines
    assert len(single) == 5
    np.testing.assert_allclose(mean.get_ydata(), 10 * np.log10([2.0, 2.0, 2.0]))
    assert last.get_title() == "All 5 latents: 3 dB off (RMS)"


def test_the_mean_is_over_latents_in_decibels():
    real_DF = np.ones((2, 4))
    sampled_DF = np.array([[1.0, 10.0, 100.0, 1.0], [1.0, 1000.0, 0.01, 1.0]])
    *_, last = spectra(frequencies_F=FREQUENCIES, real_DF=real_DF, sampled_DF=sampled_DF).axes
    np.testing.assert_allclose(last.lines[-1].get_ydata(), [20, 0, 0], atol=1e-9)
    low, high = last.get_ylim()
    assert low < -20
    assert high > 30


def test_power_next_to_none_is_raised_to_the_floor():
    real_DF = np.array([[0.0, 3.0, 0.0, 0.0]])
    first, last = spectra(frequencies_F=FREQUENCIES, real_DF=real_DF, sampled_DF=0 * real_DF).axes
    np.testing.assert_allclose(first.lines[1].get_ydata(), POWER_FLOOR)
    np.testing.assert_allclose(last.lines[-1].get_ydata(), [10 * np.log10(POWER_FLOOR / 3), 0, 0])


@pytest.mark.parametrize("n_latents", [1, 2, 6])
@pytest.mark.parametrize("frequencies", [[10.0], [0.0, 10.0, 20.0]])
def test_latents_that_never_change_can_be_drawn(n_latents, frequencies):
    power_DF = np.zeros((n_latents, len(frequencies)))
    figure = spectra(frequencies_F=np.array(frequencies), real_DF=power_DF, sampled_DF=power_DF)
    assert len(figure.axes) == min(n_latents, 4) + 1
    assert png(figure).startswith(b"\x89PNG")


def test_no_frequency_above_0_is_an_error():
    with pytest.raises(ValueError, match="one above 0"):
        spectra(frequencies_F=np.zeros(1), real_DF=np.ones((2, 1)), sampled_DF=np.ones((2, 1)))
