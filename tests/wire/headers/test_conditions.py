"""sluiceway.wire.headers.conditions: RFC 9110 13, in its order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadRequest
from sluiceway.wire.headers.conditions import (
    ETag,
    PutTerms,
    Verdict,
    evaluate,
    format_etag,
    http_date,
    if_range_holds,
    parse_etags,
    put_replace,
)
from wire.forms.costs import assert_linear

GO, NOT_MODIFIED, FAILED = Verdict.GO, Verdict.NOT_MODIFIED, Verdict.FAILED

TAGS: list[tuple[str, list[ETag] | str]] = [
    ("*", "*"),
    (" * ", "*"),
    ('"a"', [ETag("a")]),
    ('""', [ETag("")]),
    ('W/"a"', [ETag("a", weak=True)]),
    ('"a", W/"b" ,"c"', [ETag("a"), ETag("b", weak=True), ETag("c")]),
    ('"a,b","c"', [ETag("a,b"), ETag("c")]),
    ('"*"', [ETag("*")]),
    (', "a",, "b",', [ETag("a"), ETag("b")]),
    ('"W/"', [ETag("W/")]),
    ('"a\\"', [ETag("a\\")]),
    ('"é"', [ETag("é")]),
]


@pytest.mark.parametrize(("value", "expected"), TAGS)
def test_lists_of_tags_are_read(value: str, expected: list[ETag] | str) -> None:
    """Weak and strong, commas inside quotes, empty members."""
    assert parse_etags(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", " ", ",", "a", '"a', 'a"', 'w/"a"', "W/a", '"a" "b"', '"a"b', '*, "a"', '"a b"', '"a", *'],
)
def test_an_invalid_list_of_tags_is_refused(value: str) -> None:
    """A guard against lost updates that cannot be read must not count as absent."""
    with pytest.raises(BadRequest):
        parse_etags(value)


THEN, LATER, EARLIER = http_date(1000), http_date(1001), http_date(999)

#        method, headers,                                                   exists, verdict
TABLE: list[tuple[str, dict[str, str], bool, Verdict]] = [
    ("GET", {}, True, GO),
    ("PUT", {}, False, GO),
    ("GET", {"if-match": '"now"'}, True, GO),
    ("GET", {"if-match": '"old", "now"'}, True, GO),
    ("GET", {"if-match": '"old"'}, True, FAILED),
    ("PUT", {"if-match": '"old"'}, True, FAILED),
    ("PUT", {"if-match": 'W/"now"'}, True, FAILED),  # strong comparison
    ("PUT", {"if-match": "*"}, True, GO),
    ("PUT", {"if-match": "*"}, False, FAILED),
    ("PUT", {"if-match": '"now"'}, False, FAILED),
    ("PUT", {"if-unmodified-since": THEN}, True, GO),
    ("PUT", {"if-unmodified-since": LATER}, True, GO),
    ("PUT", {"if-unmodified-since": EARLIER}, True, FAILED),
    ("PUT", {"if-unmodified-since": "nonsense"}, True, GO),
    ("PUT", {"if-unmodified-since": EARLIER}, False, GO),
    # with If-Match, the date does not count
    ("PUT", {"if-match": '"now"', "if-unmodified-since": EARLIER}, True, GO),
    ("GET", {"if-none-match": '"now"'}, True, NOT_MODIFIED),
    ("HEAD", {"if-none-match": '"now"'}, True, NOT_MODIFIED),
    ("GET", {"if-none-match": 'W/"now"'}, True, NOT_MODIFIED),  # weak comparison
    ("GET", {"if-none-match": '"a,b", "now"'}, True, NOT_MODIFIED),
    ("GET", {"if-none-match": '"old"'}, True, GO),
    ("GET", {"if-none-match": "*"}, True, NOT_MODIFIED),
    ("GET", {"if-none-match": "*"}, False, GO),
    ("PUT", {"if-none-match": "*"}, True, FAILED),
    ("PUT", {"if-none-match": "*"}, False, GO),
    ("DELETE", {"if-none-match": '"now"'}, True, FAILED),
    ("GET", {"if-modified-since": THEN}, True, NOT_MODIFIED),
    ("GET", {"if-modified-since": LATER}, True, NOT_MODIFIED),
    ("GET", {"if-modified-since": EARLIER}, True, GO),
    ("GET", {"if-modified-since": "nonsense"}, True, GO),
    ("GET", {"if-modified-since": THEN}, False, GO),
    ("PUT", {"if-modified-since": THEN}, True, GO),  # only for GET and HEAD
    # with If-None-Match, the date does not count
    ("GET", {"if-none-match": '"old"', "if-modified-since": LATER}, True, GO),
    ("GET", {"if-match": '"old"', "if-none-match": '"now"'}, True, FAILED),
    ("GET", {"if-match": '"now"', "if-none-match": '"now"'}, True, NOT_MODIFIED),
    ("GET", {"if-unmodified-since": EARLIER, "if-none-match": '"now"'}, True, FAILED),
    ("GET", {"if-unmodified-since": THEN, "if-modified-since": THEN}, True, NOT_MODIFIED),
]


@pytest.mark.parametrize(("method", "headers", "exists", "verdict"), TABLE)
def test_the_order_of_preconditions(
    method: str, headers: dict[str, str], exists: bool, verdict: Verdict
) -> None:
    """An object tagged "now", last changed in second 1000 and a half."""
    assert evaluate(method, headers, "now", 1000.5, exists) is verdict


def test_without_validators_only_existence_counts() -> None:
    """An object without a tag and a date matches only `*`."""
    assert evaluate("GET", {"if-none-match": '"now"'}, None, None, True) is GO
    assert evaluate("PUT", {"if-match": '"now"'}, None, None, True) is FAILED
    assert evaluate("PUT", {"if-match": "*"}, None, None, True) is GO
    assert evaluate("PUT", {"if-unmodified-since": EARLIER}, None, None, True) is GO
    assert evaluate("GET", {"if-modified-since": THEN}, None, None, True) is GO


@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
def test_malformed_tags_are_refused(name: str) -> None:
    """400, not a guess."""
    with pytest.raises(BadRequest):
        evaluate("PUT", {name: "unquoted"}, "now", 1000, True)


IF_RANGE = [
    (None, True),
    ('"now"', True),
    (' "now" ', True),
    ('W/"now"', False),
    ('"old"', False),
    ('"now", "old"', False),
    ("now", False),
    ("*", False),
    ("", False),
    (THEN, False),  # a date cannot distinguish two changes within one second
]


@pytest.mark.parametrize(("value", "holds"), IF_RANGE)
def test_if_range_needs_one_strong_tag(value: str | None, holds: bool) -> None:
    """Anything else sends the whole object, which is always right."""
    assert if_range_holds(value, "now") is holds


def test_if_range_never_holds_without_a_tag() -> None:
    """Nothing to compare with."""
    assert not if_range_holds('"now"', None)
    assert if_range_holds(None, None)


TERMS = [
    ({}, PutTerms()),
    ({"if-none-match": "*"}, PutTerms(create_only=True)),
    ({"if-none-match": '"a"'}, PutTerms()),
    ({"if-match": "*"}, PutTerms(any_existing=True)),
    ({"if-match": '"a"'}, PutTerms(etags=("a",))),
    ({"if-match": '"a", W/"b", "c"'}, PutTerms(etags=("a", "c"))),
    ({"if-match": 'W/"a"'}, PutTerms(etags=())),
    ({"if-match": '"a"', "if-none-match": "*"}, PutTerms(create_only=True, etags=("a",))),
]


@pytest.mark.parametrize(("headers", "expected"), TERMS)
def test_the_preconditions_of_a_put_become_terms_for_the_store(
    headers: dict[str, str], expected: PutTerms
) -> None:
    """The store checks them in one step; only strong tags can hold."""
    assert put_replace(headers) == expected


def test_a_tag_is_written_in_quotes() -> None:
    """And read back."""
    assert format_etag("abc") == '"abc"'
    assert parse_etags(format_etag("abc")) == [ETag("abc")]


@given(st.text(alphabet='W/"*, ab', max_size=40))
def test_any_list_is_read_or_refused(value: str) -> None:
    """Only BadRequest is ever raised, and each tag is part of the text."""
    try:
        tags = parse_etags(value)
    except BadRequest:
        return
    assert tags == "*" or all(
        format_etag(tag.tag) in value for tag in tags if isinstance(tag, ETag)
    )


@pytest.mark.parametrize("unit", ['"a",', ",", '"', " ,", 'W/"a" '])
def test_long_lists_cost_linear_time(unit: str) -> None:
    """Up to the limit and beyond it."""

    def read(size: int) -> None:
        try:
            parse_etags((unit * size)[:8192])
        except BadRequest:
            pass

    assert_linear(read, 500)
