"""Addresses of a backend are taken out of what clients read; all else stays byte for byte."""

from __future__ import annotations

import pytest

from sluiceway.client.http.exchange import Head
from sluiceway.stores.relay.addresses import HiddenAddresses
from sluiceway.stores.relay.response import passable

HIDE = HiddenAddresses(["http://10.0.0.5:9000/books", "https://api.example/in", "http://backend/"])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"url": "http://10.0.0.5:9000/books/7"}', '{"url": "/books/7"}'),
        ('{"url": "http:\\/\\/10.0.0.5:9000\\/books"}', '{"url": "\\/books"}'),
        ("next=http%3A%2F%2F10.0.0.5%3A9000%2Fx", "next=%2Fx"),
        ("<a href='//10.0.0.5:9000/x'>", "<a href='/x'>"),
        ("connect to 10.0.0.5:9000 failed", "connect to destination failed"),
        ("10.0.0.5 is down", "destination is down"),
        ("https://API.example:443/x and api.example", "/x and destination"),
        ("http://backend/x, backend:8080", "/x, destination"),
        ("the backend is a word", "the backend is a word"),
        (
            "10.0.0.50:9000 and http://api.example.org/",
            "10.0.0.50:9000 and http://api.example.org/",
        ),
        ("https://other.example/x", "https://other.example/x"),
        ("not-api.example", "not-api.example"),
        ("Grüße ☃", "Grüße ☃"),
    ],
)
def test_an_address_goes_and_the_rest_stays(text: str, left: str) -> None:
    assert HIDE.text(text.encode()).decode() == left


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("http://10.0.0.5:9000/books/7", True),
        ("https://api.example/books/7", True),
        ("http://192.168.1.9/x", True),
        ("http://[fd00::1]/x", True),
        ("http://127.0.0.1/x", True),
        ("http://db/x", True),
        ("http://api.prod.svc/x", True),
        ("http://files.corp.internal/x", True),
        ("https://books.example.org/7", False),
        ("https://8.8.8.8/7", False),
    ],
)
def test_what_only_an_inner_network_knows_is_hidden(url: str, hidden: bool) -> None:
    assert HIDE.is_hidden(url) == hidden
    head = Head(201, {"location": url, "etag": '"1"'}, "http://10.0.0.5:9000/books")
    reply = passable(head, b"", (), HIDE)
    assert ("location" in reply.headers) == (not hidden)
    assert reply.location == url
    assert reply.headers["etag"] == '"1"'


def test_a_body_that_was_changed_has_no_digest_of_the_old_one() -> None:
    """One that was not, or is no text, or encoded, passes unchanged with its digest."""
    digest = {
        "content-digest": "sha-256=:x:",
        "x-checksum-blake3": "00",
        "content-type": "application/json",
    }
    address = b'"http://10.0.0.5:9000/x"'
    changed = passable(Head(201, digest, "http://10.0.0.5:9000/"), address, (), HIDE)
    assert (changed.body, sorted(changed.headers)) == (b'"/x"', ["content-type"])
    for headers, body in (
        (digest, b'"plain"'),
        ({**digest, "content-type": "image/png"}, address),
        ({**digest, "content-encoding": "gzip"}, address),
    ):
        same = passable(Head(201, headers, "http://10.0.0.5:9000/"), body, (), HIDE)
        assert same.body == body
        assert {"content-digest", "x-checksum-blake3"} <= same.headers.keys()
