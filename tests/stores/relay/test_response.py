"""Which headers of a destination's response are passed on to the client."""

from __future__ import annotations

import pytest

from sluiceway.client.http.exchange import Head
from sluiceway.stores.relay.response import passable

URL = "https://api.example/books/42"


def passed_on(**headers: str) -> dict[str, str]:
    found = passable(
        Head(201, {name.replace("_", "-"): value for name, value in headers.items()}, URL), b""
    ).headers
    return dict(found)


def test_headers_that_describe_the_response_are_passed_on() -> None:
    """Content type, tag, retry time, and the id by which the request is found in logs."""
    headers = {
        "content_type": "application/json",
        "etag": '"1"',
        "retry_after": "3",
        "x_request_id": "42",
    }
    assert passed_on(**headers) == {
        name.replace("_", "-"): value for name, value in headers.items()
    }


def test_an_apis_own_headers_are_passed_on_where_the_operator_names_them() -> None:
    """No list of ours knows them. Headers of a connection are never passed on."""
    head = Head(201, {"x-book-id": "42", "x-other": "1", "transfer-encoding": "chunked"}, URL)
    assert passable(head, b"", {"x-book-id", "transfer-encoding"}).headers == {"x-book-id": "42"}


@pytest.mark.parametrize(
    "name",
    [
        "set-cookie",
        "www-authenticate",
        "proxy-authenticate",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "server",
        "x-accel-redirect",
        "x-sendfile",
        "content-security-policy",
        "access-control-allow-origin",
        "clear-site-data",
        "strict-transport-security",
        "service-worker-allowed",
        "refresh",
        "alt-svc",
        "content-length",
        "link",
        "origin-trial",
        "age",
        "vary",
        "cache-control",
        "x-invented-tomorrow",
        "no-vary-search",
        "available-dictionary",
    ],
)  # fmt: skip
def test_dangerous_headers_are_dropped(name: str) -> None:
    """No cookie, no authentication, no policy for our origin, no order to a proxy is passed on."""
    assert passable(Head(200, {name: "x"}, URL), b"").headers == {}


def test_headers_named_by_connection_are_dropped() -> None:
    """They belong to one connection (RFC 9110 7.6.1)."""
    assert passed_on(connection="etag, close", etag='"1"', x_request_id="2") == {
        "x-request-id": "2"
    }


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
    """A relative location is relative to that server; at this one it would lead nowhere."""
    assert passed_on(location=location) == {"location": absolute}


@pytest.mark.parametrize("location", ["", "#part", "?", "?x=1"])
def test_an_empty_location_does_not_disclose_the_url_of_the_request(location: str) -> None:
    """The query of our own request may hold an API key of the operator's."""
    head = Head(201, {"location": location, "content-location": location}, f"{URL}?key=s3cret")
    assert "s3cret" not in str(passable(head, b"").headers)


@pytest.mark.parametrize("location", ["javascript:alert(1)", "file:///etc/passwd", "http://a b/"])
def test_locations_that_are_not_http_are_dropped(location: str) -> None:
    """A page makes a link of a location."""
    assert passed_on(location=location) == {}
