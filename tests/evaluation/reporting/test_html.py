"""What goes into an element is text, whatever it holds, and holds no secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldns_ray.evaluation.reporting.html import anchors, element, escaped
from tests.evaluation.reporting.examples import read

# What is read as a secret, and what browsers read otherwise than it stands there, have tests of their own.
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="=@"))


@given(PLAIN, PLAIN)
def test_text_and_attributes_come_back_as_they_were(text, attribute):
    page = read(element("p", "<", text, element("b", text), title=attribute))
    (p,) = page.children
    assert p.attributes == {"title": attribute}
    assert p.children[0] == "<" + text
    assert "".join(p.children[1].children) == text


def test_elements_hold_elements_lists_numbers_and_nothing():
    made = element("ul", [element("li", n) for n in (1, 2)], None, class_="x", aria_label="a", id=None)  # fmt: skip
    assert made == '<ul class="x" aria-label="a"><li>1</li><li>2</li></ul>'
    assert element("img", alt="a & b") == '<img alt="a &amp; b">'


def test_html_is_not_escaped_twice():
    assert escaped(escaped("a < b & c")) == "a &lt; b &amp; c"


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "a\udc80b"])
def test_what_no_page_can_hold_is_replaced(text):
    assert escaped(text) == "a\ufffdb"
    escaped(text).encode()


def test_anchors_differ_where_names_do_not():
    assert anchors(["A b", "a-B", "é", "ü", "a b 2"], "t") == ["t-a-b", "t-a-b-2", "t", "t-2", "t-a-b-2-2"]  # fmt: skip
