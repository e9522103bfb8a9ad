"""Rows of a comparison: what they hold, that they agree with `realism`, and come back from JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ldns_ray.evaluation.catalogue import METRICS, SCORED
from ldns_ray.evaluation.comparison import (
    Candidate,
    compare_candidates,
    format_rows,
    metric_rows,
)
from ldns_ray.evaluation.rows import Row, rivals
from ldns_ray.evaluation.score import realism
from tests.evaluation.recordings import BIN, refractory_population

REAL = refractory_population(n_trials=60, seed=1)
LIKE = refractory_population(n_trials=50, seed=2)
UNLIKE = refractory_population(n_trials=50, seed=3, gain=1.5)


def walks(n_trials, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [scale * rng.normal(size=(80, 3)).cumsum(0) for _ in range(n_trials)]


@pytest.fixture(scope="module")
def rows():
    candidates = {
        "like": Candidate(LIKE, walks(50, 2)),
        "unlike": Candidate(list(UNLIKE), walks(50, 3, scale=2.0)),
        "without latents": Candidate(LIKE),
    }
    return compare_candidates(Candidate(REAL, walks(60, 1)), candidates, BIN, n_splits=8, n_resamples=20)  # fmt: skip


def test_scores_are_realism(rows):
    for row, spikes in zip(rows, (LIKE, UNLIKE, LIKE), strict=True):
        found = realism(REAL, spikes, BIN, n_splits=8, n_resamples=20)
        assert row.score == pytest.approx(found.score, rel=1e-12)
        assert row.score_interval == pytest.approx(found.interval, rel=1e-9)
        for metric in SCORED:
            measured = row.metrics[metric.name]
            assert measured.distance == pytest.approx(found.distances[metric.name], rel=1e-9)
            assert measured.floor == pytest.approx(found.floors[metric.name], rel=1e-9)
            assert measured.ratio == pytest.approx(found.ratios[metric.name], rel=1e-9)


def test_every_metric_is_there_in_order_with_its_interval(rows):
    like, _, without = rows
    assert list(like.metrics) == list(METRICS)
    assert list(without.metrics) == [name for name in METRICS if name != "latent_spectrum"]
    for row in rows:
        assert row.n_trials == 50
        for x in row.metrics.values():
            assert 0 < x.interval[0] <= x.distance <= x.interval[1]
            assert x.ratio_interval[0] <= x.ratio <= x.ratio_interval[1]


def test_what_is_wrong_shows_against_the_first_row(rows):
    like, unlike, without = rows
    assert like.relative_score is None
    assert like.relative_interval is None
    assert unlike.relative_score == pytest.approx(unlike.score / like.score)
    assert unlike.relative_interval[0] > 1
    # The same trials again: in every resample as close as the first row.
    assert without.relative_score == pytest.approx(1.0)
    assert without.relative_interval == pytest.approx((1.0, 1.0))
    # Twice the amplitude is 6.02 dB at every frequency.
    assert unlike.metrics["latent_spectrum"].distance == pytest.approx(6.02, abs=1.5)


def test_scores_of_different_sizes_are_not_set_side_by_side():
    """The same wrong samples, fewer of them, score better: they were told apart with less data."""
    candidates = {
        "many": Candidate(UNLIKE),
        "few": Candidate(UNLIKE[:4]),
        "again": Candidate(UNLIKE[:40]),
    }
    many, few, again = compare_candidates(
        Candidate(REAL), candidates, BIN, n_splits=8, n_resamples=4
    )
    assert few.score < 0.8 * many.score
    assert [row.size for row in (many, few, again)] == [30, 4, 30]
    assert few.relative_score is few.relative_interval is None
    assert again.relative_score == again.score / many.score
    assert rivals([many, few, again, replace(again, kind="real")]) == [again]


def test_no_candidates_have_no_rows():
    assert compare_candidates(Candidate(REAL), {}, BIN) == []


def test_without_resamples_there_are_no_intervals():
    (row,) = compare_candidates(Candidate(REAL), {"like": Candidate(LIKE)}, BIN, n_splits=3)
    assert row.score_interval is None
    assert all(x.interval is x.ratio_interval is None for x in row.metrics.values())


def test_rows_come_back_from_json(rows):
    for row in rows:
        assert Row.from_dict(json.loads(json.dumps(row.to_dict()))) == row


def test_units_that_fell_silent_are_counted():
    mute = LIKE.copy()
    mute[:, :, [2, 5]] = 0
    (row,) = compare_candidates(Candidate(REAL), {"mute": Candidate(mute)}, BIN, n_splits=3)
    assert row.n_silent == 2


def test_tables_say_what_the_rows_say(rows):
    head, _, *lines = format_rows(rows).splitlines()
    assert "RMSE mean ISI (s)" in head
    for row, line in zip(rows, lines, strict=True):
        assert line.startswith(row.name)
        assert f"{row.score:.2f} ({row.score_interval[0]:.2f}–{row.score_interval[1]:.2f})" in line
    told = metric_rows(rows)
    assert len(told) == sum(len(row.metrics) for row in rows)
    assert told[0]["ratio"] == rows[0].metrics["kl_psc"].ratio


def test_small_distances_are_told_with_two_digits(rows):
    mean_isi = replace(rows[0].metrics["rmse_mean_isi"], distance=0.00013, floor=0.000076)
    row = replace(rows[0], metrics={**rows[0].metrics, "rmse_mean_isi": mean_isi})
    _, _, line = format_rows([row]).splitlines()
    assert "0.000130 (floor 0.000076)" in line


@pytest.mark.parametrize(
    ("reference", "sampled"),
    [
        (REAL, np.zeros_like(LIKE)),
        (np.zeros_like(REAL), np.zeros_like(LIKE)),
        (REAL[:, :, :1], LIKE[:, :, :1]),
        (REAL[:2], LIKE[:1]),
        (REAL[:, :2], LIKE[:, :2]),
        (REAL, REAL),
        (REAL[:, :1], LIKE[:, :1]),
    ],
    ids=["silent", "both silent", "one unit", "one trial", "two bins", "identical", "one bin"],
)
def test_degenerate_input_is_finite(reference, sampled):
    z = [np.zeros((len(x), 2)) for x in reference], [np.zeros((len(x), 2)) for x in sampled]
    (row,) = compare_candidates(
        Candidate(reference, z[0]), {"x": Candidate(sampled, z[1])}, BIN, n_splits=3, n_resamples=4
    )
    numbers = [row.score, *row.score_interval]
    for x in row.metrics.values():
        numbers += [x.distance, x.floor, x.ratio, *x.interval, *x.ratio_interval]
    assert len(numbers) == 3 + 7 * len(METRICS)
    assert np.isfinite(numbers).all()
    assert min(numbers) > 0


def test_empty_input_and_other_units_are_refused():
    with pytest.raises(ValueError, match="no trials"):
        compare_candidates(Candidate(REAL), {"none": Candidate([])}, BIN)
    with pytest.raises(ValueError, match="at least 2 reference trials"):
        compare_candidates(Candidate(REAL[:1]), {"x": Candidate(LIKE)}, BIN)
    with pytest.raises(ValueError, match="same units, got 16 and 15"):
        compare_candidates(Candidate(REAL), {"x": Candidate(LIKE[:, :, :15])}, BIN)
