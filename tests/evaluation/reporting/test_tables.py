"""Numbers are shown with sensible digits, and stand whole behind what is shown."""

import json
import math

import numpy as np
import pytest

from ldns_ray.evaluation.reporting.tables import (
    further_table,
    numbers_text,
    ratio_text,
    record_table,
    scored_table,
    setting_text,
    significant,
    telling_text,
)
from ldns_ray.evaluation.rows import Row
from tests.evaluation.reporting.examples import (
    SCORED_TITLES,
    measured,
    numbers_of,
    read,
    row,
    without_intervals,
)


def eight():
    return [row(f"model {i}", 0.9 * 1.5**i, latents=i % 2 == 0, n_silent=i) for i in range(8)]


def shown_numbers(*tables):
    """(what is shown, exact number) of all cells."""
    data = [d for t in tables for d in read(t).all("data")]
    return [(d.text, float(d.attributes["value"])) for d in data]


@pytest.mark.parametrize("rows", [[row()], eight(), [without_intervals(row())]])
def test_every_number_of_the_rows_is_there_once(rows):
    found = sorted(x for _, x in shown_numbers(scored_table(rows), further_table(rows)))
    assert found == sorted(x for r in rows for x in numbers_of(r))


def test_what_is_shown_is_the_number_rounded():
    for text, x in shown_numbers(scored_table(eight()), further_table(eight())):
        assert float(text.replace("−", "-")) == pytest.approx(x, rel=0.05), text


def test_rows_that_went_through_json_look_the_same():
    rows = eight()
    back = [Row.from_dict(json.loads(json.dumps(r.to_dict()))) for r in rows]
    assert scored_table(back) == scored_table(rows)
    assert further_table(back) == further_table(rows)


def test_a_line_per_candidate_and_a_column_per_scored_metric():
    head, *lines = read(scored_table(eight())).cells()
    assert [x.split(" (")[0] for x in head] == ["Candidate", "Score", *SCORED_TITLES, "Silent units", "Sampled trials"]  # fmt: skip
    assert [line[0] for line in lines] == [f"model {i}" for i in range(8)]
    assert [line[-2:] for line in lines] == [[str(i), "512"] for i in range(8)]
    assert lines[0][1] == "0.90 0.79–1.06"
    kl = measured(0.9 * 0.00312, 0.9)
    assert kl.floor == pytest.approx(0.00312)
    assert lines[0][2] == "0.90 0.71–1.11 0.0028 0.0023–0.0033 0.0031 floor"


def test_further_metrics_are_lines_in_the_order_of_the_catalogue():
    odd = row("odd", metrics={"of_the_future": measured(1.0, 1.1), **row().metrics})
    head, *lines = read(further_table([odd, row("no latents", latents=False)])).cells()
    assert head == ["Metric", "odd", "no latents"]
    assert [line[0] for line in lines] == ["TV population count", "Latent spectrum (dB)", "of_the_future"]  # fmt: skip
    assert [line[2] for line in lines[1:]] == ["–", "–"]
    assert lines[0][2] != "–"


def test_without_further_metrics_there_is_no_second_table():
    scored = {k: m for k, m in row().metrics.items() if k in ("kl_psc", "rmse_corr")}
    only = row(metrics=scored)
    assert further_table([only]) is None
    assert read(scored_table([only])).cells()[1][4:6] == ["–", "–"]


def test_intervals_that_nobody_asked_for_are_dashes():
    whole = without_intervals(row())
    line = read(scored_table([whole])).cells()[1]
    assert line[1] == "1.20 –"
    assert line[2] == "1.20 – 0.0037 – 0.0031 floor"


def test_the_shade_deepens_with_the_ratio():
    metrics = {
        key: measured(1.0, ratio)
        for key, ratio in zip(
            ("kl_psc", "rmse_corr", "rmse_mean_isi", "rmse_std_isi"),
            (1.25, 1.26, 4.0, 11.0),
            strict=True,
        )
    }
    cells = read(scored_table([row(score=2.5, metrics=metrics)])).all("td")
    assert [c.attributes.get("class") for c in cells] == ["level-2", "level-0", "level-1", "level-2", "level-4", None, None]  # fmt: skip


@pytest.mark.parametrize(
    ("x", "shown"),
    [(0.0, "0.00"), (1.0, "1.00"), (0.784, "0.78"), (9.994, "9.99"), (10.04, "10.0"), (17.79, "17.8"), (268.4, "268"),
     (15234.0, "15234"), (0.0421, "0.042"), (0.00012, "0.00012")],
)  # fmt: skip
def test_ratios(x, shown):
    assert ratio_text(x) == shown


@pytest.mark.parametrize(
    ("x", "shown"),
    [(0, "0"), (0.012345, "0.0123"), (-1.5, "−1.50"), (123456.0, "123456"), (1.234e-9, "1.23·10⁻⁹"),
     (-2e12, "−2.00·10¹²"), (9.999, "10.0")],
)  # fmt: skip
def test_significant_digits(x, shown):
    assert significant(x, 3) == shown


def test_numbers_of_a_column_share_their_decimals_unless_they_range_too_widely():
    assert numbers_text([0.2701, 0.0066, 0], 2) == ["0.2701", "0.0066", "0.0000"]
    assert numbers_text([123.4, 15.0], 2) == ["123", "15"]
    assert numbers_text([1234.5, 0.0123], 2) == ["1234", "0.012"]
    assert numbers_text([], 2) == []


def test_digits_are_added_until_different_numbers_look_different():
    assert telling_text([0.18231, 0.18234, 0.2]) == ["0.18231", "0.18234", "0.20000"]
    assert telling_text([0.5, 0.5]) == ["0.500", "0.500"]
    assert telling_text([1 / 3, 1 / 3 + 1e-12]) == ["0.333333", "0.333333"]
    assert telling_text([]) == []


def test_records_may_lack_values_and_hold_anything():
    records = [
        {"model": "a", "n": np.int64(12), "R²": np.float32(0.5), "same": True},
        {"model": "b", "n": None, "chance": 0.125, "names": ["x", "y"]},
    ]
    page = read(record_table("T", records))
    assert page.cells() == [
        ["model", "n", "R²", "same", "chance", "names"],
        ["a", "12", "0.500", "yes", "–", "–"],
        ["b", "–", "–", "–", "0.125", "x,y"],
    ]
    assert page.one("div").attributes["aria-label"] == "T"


@pytest.mark.parametrize("x", [math.nan, math.inf, np.float32("nan")])
def test_records_with_numbers_that_are_none_are_refused(x):
    with pytest.raises(ValueError, match=r"Table 'Likelihood': NLL must be finite, got (nan|inf)\. Give None"):  # fmt: skip
        record_table("Likelihood", [{"NLL": 0.1}, {"NLL": x}])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (("a", "b"), "a,b"), ((), "–"), ("", "–"), (None, "–"), (1e-05, "1e-05"), (3, "3"), ("x", "x")],
)  # fmt: skip
def test_settings_stand_as_a_command_takes_them(value, shown):
    assert setting_text(value) == shown
