"""Statistics of one pass are those of all trials at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.moments import latent_statistics, mean_counts
from ldns_ray.data.regrouping import stretch
from tests.data.datasets import ragged

TRIALS = TrialSet.from_trials(ragged(50), bin_width_s=0.01)
CUTS = ([50], [1] * 50, [20, 7, 23])


def sets(trials: TrialSet, sizes: list[int]) -> list[TrialSet]:
    ends = np.cumsum(sizes).tolist()
    return [stretch(trials, end - n, end) for n, end in zip(sizes, ends, strict=True)]


@pytest.mark.parametrize("sizes", CUTS)
def test_mean_counts_are_exact(sizes: list[int]) -> None:
    large = replace(TRIALS, spikes=TRIALS.spikes.astype(np.uint16) * 20000)
    for trials in (TRIALS, large):
        np.testing.assert_array_equal(
            mean_counts(sets(trials, sizes)), trials.spikes.mean(0, dtype=np.float64)
        )


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("sizes", CUTS)
def test_latent_statistics_are_those_of_all_bins(sizes: list[int], offset: int) -> None:
    """With a mean far from zero too, where sums of squares would cancel."""
    assert TRIALS.latents is not None
    z_XD = TRIALS.latents + np.float32(offset)
    got = latent_statistics(sets(replace(TRIALS, latents=z_XD), sizes))
    z_XD = z_XD.astype(np.float64)
    np.testing.assert_allclose(got["mean"], z_XD.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got["std"], z_XD.std(0), rtol=1e-9)
    z_XD = (z_XD - z_XD.mean(0)) / z_XD.std(0)
    np.testing.assert_allclose(got["bound"], np.abs(z_XD).max(0), rtol=1e-9)
    levels_SD = np.stack([trial.mean(0) for trial in TRIALS.per_trial(z_XD)])
    np.testing.assert_allclose(
        got["level_covariance"], levels_SD.T @ levels_SD / len(levels_SD), rtol=1e-6, atol=1e-9
    )


def test_a_latent_that_never_changes_has_no_spread() -> None:
    still = replace(TRIALS, latents=np.ones((len(TRIALS.spikes), 1), np.float32))
    assert latent_statistics(sets(still, [30, 20]))["std"] == [1e-6]
    assert latent_statistics(sets(still, [30, 20]))["bound"] == [0]
