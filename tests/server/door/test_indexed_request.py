"""Which heads are ordinary: those without a field that any check before a body asks for."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from sluiceway.server.door.indexed_request import ORDINARY, IndexedRequest, is_ordinary
from sluiceway.wire.headers.checksums import promises_digest

CURL = [(b"host", b"here"), (b"user-agent", b"curl/8"), (b"accept", b"*/*")]


def request_with(*fields: tuple[bytes, bytes]) -> IndexedRequest:
    return IndexedRequest({"type": "http", "method": "PUT", "headers": [*CURL, *fields]})


def test_what_curl_and_requests_send_is_ordinary() -> None:
    assert is_ordinary(request_with((b"content-length", b"5"), (b"accept-encoding", b"gzip")))


@pytest.mark.parametrize(
    "name",
    [
        "content-disposition",
        "content-encoding",
        "content-range",
        "digest",
        "expect",
        "if-match",
        "if-none-match",
        "origin",
        "repr-digest",
        "sec-fetch-site",
        "service-worker",
        "trailer",
        "transfer-encoding",
        "tus-resumable",
        "upload-complete",
        "upload-offset",
        "want-repr-digest",
        "x-checksum-sha256",
        "x-unknown",
    ],
)
def test_any_other_field_makes_a_head_one_that_is_looked_at(name: str) -> None:
    assert not is_ordinary(request_with((name.encode(), b"1")))


def test_a_field_that_was_sent_twice_is_looked_at() -> None:
    assert not is_ordinary(request_with((b"content-length", b"5"), (b"content-length", b"6")))


def test_a_request_of_another_class_is_looked_at() -> None:
    assert not is_ordinary(Request({"type": "http", "method": "PUT", "headers": CURL}))


def test_no_ordinary_field_is_a_digest() -> None:
    assert not promises_digest((name, b"") for name in ORDINARY)
