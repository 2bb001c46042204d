"""What to do next, for every kind of answer."""

from __future__ import annotations

import pytest

from sluiceway.client.download_plan import (
    ANSWERED,
    MOST_ATTEMPTS,
    MOST_REDIRECTS,
    MOST_WAIT,
    Head,
    Known,
    Step,
    backoff,
    headers_across,
    length_of,
    may_repeat,
    may_retry,
    next_step,
    range_headers,
    redirected,
    validator_of,
)
from sluiceway.errors import DigestMismatch, PeerFailed

URL = "https://host/file"
TAG = '"v1"'
DATE = "Sat, 21 Nov 2026 10:00:00 GMT"
NOTHING = Known()
SOME = Known(have=100, validator=TAG, total=300)


def head(status: int, **headers: str) -> Head:
    return Head(status, {name.replace("_", "-"): value for name, value in headers.items()}, URL)


@pytest.mark.parametrize(
    ("known", "answer", "step"),
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
def test_each_answer_has_one_step(known: Known, answer: Head, step: Step) -> None:
    """Only an exact continuation of the same representation is appended; everything doubtful starts again."""
    assert next_step(known, answer) is step


def test_the_rest_is_asked_for_only_with_a_strong_validator() -> None:
    """Range never travels without If-Range: half of one version and half of another is nobody's file."""
    assert range_headers(SOME) == {"range": "bytes=100-", "if-range": TAG}
    assert range_headers(Known(have=100)) == {}
    assert range_headers(Known(validator=TAG)) == {}


@pytest.mark.parametrize(
    ("answer", "validator"),
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
def test_only_strong_validators_are_kept(answer: Head, validator: str | None) -> None:
    """A strong ETag, or a date that had a minute to settle."""
    assert validator_of(answer) == validator


def test_the_whole_length_is_read_from_both_kinds_of_answer() -> None:
    """Content-Length of a 200, the total of a 206's Content-Range, nothing of neither or of nonsense."""
    assert length_of(head(200, content_length="300")) == 300
    assert length_of(head(206, content_length="200", content_range="bytes 100-299/300")) == 300
    assert length_of(head(206, content_length="200", content_range="bytes 100-299/*")) is None
    assert length_of(head(200, content_length="+3")) is None
    assert length_of(head(200)) is None


def test_only_a_broken_way_is_tried_again() -> None:
    """A server's own word, also a 5xx that names no time, is not argued with."""
    assert may_retry(PeerFailed("the connection broke"))
    assert not may_retry(PeerFailed("answered 501", **{ANSWERED: 501}))
    assert not may_retry(DigestMismatch("other bytes"))


def test_waits_grow_and_end() -> None:
    """Each wait is about twice the last; after MOST_ATTEMPTS there is none."""
    waits = [backoff(attempt, None, 0.0, 1.0) for attempt in range(2, MOST_ATTEMPTS + 2)]

    assert waits == [0.5, 1.0, 2.0, 4.0, None]
    assert backoff(2, None, 0.0, 0.0) == 0.25


def test_somebody_may_ask_for_fewer_or_more_attempts() -> None:
    """None at all, or so many that the waits would double beyond reason: they stop growing."""
    assert backoff(2, None, 0.0, 1.0, most=1) is None
    assert backoff(MOST_ATTEMPTS + 1, None, 0.0, 1.0, most=101) == 8.0
    assert backoff(101, None, 0.0, 1.0, most=101) == backoff(50, None, 0.0, 1.0, most=101) == 64.0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("3", 3.0),
        (DATE, 30.0),
        ("0", 0.5),
        ("soon", 0.5),
        ("-1", 0.5),
        (str(int(MOST_WAIT)), MOST_WAIT),
        ("61", None),
    ],
)
def test_retry_after_is_kept_to(value: str, wait: float | None) -> None:
    """Both forms of the header; a wait too long for a program is left to people."""
    ten_oclock = 1795255200.0

    assert backoff(2, head(503, retry_after=value), ten_oclock - 30, 1.0) == wait


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_download_follows_every_redirect(status: int) -> None:
    """Relative and absolute targets, without fragment and credentials."""
    assert (
        redirected(head(status, location="/b#part"), 0, sends=False, again=True) == "https://host/b"
    )
    assert (
        redirected(head(status, location="https://me:pw@other/b"), 0, sends=False, again=True)
        == "https://other/b"
    )


@pytest.mark.parametrize("status", [200, 300, 304, 404])
def test_other_answers_are_no_redirects(status: int) -> None:
    """A Location on a 201 or 300 is information, not an instruction."""
    assert redirected(head(status, location="/b"), 0, sends=False, again=True) is None


@pytest.mark.parametrize(
    ("answer", "hops", "sends", "again"),
    [
        (head(301, location="/b"), 0, True, True),
        (head(302, location="/b"), 0, True, True),
        (head(303, location="/b"), 0, True, True),
        (head(307, location="/b"), 0, True, False),
        (head(307, location="/b"), MOST_REDIRECTS, True, True),
        (head(302, location="/b"), MOST_REDIRECTS, False, True),
        (head(302, location="http://host/b"), 0, False, True),
        (head(302, location="file:///etc/passwd"), 0, False, True),
        (head(302, location="gopher://x/"), 0, False, True),
        (head(302, location="https://[::1"), 0, False, True),
    ],
)
def test_some_redirects_are_refused(answer: Head, hops: int, sends: bool, again: bool) -> None:
    """An upload turned into a GET, a stream that is gone, a loop, https to http, other protocols."""
    with pytest.raises(PeerFailed) as caught:
        redirected(answer, hops, sends=sends, again=again)

    assert not may_retry(caught.value)


def test_the_last_allowed_redirect_is_followed() -> None:
    """Exactly at the limit it still goes on."""
    assert (
        redirected(head(307, location="/b"), MOST_REDIRECTS - 1, sends=True, again=True)
        == "https://host/b"
    )


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        ("https://host/other", True),
        ("https://host:443/other", True),
        ("https://host:444/other", False),
        ("https://evil/other", False),
        ("https://host.evil/other", False),
    ],
)
def test_credentials_stay_with_their_origin(new: str, kept: bool) -> None:
    """Scheme, host and port must be the same; to others goes only what is harmless, whatever a secret's header is called."""
    secret = {
        "Authorization": "Bearer s",
        "cookie": "a=b",
        "X-Api-Key": "k",
        "PRIVATE-TOKEN": "t",
        "X-Note": "n",
    }
    harmless = {
        "Accept": "*/*",
        "accept-language": "de",
        "Content-Type": "text/plain",
        "If-None-Match": "*",
    }

    assert headers_across(secret | harmless, URL, new) == (secret | harmless if kept else harmless)


@pytest.mark.parametrize(
    ("method", "complete", "may"),
    [
        ("PUT", False, True),
        ("PUT", True, True),
        ("POST", False, True),
        ("POST", True, False),
        ("PATCH", True, False),
    ],
)
def test_what_may_have_been_carried_out_is_not_repeated(
    method: str, complete: bool, may: bool
) -> None:
    """A PUT twice is a PUT; a POST whose last byte was let go may have stored the file."""
    assert may_repeat(method, complete) is may
