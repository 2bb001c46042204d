"""Expect: 100-continue: the go-ahead comes before the body, a refusal comes instead of it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from fix_server import RunningServer, Serve
from raw_http import LAST_CHUNK, Wire, chunk, form_body, form_head, head, talk

EXPECT = "Expect: 100-continue"
FORM = form_body(("f", "a.txt", b"hello"))


@pytest.mark.parametrize(
    ("request_head", "body"),
    [
        (head("PUT", "/files/raw", "Content-Length: 5", EXPECT), b"hello"),
        (
            head("PUT", "/files/chunked", "Transfer-Encoding: chunked", EXPECT),
            chunk(b"hello") + LAST_CHUNK,
        ),
        (head("POST", "/files?name=x", "Content-Length: 5", "expect: 100-Continue"), b"hello"),
        (form_head(len(FORM), EXPECT), FORM),
        (form_head(None, EXPECT), chunk(FORM) + LAST_CHUNK),
    ],
)
def test_100_continue_comes_before_the_body(
    taker: RunningServer, request_head: bytes, body: bytes
) -> None:
    """100 arrives before the client has sent a byte of the body; then the upload succeeds."""
    with Wire(taker.port) as wire:
        wire.send(request_head)
        assert wire.interim() == 100
        wire.send(body)
        response = wire.answer()

        assert (response.status, response.interim, response.json()["files"][0]["size"]) == (
            201,
            [],
            5,
        )


@pytest.fixture
def strict(serve: Serve) -> RunningServer:
    """A server that can refuse for every reason, with one object in it."""
    server = serve("--token", "a-long-token-for-this", "--max-size", "1000")
    assert (
        talk(server.port, head("PUT", "/files/there", "Content-Length: 5", TOKEN) + b"there").status
        == 201
    )
    return server


TOKEN = "Authorization: Bearer a-long-token-for-this"
WRONG_DIGEST_FORM = "Content-Digest: sha-256=:" + base64.b64encode(b"short").decode() + ":"


def put(*fields: str, key: str = "x") -> bytes:
    """The head of an authorised upload of five bytes."""
    return head("PUT", f"/files/{key}", "Content-Length: 5", EXPECT, TOKEN, *fields)


REFUSALS: dict[str, tuple[int, str, bytes]] = {
    "no token": (401, "unauthorized", head("PUT", "/files/x", "Content-Length: 5", EXPECT)),
    "a wrong token": (
        401,
        "unauthorized",
        head("PUT", "/files/x", "Content-Length: 5", EXPECT, "Authorization: Bearer no"),
    ),
    "a form without token": (401, "unauthorized", form_head(500, EXPECT)),
    "too large": (413, "too-large", head("PUT", "/files/x", "Content-Length: 1001", EXPECT, TOKEN)),
    "too large a POST": (
        413,
        "too-large",
        head("POST", "/files", "Content-Length: 1001", EXPECT, TOKEN),
    ),
    "far too large a form": (413, "too-large", form_head(50 << 20, EXPECT, TOKEN)),
    "it exists": (412, "precondition-failed", put("If-None-Match: *", key="there")),
    "another version": (412, "precondition-failed", put('If-Match: "no"', key="there")),
    "it does not exist": (412, "precondition-failed", put("If-Match: *")),
    "a digest of the wrong form": (400, "bad-digest", put(WRONG_DIGEST_FORM)),
    "no digest at all": (400, "bad-digest", put("Repr-Digest: nonsense")),
    "a bad key": (400, "bad-name", put(key="a/../b")),
    "the end of a file whose beginning is not there": (
        409,
        "offset-mismatch",
        put("Content-Range: bytes 4-8/9"),
    ),
    "a bad upload id": (400, "bad-request", put(key="x?upload=1")),
    "a form without boundary": (
        400,
        "bad-form",
        head(
            "POST",
            "/files",
            "Content-Type: multipart/form-data",
            "Content-Length: 5",
            EXPECT,
            TOKEN,
        ),
    ),
    "a coded body": (415, "unsupported", put("Content-Encoding: br")),
    "a foreign page": (403, "forbidden", put("Origin: http://evil.example")),
    "another expectation": (
        417,
        "expectation-failed",
        head("PUT", "/files/x", "Content-Length: 5", "Expect: 200-ok", TOKEN),
    ),
    "a method that is not offered": (
        405,
        "method-not-allowed",
        head("PATCH", "/files/x", "Content-Length: 5", EXPECT, TOKEN),
    ),
    "nothing at this path": (
        404,
        "not-found",
        head("PUT", "/elsewhere", "Content-Length: 5", EXPECT, TOKEN),
    ),
}


def test_refusals_come_instead_of_100_continue(strict: RunningServer) -> None:
    """Each refusal comes before the body and without a 100: the client need not send the body."""
    for reason, (status, code, request_head) in REFUSALS.items():
        with Wire(strict.port) as wire:
            wire.send(request_head)
            response = wire.answer()

            assert (response.status, response.interim, response.code) == (status, [], code), reason
            assert response.headers["connection"] == "close", reason
            assert response.headers["content-type"] == "application/problem+json", reason
            assert wire.closed(), reason
    assert strict.stored() == {"there": 5}
    assert strict.drafts() == []


@pytest.mark.root
def test_a_full_disk_is_refused_before_the_body(small_disk: Path, serve: Serve) -> None:
    """507 instead of 100 when the length is known and there is no room."""
    server = serve(root=small_disk)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/x", f"Content-Length: {100 << 20}", EXPECT))
        response = wire.answer()

        assert (response.status, response.interim, response.code) == (507, [], "no-space")


def test_http_1_0_does_not_know_the_expectation(taker: RunningServer) -> None:
    """An older client would take the 100 for its response; Expect is ignored (RFC 9110 10.1.1)."""
    with Wire(taker.port) as wire:
        wire.send(
            b"PUT /files/old HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
        )
        response = wire.answer()

        assert (response.status, response.interim) == (201, [])
