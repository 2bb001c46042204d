"""What to do next, for every kind of answer."""

from __future__ import annotations

import pytest

from sluiceway.client.download_plan import (
    Known,
    Step,
    length_of,
    next_step,
    range_headers,
    validator_of,
)
from sluiceway.client.http.exchange import Head

URL = "https://host/file"
TAG = '"v1"'
DATE = "Sat, 21 Nov 2026 10:00:00 GMT"
NOTHING = Known()
SOME = Known(have=100, validator=TAG, total=300)


def head(status: int, **headers: str) -> Head:
    return Head(status, {name.replace("_", "-"): value for name, value in headers.items()}, URL)


@pytest.mark.parametrize(
    ("known", "response", "step"),
    [
        (NOTHING, head(200), Step.FRESH),
        (NOTHING, head(203), Step.FRESH),
        (NOTHING, head(204), Step.REFUSED),
        (NOTHING, head(206, content_range="bytes 0-9/10"), Step.REFUSED),
        (NOTHING, head(304), Step.REFUSED),
        (NOTHING, head(404), Step.REFUSED),
        (NOTHING, head(416, content_range="bytes */0"), Step.REFUSED),
        (NOTHING, head(503), Step.WAIT),
        (SOME, head(206, content_range="bytes 100-299/300", etag=TAG), Step.APPEND),
        (SOME, head(206, content_range="bytes 100-299/*", etag=TAG), Step.APPEND),
        (SOME, head(206, content_range="bytes 100-299/300"), Step.AGAIN),
        (SOME, head(206, content_range="bytes 100-299/300", etag='"v2"'), Step.AGAIN),
        (SOME, head(206, content_range="bytes 100-299/300", etag='W/"v1"'), Step.AGAIN),
        (SOME, head(206, content_range="bytes 99-299/300", etag=TAG), Step.AGAIN),
        (SOME, head(206, content_range="bytes 0-299/300", etag=TAG), Step.AGAIN),
        (SOME, head(206, content_range="bytes 100-298/300", etag=TAG), Step.AGAIN),
        (SOME, head(206, content_range="bytes 100-399/400", etag=TAG), Step.AGAIN),
        (SOME, head(206, content_range="items 100-299/300", etag=TAG), Step.AGAIN),
        (SOME, head(206, content_range="bytes 299-100/300", etag=TAG), Step.AGAIN),
        (SOME, head(206, content_type="multipart/byteranges; boundary=x", etag=TAG), Step.AGAIN),
        (SOME, head(200, etag='"v2"'), Step.FRESH),
        (Known(100, TAG, 100), head(416, content_range="bytes */100"), Step.COMPLETE),
        (Known(100, TAG), head(416, content_range="bytes */100"), Step.COMPLETE),
        (SOME, head(416, content_range="bytes */100"), Step.AGAIN),
        (SOME, head(416, content_range="bytes */300"), Step.AGAIN),
        (SOME, head(416), Step.AGAIN),
        (SOME, head(412), Step.AGAIN),
        (SOME, head(401), Step.REFUSED),
        (SOME, head(429), Step.WAIT),
        (
            Known(100, DATE, 300),
            head(206, content_range="bytes 100-299/300", last_modified=DATE),
            Step.APPEND,
        ),
        (Known(100, DATE, 300), head(206, content_range="bytes 100-299/300", etag=TAG), Step.AGAIN),
        (Known(100, None, 300), head(200), Step.FRESH),
    ],
)
def test_each_answer_has_one_step(known: Known, response: Head, step: Step) -> None:
    """Only an exact continuation of the same representation is appended; else it starts again."""
    assert next_step(known, response) is step


def test_the_rest_is_asked_for_only_with_a_strong_validator() -> None:
    """Range is never sent without If-Range: halves of two versions make no file."""
    assert range_headers(SOME) == {"range": "bytes=100-", "if-range": TAG}
    assert range_headers(Known(have=100)) == {}
    assert range_headers(Known(validator=TAG)) == {}


@pytest.mark.parametrize(
    ("response", "validator"),
    [
        (head(200, etag='"a"'), '"a"'),
        (head(200, etag='W/"a"'), None),
        (head(200, etag="a"), None),
        (head(200), None),
        (head(200, last_modified=DATE, date="Sat, 21 Nov 2026 10:01:00 GMT"), DATE),
        (head(200, last_modified=DATE, date="Sat, 21 Nov 2026 10:00:59 GMT"), None),
        (head(200, last_modified=DATE), None),
        (head(200, etag='W/"a"', last_modified=DATE, date="Sat, 21 Nov 2026 11:00:00 GMT"), None),
    ],
)
def test_only_strong_validators_are_kept(response: Head, validator: str | None) -> None:
    """A strong ETag, or a date that had a minute to settle."""
    assert validator_of(response) == validator


def test_the_whole_length_is_read_from_both_kinds_of_answer() -> None:
    """Content-Length of a 200, the total of a 206's Content-Range; None without a valid one."""
    assert length_of(head(200, content_length="300")) == 300
    assert length_of(head(206, content_length="200", content_range="bytes 100-299/300")) == 300
    assert length_of(head(206, content_length="200", content_range="bytes 100-299/*")) is None
    assert length_of(head(200, content_length="+3")) is None
    assert length_of(head(200)) is None
