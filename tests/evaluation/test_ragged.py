"""Trials of different lengths: padded blocks are the trials, wherever a block ends."""

import numpy as np
import pytest

from ldns_ray.evaluation import ragged
from ldns_ray.evaluation.ragged import centred_blocks, flatten_latents, weighted_means


def trials(lengths=(3, 7, 1, 5, 5, 2), n_channels=2):
    rng = np.random.default_rng(0)
    return [rng.normal(3, 2, (n, n_channels)) for n in lengths]


@pytest.mark.parametrize("entries", [1, 20, 2**20])
def test_blocks_hold_each_trial_less_its_mean(monkeypatch, entries):
    monkeypatch.setattr(ragged, "_BLOCK_ENTRIES", entries)
    latents = trials()
    seen = []
    for which, x_bTC in centred_blocks(*flatten_latents(latents)):
        for trial, x_TC in zip(latents[which], x_bTC, strict=True):
            np.testing.assert_allclose(x_TC[: len(trial)], trial - trial.mean(0), atol=1e-12)
            assert not x_TC[len(trial) :].any()
        seen += range(len(latents))[which]
        assert x_bTC.shape[1] == max(len(trial) for trial in latents[which])
    assert seen == list(range(len(latents)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_constant_is_zero_exactly(dtype):
    latents = [np.full((n, 2), 0.1, dtype) for n in (3, 7, 10)]
    latents[1][4, 1] = 0.2
    ((_, x_bTC),) = centred_blocks(*flatten_latents(latents))
    assert not x_bTC[[0, 2]].any()
    assert not x_bTC[1, :, 0].any()
    assert x_bTC[1, :7, 1].all()


def test_weights_are_repeats():
    columns = np.random.default_rng(0).normal(size=(4, 3))
    repeated = columns[[0, 0, 0, 2]].mean(0)
    got = weighted_means(columns, [[3, 0, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_allclose(got, [repeated, columns.mean(0)], rtol=1e-14)
    np.testing.assert_allclose(weighted_means(columns), [columns.mean(0)], rtol=1e-14)


@pytest.mark.parametrize("weights", [[[1, 1]], [1, 1, 1], [[0, 0, 0]], [[1, 1, 1], [0, 0, 0]]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"weights_RS must be \(R, 3\) with a positive sum"):
        weighted_means(np.ones((3, 2)), weights)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ([], "few has no trials"),
        (np.zeros((0, 5, 2)), "few has no trials"),
        (np.zeros((5, 2)), r"few must be \(trials, bins, latents\), got shape \(5, 2\)"),
        ([np.zeros((5, 2)), np.zeros((5, 3))], "every trial with the same latents"),
        ([np.zeros(5)], r"few must be \(T_i, D\) arrays"),
        ([np.zeros((5, 2)), np.zeros((0, 2))], "shortest trial with 0 bins"),
        ([np.zeros((5, 0))], "0 latents"),
        ([np.array([[0.0, np.nan], [np.inf, 1.0]])], "2 of 4 values NaN or infinite"),
        ([np.array([["a"]])], "real numbers"),
        ([np.zeros((2, 2), complex)], "real numbers"),
    ],
)
def test_invalid_latents_are_refused(latents, message):
    with pytest.raises(ValueError, match=message):
        flatten_latents(latents, "few")


def test_arrays_and_lists_are_the_same():
    dense = np.random.default_rng(0).normal(size=(3, 4, 2))
    for a, b in zip(flatten_latents(dense), flatten_latents(list(dense)), strict=True):
        np.testing.assert_array_equal(a, b)
