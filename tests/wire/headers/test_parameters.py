"""sluiceway.wire.headers.parameters: both dialects of `; name="value"`, in linear time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadRequest, SluiceError
from sluiceway.wire.headers.parameters import read_parameters, unique_parameters
from wire.forms.costs import assert_linear

HTTP = [
    ("text/plain", ("text/plain", [])),
    ("Text/Plain ; Charset=UTF-8", ("text/plain", [("charset", "UTF-8")])),
    ('a; b="c"', ("a", [("b", "c")])),
    ('a; b="c\\"d\\\\e"', ("a", [("b", 'c"d\\e')])),
    ('a; b="c;d=e"; f=g', ("a", [("b", "c;d=e"), ("f", "g")])),
    ('a;;b="c";', ("a", [("b", "c")])),
    ("a; b = c ", ("a", [("b", "c")])),
    ("a; b=", ("a", [("b", "")])),
    ('a; b=""', ("a", [("b", "")])),
    ("a; b=1; B=2", ("a", [("b", "1"), ("b", "2")])),
    ("", ("", [])),
]

FORM = [
    ('form-data; name="a"', [("name", "a")]),
    ('form-data; name="a\\b"', [("name", "a\\b")]),  # browsers do not escape a backslash
    (
        'form-data; name="a\\"',
        [("name", "a\\")],
    ),  # nor does one in front of the closing quote escape that
    ('form-data; name="a\\"; filename="b"', [("name", "a\\"), ("filename", "b")]),
    ('form-data; filename="a\\"b"', [("filename", 'a"b')]),  # old curl
    ('form-data; filename="C:\\\\a\\"b"', [("filename", 'C:\\a"b')]),
    ('form-data; filename="C:\\dir\\a.txt"', [("filename", "C:\\dir\\a.txt")]),  # Internet Explorer
    (
        "form-data; name=a; filename=b c.txt",
        [("name", "a"), ("filename", "b c.txt")],
    ),  # .NET without quotes
    ('form-data;name="a;b"  ;filename="c"', [("name", "a;b"), ("filename", "c")]),
    ('form-data; name="%22"', [("name", "%22")]),
    # npm's form-data, Alamofire
    (
        'form-data; name="f"; filename="12" vinyl.mp3"',
        [("name", "f"), ("filename", '12" vinyl.mp3')],
    ),
    ('form-data; filename=""a" and "b""; name="f"', [("filename", '"a" and "b"'), ("name", "f")]),
    (
        'form-data; filename="a"b\\"c"',
        [("filename", 'a"b\\"c')],
    ),  # not all of them are escaped: none is
    ('form-data; name="""', [("name", '"')]),
]

BROKEN = [
    "a; b",
    "a; b c=d",
    'a; "b"=c',
    'a; b="c',
    'a; b="c\\',
    'a; b="c"d',
    'a; b=c"d"',
    "a; =c",
    'a; b="c"; d"',
]


@pytest.mark.parametrize(("value", "expected"), HTTP)
def test_the_http_dialect(value: str, expected: tuple[str, list[tuple[str, str]]]) -> None:
    """RFC 9110: a backslash escapes the next character."""
    assert read_parameters(value) == expected


@pytest.mark.parametrize(("value", "expected"), FORM)
def test_the_form_dialect(value: str, expected: list[tuple[str, str]]) -> None:
    """WHATWG: a backslash is a backslash, unless only the old escaping makes sense of the value."""
    assert read_parameters(value, browser=True) == ("form-data", expected)


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("browser", [False, True])
def test_a_broken_list_is_refused(value: str, browser: bool) -> None:
    """No guess is made."""
    with pytest.raises(BadRequest):
        read_parameters(value, browser=browser)


def test_a_parameter_given_twice_is_refused() -> None:
    """Two readers would pick different values."""
    with pytest.raises(BadRequest, match="b is given twice"):
        unique_parameters([("b", "1"), ("c", "2"), ("b", "1")])


@given(st.text(alphabet='a;="\\ \t,%é', max_size=60), st.booleans())
def test_any_text_is_read_or_refused(value: str, browser: bool) -> None:
    """Only a SluiceError is ever raised."""
    try:
        read_parameters(value, browser=browser)
    except SluiceError:
        pass


FLOODS: list[tuple[str, Callable[[int], str]]] = [
    ("escapes without an end", lambda n: 'a; b="' + "\\a" * n),
    ("escaped quotes without an end", lambda n: 'a; b="' + '\\"' * n),
    ("quotes and backslashes in turn", lambda n: 'a; b="' + '"\\' * n),
    ("open quoted strings", lambda n: "a" + '; b="\\' * n),
    ("empty parameters", lambda n: "a" + ";" * n),
    ("spaces", lambda n: "a;" + " " * n + "b"),
    ("spaces behind quotes", lambda n: 'a; b="' + '\\"   ' * n),
    ("good parameters", lambda n: "a" + '; b="c\\"d"' * n),
    ("names without a value", lambda n: "a" + "; b" * n + "="),
    ("a head", lambda n: "!" * n + '="\\'),
]


@pytest.mark.parametrize(("flood"), [make for _, make in FLOODS], ids=[name for name, _ in FLOODS])
@pytest.mark.parametrize("browser", [False, True])
def test_hostile_values_cost_linear_time(flood: Callable[[int], str], browser: bool) -> None:
    """CVE-2024-24762, CVE-2026-28356, CVE-2026-34827: escapes that make a reader start over."""

    def read(size: int) -> None:
        try:
            read_parameters(flood(size), browser=browser)
        except BadRequest:
            pass

    assert_linear(read, 8_000)


def test_escapes_before_a_far_quote_cost_linear_time() -> None:
    """The closing quote is searched once, not again behind each escape.

    Searching is fast, so it takes a large value to show.
    """
    assert_linear(lambda n: read_parameters('a; b="' + "\\a" * n + '"'), 100_000)
