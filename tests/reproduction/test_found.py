"""Names of metrics."""

from ldns_ray.reproduction.found import metric_name


def test_signs_that_mlflow_refuses_are_left_out():
    assert metric_name("score/PSTH + Poisson") == "score/PSTH Poisson"
    assert metric_name("left_out_90/error_1.5") == "left_out_90/error_1.5"
    assert metric_name("LDNS, DPM-Solver++ in 20 steps") == "LDNS DPM-Solver in 20 steps"
