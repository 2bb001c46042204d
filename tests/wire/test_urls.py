"""URLs: requests, redaction and credentials."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from fix_taking import TORTURE
from sluiceway.errors import BadRequest, Forbidden
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.wire.host_patterns import Hosts, parse_pattern
from sluiceway.wire.urls import Address, below, is_url, joined, origin, parse_address, redact_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host", "http://host/"),
        ("http://host/a%20b/ä", "http://host/a%20b/%C3%A4"),
        ("https://host:8443/a?x=1&y=%2F", "https://host:8443/a?x=1&y=%2F"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://host/a#part", "http://host/a"),
        ("HTTP://Host/A", "http://host/A"),
    ],
)
def test_a_url_is_sent_as_it_was_written(text: str, url: str) -> None:
    """Escapes stay as they are (a signature covers them); invalid characters are encoded."""
    assert parse_address(text) == Address(url)


def test_user_and_password_become_a_header() -> None:
    """They leave the URL, so that no message or redirect repeats them."""
    assert parse_address("http://me:p%40ss@host/a") == Address(
        "http://host/a", "Basic bWU6cEBzcw=="
    )


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/",
        "http:///a",
        "http://me:pa/ss@host/",
        "http://host:99999/",
        "http://host:x/",
        "http://a b/",
        "http://h/\na",
    ],
)
def test_an_invalid_url_is_refused(text: str) -> None:
    """Before anything is sent, and without repeating the text, which may hold a password."""
    with pytest.raises(BadRequest) as caught:
        parse_address(text)

    assert text not in caught.value.detail


def test_only_http_and_https_are_urls() -> None:
    """Everything else is a path, however odd."""
    assert [
        is_url(text) for text in ("http://a", "HTTPS://a", "ftp://a", "a:b", "-", "http:/a")
    ] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_names_are_put_below_a_url_encoded() -> None:
    """One segment each, for every name; a query stays behind the path."""
    assert below("http://h/d/?k=1", "a b/ü?#%.txt") == "http://h/d/a%20b/%C3%BC%3F%23%25.txt?k=1"
    assert below("http://h/", "\udcff") == "http://h/%FF"


def test_secrets_are_redacted() -> None:
    """No user, no password, no query: a signed URL's query is a key."""
    assert redact_url("https://me:pw@host:1/a?X-Signature=s#f") == "https://host:1/a"
    assert redact_url("some/path?x") == "some/path?x"


def test_an_origin_is_scheme_host_and_port() -> None:
    """Default ports count as written."""
    assert origin("https://host/a") == origin("https://host:443/b") == ("https", "host", 443)
    assert joined("http://h/a/b", "../c") == "http://h/c"


PIECES = [
    "u",
    "[",
    "]",
    "::1",
    "@",
    ":",
    "/",
    "x",
    "?",
    "#",
    "80",
    "99999",
    "%41",
    "%zz",
    "℀",
    "ａ",
    "a.b",
    "\\",
    "xn--",
    "*",
    "[::1]",
]
PIECES += [
    "[v1.x]",
    "[fe80::1%25eth0]",
    "0x7f",
    "۱",
    "é",
    "\u200b",
    "s3://",
    "http://",
    "^",
    "|",
    '"',
    "<",
    "{",
]
ODD = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@pytest.mark.timeout(3600 if TORTURE else 120)
@settings(max_examples=30_000 if TORTURE else 500, deadline=None, database=None, derandomize=True)
@example("u[::1]@]/x")
@example("℀/")
@example("h\\@x/")
@given(ODD)
def test_an_accepted_url_is_the_same_for_every_reader(rest: str) -> None:
    """No library's ValueError: an unreadable URL is a BadRequest, and no part of it is shown."""
    text = f"http://{rest}"
    redact_url(text)
    for read in (parse_address, lambda text: joined("http://h/a", text), parse_pattern):
        with suppress(BadRequest):
            read(text)
    with suppress(BadRequest):
        RelayUrl("http://h/", text)
    try:
        url = parse_address(text).url
    except BadRequest:
        return
    host = origin(url)[1]
    assert URL(url, encoded=True).raw_host == host
    with suppress(BadRequest, Forbidden):
        Hosts(["*"])(url)


def test_an_unreadable_url_is_redacted_as_a_whole() -> None:
    """A part of it may be the password."""
    assert redact_url("http://me:s3cret[@host/") == "http://…"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:///db?table=files", "postgresql:///db"),
        ("postgresql://u:p@h/db/k?table=files", "postgresql://h/db/k"),
        ("sqlite:///files.db?table=files", "sqlite:///files.db"),
        ("sqlite:////srv/files.db", "sqlite:////srv/files.db"),
        ("sqlite:///files.db/a%20b", "sqlite:///files.db/a%20b"),
        ("fsspec+file:///srv/files", "fsspec+file:///srv/files"),
        ("https://u:p@h/a?k=secret#x", "https://h/a"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_a_redacted_url_still_names_the_same_place(url: str, shown: str) -> None:
    """A URL without a host keeps its slashes."""
    assert redact_url(url) == shown
