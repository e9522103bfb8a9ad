"""Tables of what evaluations found."""

from dataclasses import replace

from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.rows import Measured, Row
from ldns_ray.reproduction.wording import (
    n_beyond,
    of_real,
    scored_table,
    text,
    within,
    within_table,
)


def row(name, score, distance, interval):
    measured = Measured(distance, 0.5, distance / 0.5, interval, interval)
    return Row(name, 9, score, interval, {m.name: measured for m in SCORED}, n_silent=1)


def summary(*rows):
    return {"rows": [x.to_dict() for x in rows], "split": "test", "n_reference": 20}


MANY, FEW = row("many", 1.5, 1.25, (1.0, 2.0)), row("few", 2.5, 1.75, (1.5, 3.0))


def test_few_steps_are_held_against_the_interval_of_many():
    lines = within(summary(MANY, FEW), "few", "many")
    assert [line["metric"] for line in lines] == ["score", *(m.name for m in SCORED)]
    assert lines[0] == {
        "metric": "score", "few": 2.5, "many": 1.5, "low": 1.0, "high": 2.0, "within": False
    }  # fmt: skip
    assert lines[1]["within"] is True
    assert n_beyond(lines) == 1
    table = within_table("Title.", "4 steps", "20 steps", lines)
    assert table.rows[0] == ["score", "2.50", "1.50", "1.00–2.00", "no"]
    assert table.rows[1][0] == "KL population count (nats)"
    assert table.rows[1][-1] == "yes"


def test_closer_to_the_data_than_the_interval_is_well():
    best = row("best", 0.9, 0.5, (0.4, 0.6))
    assert n_beyond(within(summary(MANY, best), "best", "many")) == 0
    assert n_beyond(within(summary(MANY, best), "many", "best")) == 5


def test_without_an_interval_nothing_is_said():
    bare = replace(MANY, score_interval=None)
    line = within(summary(bare, FEW), "few", "many")[0]
    assert (line["low"], line["within"]) == (None, None)
    assert n_beyond([line]) is None
    assert within_table("", "a", "b", [line]).rows[0][-2:] == ["–", "–"]


def test_the_floor_is_the_last_row():
    table = scored_table(summary(MANY, FEW))
    assert table.rows[0][:3] == ["many", "1.50 (1.00–2.00)", "1.25, ×2.50 (1.00–2.00)"]
    assert table.rows[-1] == ["test trials, half against half (floor)", "1", *["0.500"] * 4, "–"]
    assert "20 test trials" in table.title


def test_a_dash_where_there_is_no_number():
    assert text(None) == "–"
    assert text(0.5, ".1f") == "0.5"
    assert (of_real(None), of_real(0.5)) == ("", ", 0.50 of real")
