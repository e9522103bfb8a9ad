"""What a result is to reach, met and missed, by hand."""

from dataclasses import replace

import pytest

from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.rows import Measured, Row
from ldns_ray.reproduction import angle, lorenz
from ldns_ray.reproduction.criteria import at_least, at_most, beside_baselines, criteria_table
from ldns_ray.reproduction.lorenz import STATISTICS

ISI = ("rmse_mean_isi", "rmse_std_isi")


def row(name, score, distances, width=0.0, kind="baseline", size=9):
    """A candidate with these distances, whose intervals reach so far below them."""
    metrics = {
        m.name: Measured(x, 1.0, x, (x - width, x + width) if width else None, None)
        for m, x in zip(SCORED, distances, strict=True)
    }
    return Row(name, 9, score, None, metrics, n_silent=0, kind=kind, size=size)


def judged(*rows):
    summary = {"rows": [x.to_dict() for x in rows]}
    return {c.what.partition(", ")[0]: c for c in beside_baselines(summary)}


@pytest.mark.parametrize(("value", "least", "most"), [(1.0, False, True), (2.0, True, True), (3.0, True, False), (None, None, None)])  # fmt: skip
def test_bounds(value, least, most):
    assert at_least("x", value, 2.0).met is least
    assert at_most("x", value, 2.0).met is most


def test_nothing_is_met_without_a_bound():
    assert at_most("x", 1.0, None).met is None
    assert criteria_table([at_most("x", 1.0, None)]).rows == [["x", "1.00", "≤ –", "–"]]


def test_the_best_baseline_is_to_be_beaten():
    """Metric by metric, another one may be the best."""
    ours = row("LDNS", 1.2, (1.0, 1.0, 1.0, 1.0), kind="sampled")
    others = [row("a", 2.0, (0.9, 3.0, 3.0, 3.0)), row("b", 1.5, (4.0, 2.0, 4.0, 4.0))]
    found = judged(ours, *others)
    assert (found["score"].bound, found["score"].met) == (1.5, True)
    assert (found["KL population count (nats)"].bound, found["KL population count (nats)"].met) == (0.9, False)  # fmt: skip
    assert (found["RMSE correlations"].bound, found["RMSE correlations"].met) == (2.0, True)


@pytest.mark.parametrize(("width", "met"), [(0.0, False), (0.3, False), (0.6, True)])
def test_intervals_between_spikes_may_be_worse_by_their_error(width, met):
    ours = row("LDNS", 1.2, (1.0, 1.0, 1.5, 1.5), width, kind="sampled")
    found = judged(ours, row("a", 2.0, (2.0, 2.0, 1.0, 1.0)))
    assert [found[m.label].met for m in SCORED if m.name in ISI] == [met, met]
    assert found["RMSE correlations"].met is True


def test_others_are_not_judged_by():
    """Neither samples nor training trials nor baselines of another size are baselines to beat."""
    ours = row("LDNS", 1.2, (1.0,) * 4, kind="sampled")
    better = row("b", 1.0, (0.5,) * 4)
    others = [
        replace(better, kind="sampled"),
        replace(better, kind="real"),
        replace(better, size=4),
    ]
    assert all(c.bound is None for c in judged(ours, *others).values())


def test_lorenz_is_held_against_as_many_real_trials():
    ceiling = dict.fromkeys(STATISTICS, 0.98)
    sampled = ceiling | {"sd_isi": 0.969, "mean_isi": 0.971, "count_density": None}
    rates, *agreed = lorenz.criteria({"rates": 0.951}, {"sampled": sampled, "ceiling": ceiling})
    assert rates.met is True
    assert dict(zip(STATISTICS, [c.met for c in agreed], strict=True)) == {
        "mean_isi": True, "sd_isi": False, "correlations": True, "correlations_paper": True, "count_density": None,
    }  # fmt: skip
    assert lorenz.criteria({"rates": 0.949}, {"sampled": sampled, "ceiling": ceiling})[0].met is False  # fmt: skip


def test_directions_are_judged_at_every_guidance():
    guided = {"1": {"error_sampled": 30.0}, "2": {"error_sampled": 5.0}}
    weak, strong = angle.criteria({"90": {"guided": guided, "limit": 25.0}})
    assert (weak.value, weak.met) == (30.0, False)
    assert (strong.value, strong.met) == (5.0, True)
    assert strong.what == "angle error at 90°, never seen, guidance 2"
