"""Latents of a simulation that are known but for an affine map."""

import numpy as np
import pytest

from ldns_ray.evaluation.decoding.decoders import TracePairs
from ldns_ray.reproduction.recovery import affine_r2, check_truth


def pairs(rng, n_trials, noise=0.0):
    """Four latents of a model, one of them no latent of its own, that hold three true ones."""
    map_34 = np.array([[2.0, 0, 1, 0], [0, -1, 0, 0.5], [1, 0, 0, 3]])
    truth = [rng.standard_normal((50, 3)) for _ in range(n_trials)]
    return TracePairs([x @ map_34 + 5 + noise * rng.standard_normal((50, 4)) for x in truth], truth)


def test_an_affine_map_is_undone():
    rng = np.random.default_rng(0)
    found = affine_r2(pairs(rng, 5), pairs(rng, 3))
    assert found.total == pytest.approx(1, abs=1e-6)
    assert found.per_channel == pytest.approx((1, 1, 1), abs=1e-6)


def test_half_of_the_variance():
    """One latent in two is there: inputs know the first channel, and the second, of equal variance, not at all."""
    rng = np.random.default_rng(1)

    def half(n):
        truth = [rng.standard_normal((200, 2)) for _ in range(n)]
        return TracePairs([x[:, :1] for x in truth], truth)

    found = affine_r2(half(40), half(40))
    assert found.per_channel == pytest.approx((1, 0), abs=0.01)
    assert found.total == pytest.approx(0.5, abs=0.02)


def test_what_is_fitted_is_not_what_is_scored():
    """With noise for inputs, and as many of them as there are bins, training fits and held-out trials do not."""
    rng = np.random.default_rng(2)
    noise = [TracePairs([rng.standard_normal((30, 30))], [rng.standard_normal((30, 2))]) for _ in range(2)]  # fmt: skip
    assert affine_r2(noise[0], noise[0]).total > 0.95
    assert affine_r2(*noise).total < 0


def test_recordings_have_no_truth(trained, tmp_path):
    from dataclasses import replace

    from tests.pipelines import reaches

    with pytest.raises(ValueError, match="no true latents and rates.*Leave --data out"):
        check_truth(replace(trained, data_uri=reaches(tmp_path)))
    check_truth(trained)
