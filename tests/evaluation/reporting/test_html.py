"""What goes into an element is text, whatever it holds, and holds no secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldns_ray.evaluation.reporting.html import anchors, element, escaped, without_secrets
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("s3://KEY:SECRET@bucket/folder", "s3://bucket/folder"),
        ("s3://KEY:SEC/RET+x@bucket/folder", "s3://bucket/folder"),
        ("https://ghp_token1@github.com/a/b", "https://github.com/a/b"),
        ("http://a:b@c@host:5000/x", "http://host:5000/x"),
        ("postgresql+psycopg://me:pw@db:5432/mlflow", "postgresql+psycopg://db:5432/mlflow"),
        ("from http://a:b@c to http://d:e@f.", "from http://c to http://f."),
        (
            "s3://b/x?endpoint_override=http://u:p@h:9000&scheme=http",
            "s3://b/x?endpoint_override=http://h:9000&scheme=http",
        ),
        ("s3://b/x?access_key=A&secret_key=B&region=c", "s3://b/x?access_key=…&secret_key=…&region=c"),
        (
            "https://b/x?X-Amz-Credential=A%2Fb&X-Amz-Expires=60&X-Amz-Signature=c&X-Amz-Security-Token=d",
            "https://b/x?X-Amz-Credential=…&X-Amz-Expires=60&X-Amz-Signature=…&X-Amz-Security-Token=…",
        ),
        ("https://b/x?AWSAccessKeyId=A&Signature=B", "https://b/x?AWSAccessKeyId=…&Signature=…"),
        ("az://b/x?sv=2022&sig=abc%3D", "az://b/x?sv=2022&sig=…"),
        ("https://maps/x?key=abc#there", "https://maps/x?key=…"),
        ("AWS_SECRET_ACCESS_KEY=abc python x.py", "AWS_SECRET_ACCESS_KEY=… python x.py"),
        ("MLFLOW_TRACKING_PASSWORD='a b' python x.py", "MLFLOW_TRACKING_PASSWORD=… python x.py"),
        # Nothing to hide:
        ("http://host:5000/p@x", "http://host:5000/p@x"),
        ("http://host:5000", "http://host:5000"),
        ("s3://bucket/run@2024:1/x", "s3://bucket/run@2024:1/x"),
        ("someone@example.org, 12:30", "someone@example.org, 12:30"),
        ("monkey=3 autoencoder.n_tokens=4 design=x", "monkey=3 autoencoder.n_tokens=4 design=x"),
    ],
)  # fmt: skip
def test_secrets_of_uris_and_commands_are_taken_out(text, shown):
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


def test_anchors_differ_where_names_do_not():
    assert anchors(["A b", "a-B", "é", "ü", "a b 2"], "t") == ["t-a-b", "t-a-b-2", "t", "t-2", "t-a-b-2-2"]  # fmt: skip
