"""What of a destination's answer may become ours."""

from __future__ import annotations

import pytest

from sluiceway.client.http.exchange import Head
from sluiceway.stores.relay.response import passable

URL = "https://api.example/books/42"


def told(**headers: str) -> dict[str, str]:
    found = passable(
        Head(201, {name.replace("_", "-"): value for name, value in headers.items()}, URL), b""
    ).headers
    return dict(found)


def test_what_describes_the_answer_goes_through() -> None:
    """Type, tag and retry time are the client's to know, and by what to find the request again."""
    headers = {
        "content_type": "application/json",
        "etag": '"1"',
        "retry_after": "3",
        "x_request_id": "42",
    }
    assert told(**headers) == {name.replace("_", "-"): value for name, value in headers.items()}


def test_an_apis_own_headers_pass_where_the_operator_names_them() -> None:
    """No list of ours knows them; those of a connection never pass."""
    head = Head(201, {"x-book-id": "42", "x-other": "1", "transfer-encoding": "chunked"}, URL)
    assert passable(head, b"", {"x-book-id", "transfer-encoding"}).headers == {"x-book-id": "42"}


@pytest.mark.parametrize(
    "name",
    [
        "set-cookie", "www-authenticate", "proxy-authenticate", "connection", "keep-alive", "transfer-encoding", "upgrade",
        "server", "x-accel-redirect",
        "x-sendfile", "content-security-policy", "access-control-allow-origin", "clear-site-data",
        "strict-transport-security", "service-worker-allowed", "refresh", "alt-svc", "content-length",
        "link", "origin-trial", "age", "vary", "cache-control", "x-invented-tomorrow", "no-vary-search", "available-dictionary",
    ],
)  # fmt: skip
def test_what_would_give_it_power_here_does_not(name: str) -> None:
    """Cookies, passwords, origin-wide policies and orders to a proxy stay between that server and this one."""
    assert passable(Head(200, {name: "x"}, URL), b"").headers == {}


def test_headers_named_by_connection_stay_behind() -> None:
    """RFC 9110 7.6.1: they belong to one connection."""
    assert told(connection="etag, close", etag='"1"', x_request_id="2") == {"x-request-id": "2"}


@pytest.mark.parametrize(
    ("location", "absolute"),
    [
        ("/books/42", "https://api.example/books/42"),
        ("43", "https://api.example/books/43"),
        ("https://cdn.example/a", "https://cdn.example/a"),
        ("//cdn.example/a", "https://cdn.example/a"),
    ],
)
def test_locations_become_absolute(location: str, absolute: str) -> None:
    """A relative one is relative to that server; here it would lead nowhere."""
    assert told(location=location) == {"location": absolute}


@pytest.mark.parametrize("location", ["", "#part", "?", "?x=1"])
def test_an_empty_location_does_not_tell_the_address_of_the_request(location: str) -> None:
    """The query of our own request holds what the operator put there."""
    head = Head(201, {"location": location, "content-location": location}, f"{URL}?key=s3cret")
    assert "s3cret" not in str(passable(head, b"").headers)


@pytest.mark.parametrize("location", ["javascript:alert(1)", "file:///etc/passwd", "http://a b/"])
def test_locations_that_lead_out_of_the_web_are_dropped(location: str) -> None:
    """A page makes a link of it."""
    assert told(location=location) == {}
