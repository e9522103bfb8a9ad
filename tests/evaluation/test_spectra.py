"""Spectra of latents against theory: white noise, sinusoids, autoregression, gains."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from ldns_ray.evaluation.spectra import (
    MOST_BANDS,
    POWER_FLOOR,
    Spectra,
    bands,
    frequencies,
    latent_spectrum,
    trial_spectra,
)


def white(n_trials, n_bins, n_latents=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n_trials, n_bins, n_latents))


def spectrum(latents, n_fft):
    return trial_spectra(latents, n_fft).pool()[0]


@pytest.mark.parametrize("n_fft", [2, 3, 4, 17, 64, 140, 1000, 4096])
def test_bands_cut_the_frequencies_without_gap(n_fft):
    edges = bands(n_fft)
    assert edges[0] == 1
    assert edges[-1] == n_fft // 2 + 1
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 <= MOST_BANDS
    widths = np.diff(edges)
    assert (np.diff(widths) >= -1).all()  # wider and wider, up to rounding


def test_bands_are_geometric_where_frequencies_are_many():
    edges = bands(2**20)
    ratios = edges[11:] / edges[10:-1]
    assert_allclose(ratios, (2**19 + 1) ** (1 / MOST_BANDS), rtol=0.02)
    assert MOST_BANDS - 2 < len(edges) - 1 <= MOST_BANDS  # the slowest fall together


def test_frequencies_by_hand():
    # 8 bins of 10 ms: multiples of 12.5 Hz, from 1 to 4, each a band of its own.
    assert bands(8).tolist() == [1, 2, 3, 4, 5]
    assert_allclose(frequencies(8, 0.01), [12.5, 25.0, 37.5, 50.0])
    assert frequencies(1000, 0.005)[-1] < 100  # below Nyquist


@pytest.mark.parametrize("n_bins", [2, 3, 7, 50, 140])
def test_white_noise_has_power_one_at_every_frequency(n_bins):
    power = spectrum(white(4000, n_bins), 140).power_DF
    assert_allclose(power.mean(0), 1, atol=0.06)  # five standard errors of 16000 periodograms
    assert power.mean() == pytest.approx(1, abs=0.03)


def test_white_noise_of_mixed_lengths():
    trials = [x for n in (5, 30, 90) for x in white(1500, n, seed=n)]
    assert_allclose(spectrum(trials, 90).power_DF.mean(0), 1, atol=0.06)


@pytest.mark.parametrize("k", [3, 10, 40])
def test_a_sinusoid_peaks_in_its_band(k):
    n_fft = 128
    t = np.arange(n_fft)
    wave = 5 + np.sin(2 * np.pi * k * t / n_fft + 0.3)[:, None]
    power = spectrum([wave], n_fft).power_DF[0]
    band = int(np.searchsorted(bands(n_fft), k, "right")) - 1
    assert np.argmax(power) == band
    # Of n bins at amplitude 1, |Σ w x|² / Σ w² = (n/4)² / (3n/8) = n/6 at the frequency itself.
    edges = bands(n_fft)
    if edges[band + 1] - edges[band] == 1:
        assert power[band] == pytest.approx(n_fft / 6, rel=0.01)


def test_an_autoregression_has_its_known_spectrum():
    phi, n_bins = 0.8, 512
    noise = np.random.default_rng(0).standard_normal((600, n_bins + 100, 3))
    latents = lfilter([1], [1, -phi], noise, axis=1)[:, 100:]
    omega = 2 * np.pi * np.arange(1, n_bins // 2 + 1) / n_bins
    true_K = 1 / np.abs(1 - phi * np.exp(-1j * omega)) ** 2
    edges = bands(n_bins)
    true_F = [true_K[a - 1 : b - 1].mean() for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert_allclose(spectrum(latents, n_bins).power_DF.mean(0), true_F, rtol=0.12)
    assert_allclose(
        spectrum(latents, n_bins).power_DF.mean(0)[10:], np.array(true_F)[10:], rtol=0.06
    )


def test_a_drift_does_not_leak():
    """A ramp of 20 over the trial, and noise of 0.01 that an untapered periodogram would bury."""
    n_bins = 256
    latents = 0.01 * white(50, n_bins) + np.linspace(0, 20, n_bins)[:, None]
    power = spectrum(latents, n_bins).power_DF.mean(0)
    assert power[-1] == pytest.approx(1e-4, rel=0.2)


def test_twice_the_size_is_six_decibels():
    a = white(30, 40)
    # Of all latents, then of one in four: √(6.02² / 4).
    assert latent_spectrum(spectrum(a, 64), spectrum(2 * a, 64)) == pytest.approx(6.0206, abs=1e-3)
    one = a * np.array([1, 1, 2, 1])
    assert latent_spectrum(spectrum(a, 64), spectrum(one, 64)) == pytest.approx(3.0103, abs=1e-3)


def test_distance_is_symmetric_and_zero_to_itself():
    a, b = spectrum(white(30, 40), 40), spectrum(white(30, 40, seed=1), 40)
    assert latent_spectrum(a, a) == 0
    assert latent_spectrum(a, b) == pytest.approx(latent_spectrum(b, a))
    assert 0 < latent_spectrum(a, b) < 2


def test_slow_latents_are_far_from_fast_ones():
    fast = white(200, 100)
    slow = lfilter([0.6], [1, -0.8], white(200, 100, seed=1), axis=1)
    floor = latent_spectrum(spectrum(fast, 100), spectrum(white(200, 100, seed=2), 100))
    assert latent_spectrum(spectrum(fast, 100), spectrum(slow, 100)) > 10 * floor


def test_the_mean_and_padding_do_not_count():
    a = white(1, 40)
    assert_allclose(spectrum(a + 100, 64).power_DF, spectrum(a, 64).power_DF, rtol=1e-5)
    alone = spectrum(a, 90).power_DF
    beside = trial_spectra([a[0], white(1, 90)[0]], 90).power_SDF[0]
    assert_allclose(beside, alone, rtol=1e-5)


def test_weights_are_repeats():
    trials = [x for n in (12, 40, 7) for x in white(1, n, seed=n)]
    statistics = trial_spectra(trials, 40)
    pooled = statistics.pool([[2, 1, 0], [1, 1, 1]])
    repeated = spectrum([trials[0], trials[0], trials[1]], 40)
    assert_allclose(pooled[0].power_DF, repeated.power_DF, rtol=1e-6)
    assert_allclose(pooled[1].power_DF, statistics.pool()[0].power_DF, rtol=1e-12)
    assert statistics.n_trials == 3
    assert statistics.power_SDF.dtype == np.float32


def test_constants_are_finite():
    moving, still = spectrum(white(3, 40), 40), spectrum(np.full((3, 40, 4), 0.1), 40)
    assert not still.power_DF.any()
    assert latent_spectrum(still, still) == 0
    assert 50 < latent_spectrum(moving, still) < -10 * np.log10(POWER_FLOOR) + 20
    assert latent_spectrum(moving, still) == latent_spectrum(still, moving)
    assert not spectrum(white(3, 1), 40).power_DF.any()  # trials of one bin are constant too


def test_powers_under_the_floor_do_not_count():
    strong, faint, fainter = 1.0, 1e-9, 1e-12
    a, b = (Spectra(np.array([[strong, weak]])) for weak in (faint, fainter))
    assert latent_spectrum(a, b) == 0


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="longest trial's 40 bins, got 30"):
        trial_spectra(white(2, 40), 30)
    with pytest.raises(ValueError, match="n_fft must be at least 2, got 1"):
        bands(1)
    with pytest.raises(ValueError, match="bin_width_s must be positive"):
        frequencies(40, 0.0)
    with pytest.raises(ValueError, match="same latents and bands"):
        latent_spectrum(spectrum(white(2, 40), 40), spectrum(white(2, 40, 3), 40))
    with pytest.raises(ValueError, match="NaN"):
        trial_spectra(np.full((1, 4, 2), np.nan), 4)
