"""Novelty on trials whose origin is known: played back, disturbed, mixed, or newly drawn."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import cdist

from ldns_ray.evaluation import novelty as module
from ldns_ray.evaluation.novelty import N_POINTS, novelty


def process(n_trials, seed, n_bins=80, n_latents=6):
    """A stationary Gaussian process with a correlation time of some bins and variance 1."""
    noise = np.random.default_rng(seed).standard_normal((n_trials, n_bins + 40, n_latents))
    smooth = gaussian_filter1d(noise, 4, axis=1)[:, 20:-20]
    return smooth / smooth.std()


def ragged(n_trials, seed):
    """Movements of 40 … 200 bins at a pace of their own."""
    rng = np.random.default_rng(seed)
    whole = process(n_trials, seed, n_bins=200)
    return [x[: rng.integers(40, 201)] for x in whole]


def test_training_trials_played_back_are_flagged():
    train = process(100, 0)
    order = np.random.default_rng(0).permutation(100)
    got = novelty(train, process(60, 1), train[order])
    assert got.ratio < 1e-6
    assert got.distances_sampled_S.max() < 1e-6 * np.median(got.distances_held_out_S)
    assert got.copied == 1
    assert got.replayed
    np.testing.assert_array_equal(got.nearest_S, order)


def test_a_replay_is_found_however_far_from_zero_and_however_small():
    """Where |a|² + |b|² - 2ab has no digit left for the distance."""
    train, held_out = (1e6 + 1e-2 * process(50, seed) for seed in (0, 1))
    train[:, 0] += 1e3  # a deviation that the standard deviation does not take away
    held_out[:, 0] += 1e3
    got = novelty(train, held_out, train)
    assert got.distances_sampled_S.max() < 1e-6 * np.median(got.distances_held_out_S)


def test_a_tenth_played_back_is_flagged_by_the_share():
    train = process(100, 0)
    mixed = np.concatenate([train[:10], process(90, 2)])
    got = novelty(train, process(100, 1), mixed)
    assert got.ratio > 0.9
    assert got.copied == pytest.approx(0.1)
    assert got.replayed
    few = novelty(train, process(100, 1), mixed[8:])
    assert few.copied == pytest.approx(2 / 92)
    assert not few.replayed


@pytest.mark.parametrize("make", [process, ragged])
@pytest.mark.parametrize("seed", [0, 10, 20])
def test_new_draws_are_as_new_as_held_out_trials(make, seed):
    got = novelty(make(150, seed), make(120, seed + 1), make(100, seed + 2), level=0.99)
    low, high = got.interval
    assert low <= 1 <= high
    assert low <= got.ratio <= high
    assert 0.9 < low < high < 1.1
    assert got.copied == 0
    assert not got.replayed


def test_interval_covers_the_truth_about_as_often_as_it_says():
    train = process(80, 0, n_bins=20, n_latents=2)
    held = [
        novelty(train, process(40, 2 * i + 1, 20, 2), process(40, 2 * i + 2, 20, 2)).interval
        for i in range(100)
    ]
    covered = np.mean([low <= 1 <= high for low, high in held])
    assert covered > 0.88
    assert np.mean([high - low for low, high in held]) < 0.6


def test_noise_on_a_replay_moves_it_away():
    train, held_out = process(100, 0), process(100, 1)
    noise = process(100, 3)
    ratios = [novelty(train, held_out, train + s * noise).ratio for s in (0.02, 0.2, 1.0)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.05
    assert ratios[2] > 0.7
    assert novelty(train, held_out, train + 0.2 * noise).replayed


def test_the_mean_of_all_trials_is_dull_but_no_replay():
    train = process(200, 0)
    got = novelty(train, process(100, 1), np.repeat(train.mean(0)[None], 50, axis=0))
    assert 0.5 < got.ratio < 0.8
    assert not got.replayed


def test_a_stretched_replay_is_a_replay():
    train, held_out = process(60, 0), process(60, 1)
    stretched = [np.repeat(x, 3, axis=0) for x in train]
    squeezed = [x.reshape(40, 2, -1).mean(1) for x in train]
    assert novelty(train, held_out, stretched).ratio < 1e-6
    assert novelty(train, held_out, squeezed).ratio < 0.2


def test_distances_are_their_definition():
    """At N_POINTS bins and unit deviation there is nothing to resample or scale."""
    sets = [process(n, seed, n_bins=N_POINTS, n_latents=3) for seed, n in enumerate((30, 20, 25))]
    mean, sd = sets[0].mean((0, 1)), sets[0].std((0, 1))
    train, held_out, sampled = (((x - mean) / sd).reshape(len(x), -1) for x in sets)
    got = novelty(*sets)
    size = np.sqrt(train.shape[1])
    np.testing.assert_allclose(got.distances_sampled_S, cdist(sampled, train).min(1) / size)
    np.testing.assert_allclose(got.distances_held_out_S, cdist(held_out, train).min(1) / size)
    np.testing.assert_array_equal(got.nearest_S, cdist(sampled, train).argmin(1))
    medians = [np.median(cdist(x, train).min(1)) for x in (sampled, held_out)]
    assert got.ratio == pytest.approx(medians[0] / medians[1])


def test_blocks_change_nothing(monkeypatch):
    sets = [process(n, seed) for seed, n in enumerate((30, 20, 25))]
    whole = novelty(*sets)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 64)
    parts = novelty(*sets)
    np.testing.assert_array_equal(parts.nearest_S, whole.nearest_S)
    assert parts.ratio == whole.ratio


def test_each_latent_counts_in_its_own_deviations():
    sets = [process(40, seed) for seed in range(3)]
    scale, shift = 10.0 ** np.arange(-3, 3), np.arange(6)
    got = novelty(*(x * scale + shift for x in sets))
    assert got.ratio == pytest.approx(novelty(*sets).ratio)


def test_a_part_of_a_trial_is_its_mean():
    """Five bins in two points: 0 1 and half of 2, then the other half, 3 and 4."""
    expected = [(0 + 1 + 2 / 2) / 2.5, (2 / 2 + 3 + 4) / 2.5]
    np.testing.assert_allclose(module._parts(5, 2) @ np.arange(5.0), expected)
    np.testing.assert_allclose(module._parts(2, 4), np.repeat(np.eye(2), 2, axis=0))
    np.testing.assert_allclose(module._parts(7, 7), np.eye(7), atol=1e-15)


@pytest.mark.parametrize("n_bins", [1, 3, 80])
def test_one_training_trial(n_bins):
    train, held_out, sampled = (process(n, s, n_bins) for s, n in enumerate((1, 50, 50)))
    got = novelty(train, held_out, sampled)
    assert 0.5 < got.ratio < 2
    assert not got.nearest_S.any()
    assert novelty(train, held_out, train).ratio < 1e-6


def test_without_any_distance_the_ratio_is_one():
    still = np.full((5, 10, 2), 0.1)
    got = novelty(still, still[:3], still[:4])
    assert got.ratio == 1
    assert got.interval == (1, 1)
    assert got.copied == 0  # nothing is nearer than real trials are
    assert not got.replayed
    moving = novelty(still, still, still + process(5, 0, 10, 2))
    assert np.isfinite(moving.ratio)
    assert moving.ratio > 1e6


def test_to_dict_goes_through_json():
    got = novelty(process(20, 0), process(10, 1), process(15, 2))
    told = json.loads(json.dumps(got.to_dict()))
    assert told["ratio"] == got.ratio
    assert told["interval"] == list(got.interval)
    assert told["replayed"] is False
    assert (told["n_sampled"], told["n_held_out"]) == (15, 10)
    assert told["distance_sampled"] / told["distance_held_out"] == pytest.approx(told["ratio"])


def test_same_seed_same_interval():
    sets = [process(20, seed) for seed in range(3)]
    assert novelty(*sets, seed=3).interval == novelty(*sets, seed=3).interval
    assert novelty(*sets, seed=3).interval != novelty(*sets, seed=4).interval


@pytest.mark.parametrize("which", ["train", "held_out", "sampled"])
def test_errors_name_the_set(which):
    names = ["train", "held_out", "sampled"]

    def call(wrong):
        novelty(*(wrong if name == which else process(5, 0) for name in names))

    with pytest.raises(ValueError, match=f"{which} has no trials"):
        call([])
    with pytest.raises(ValueError, match=f"{which} must be finite, got 1 of"):
        bad = process(5, 0)
        bad[2, 3, 1] = np.nan
        call(bad)
    with pytest.raises(ValueError, match="same latents, got .*4"):
        call(process(5, 0, n_latents=4))


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0}, {"n_resamples": 1}])
def test_resampling_is_checked(wrong):
    x = process(5, 0)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        novelty(x, x, x, **wrong)
