"""Parts of an assessment that its results do not show."""

import numpy as np
import pytest

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.schema import Trial
from ldns_ray.evaluation.assessment import BASELINES, sample_baselines
from ldns_ray.evaluation.baselines.psth import psth, sample_psth


@pytest.mark.parametrize(("rate", "kind"), [(2.0, np.uint8), (400.0, np.uint16)])
def test_baselines_take_as_little_memory_as_their_counts_need(rate, kind):
    spikes = np.random.default_rng(0).poisson(rate, (12, 30, 4))
    trials = [Trial(x, trial_id=str(i), session="s", split="train") for i, x in enumerate(spikes)]
    train = TrialSet.from_trials(trials, 0.01)
    sampled, left_out = sample_baselines(train, None, 5, seed=3)
    assert (list(sampled), left_out) == (list(BASELINES), [])
    assert {x.dtype for trials in sampled.values() for x in trials} == {np.dtype(kind)}
    drawn, _ = sample_psth(psth(train.spikes_list(), None, bin_width_s=0.01), 5, seed=3)
    np.testing.assert_array_equal(sampled[BASELINES[0]], drawn)
