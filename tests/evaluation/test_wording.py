"""Figures are told with as many digits as their intervals."""

from ldns_ray.evaluation.wording import told, with_interval


def test_a_figure_with_its_interval():
    assert with_interval(0.8871, (0.8812, 0.8929)) == "0.887 (0.881–0.893)"
    assert with_interval(12.3, [10, 14.04], ".1f", "°") == "12.3° (10.0–14.0)"
    assert with_interval(0.5, None, ".2f", " Hz") == "0.50 Hz"


def test_a_negative_bound_keeps_its_sign():
    assert with_interval(0.01, (-0.02, 0.03), ".2f") == "0.01 (-0.02 to 0.03)"


def test_an_interval_stands_beside_its_value():
    summary = {"r2": 0.5, "r2_interval": [0.4, 0.6], "nll": 1.0, "nll_interval": None}
    assert told(summary, "r2", ".1f") == "0.5 (0.4–0.6)"
    assert told(summary, "nll", ".1f") == "1.0"
