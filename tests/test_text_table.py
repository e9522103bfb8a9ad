"""Tables for a terminal keep their columns, in any script."""

from ldns_ray.text_table import format_table, width


def test_columns_are_aligned_by_what_a_terminal_shows():
    names = ["LDNS", "神経モデル", "naïve", "nai\u0308ve"]
    head, rule, *lines = format_table([["", "score"], *([name, "1.25"] for name in names)])\
        .splitlines()  # fmt: skip
    assert {width(line) for line in (head, rule, *lines)} == {10 + 2 + 5}
    assert lines[1] == "神経モデル   1.25"
    assert all(line.endswith("1.25") for line in lines)


def test_heads_of_several_lines_stand_on_the_rule():
    assert (
        format_table([["trial", "learning_\nrate", "x"], ["trial 1", "0.1", "3"]])
        == """\
         learning_
trial         rate  x
---------------------
trial 1        0.1  3"""
    )
