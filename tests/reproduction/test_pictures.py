"""Pictures that evaluations have not."""

import numpy as np

from ldns_ray.reproduction.pictures import rates_by_length


def test_a_dot_for_each_trial_at_its_length_and_rate():
    trials = [np.ones((n, 4), np.uint8) for n in (10, 20)]
    figure = rates_by_length(trials, trials[:1], [2 * trials[1]], 0.1)
    dots = [c.get_offsets().tolist() for c in figure.axes[0].collections]
    assert dots == [[[1.0, 10.0], [2.0, 10.0]], [[1.0, 10.0]], [[2.0, 20.0]]]
