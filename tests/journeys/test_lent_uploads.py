"""Large bodies go round the event loop: the same bytes, answers and errors as those that do not.

Each journey runs with connections that are never lent, always lent, and handed back at random
bytes.
"""

from __future__ import annotations

import hashlib
import socket
from base64 import b64encode
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from lent_ways import OFF, WAYS, lent_bytes, lent_env
from raw_http import Wire, head

MIB = 1 << 20


@pytest.fixture(scope="module", params=WAYS)
def lender(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    server = start_server(folder / "root", env=lent_env(folder, request.param))
    yield server
    # the test of the tests: connections were lent, or never
    assert (request.param == OFF) is (not lent_bytes(server))
    server.stop()


@pytest.mark.parametrize("size", [1, 4095, 4097, 300_000, 2 * MIB + 1, 11 * MIB + 4097])
def test_all_bytes_arrive_and_the_next_request_too(lender: RunningServer, size: int) -> None:
    """Two uploads in one go: the second head stands right behind the first body."""
    body, key = noise(size), f"bytes-{size}"
    with Wire(lender.port) as wire:
        for name in ("first", "second"):
            wire.send(head("PUT", f"/files/{key}-{name}", f"Content-Length: {size}") + body)
        for name in ("first", "second"):
            response = wire.answer()
            assert response.status == 201
            assert response.json()["files"][0]["sha-256"] == hashlib.sha256(body).hexdigest()
            assert (lender.root / f"{key}-{name}").read_bytes() == body


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: close",),
        ("Expect: 100-continue",),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
    ],
    ids=["close", "expect", "upgrade"],
)
def test_what_a_head_asks_for_holds_behind_the_body(
    lender: RunningServer, fields: tuple[str, ...]
) -> None:
    body, key = noise(3 * MIB), f"head-{fields[0][-5:]}"
    with Wire(lender.port) as wire:
        wire.send(head("PUT", f"/files/{key}", f"Content-Length: {len(body)}", *fields))
        if "Expect" in fields[0]:
            assert wire.interim() == 100
        wire.send(body)
        response = wire.answer()
        assert response.status == 201
        assert (lender.root / key).read_bytes() == body
        if "close" in fields[0]:
            assert wire.closed()
        else:
            wire.send(head("HEAD", f"/files/{key}"))
            assert wire.answer(to_head=True).headers["content-length"] == str(len(body))


def test_a_client_may_close_its_half_behind_the_last_byte(lender: RunningServer) -> None:
    body = noise(3 * MIB)
    with Wire(lender.port) as wire:
        wire.send(head("PUT", "/files/half", f"Content-Length: {len(body)}") + body)
        wire.half_close()
        assert wire.answer().status == 201
    assert (lender.root / "half").read_bytes() == body


@pytest.mark.parametrize("end", ["half-close", "close", "reset"])
def test_a_body_that_ends_too_early_is_not_stored(lender: RunningServer, end: str) -> None:
    with Wire(lender.port) as wire:
        wire.send(head("PUT", f"/files/cut-{end}", f"Content-Length: {9 * MIB}") + noise(5 * MIB))
        if end == "half-close":
            wire.half_close()
            response = wire.answer()
            assert (response.status, response.code) == (400, "body-cut")
        elif end == "reset":
            wire.reset()
    eventually(lambda: lender.drafts() == [], "the draft is gone")
    assert f"cut-{end}" not in lender.stored()


def test_wrong_digest_is_refused_and_the_connection_goes_on(lender: RunningServer) -> None:
    body = noise(3 * MIB)
    wrong = b64encode(hashlib.sha256(b"other").digest()).decode()
    with Wire(lender.port) as wire:
        length = f"Content-Length: {len(body)}"
        wire.send(head("PUT", "/files/wrong", length, f"Content-Digest: sha-256=:{wrong}:") + body)
        assert wire.answer().code == "digest-mismatch"
        wire.send(head("PUT", "/files/right", length) + body)
        assert wire.answer().status == 201
    assert "wrong" not in lender.stored()


def test_nothing_behind_a_refused_body_is_taken_for_a_request(lender: RunningServer) -> None:
    """The rest of a body whose upload was cancelled is dropped, whatever it looks like."""
    forged = head("PUT", "/files/forged", "Content-Length: 1") + b"x"
    with Wire(lender.port) as wire:
        wire.send(
            head("PUT", "/files/taken?upload=forged-upload-1-of-this", f"Content-Length: {9 * MIB}")
        )
        wire.send(bytes(3 * MIB))
        url = f"{lender.url}/uploads/forged-upload-1-of-this"
        eventually(lambda: requests.get(url, timeout=10).json().get("received"), "bytes came")
        assert requests.delete(url, timeout=10).status_code in (202, 204)
        wire.send(forged)
        assert wire.answer().code == "cancelled"
        wire.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: lender.drafts() == [], "the draft is gone")
    assert "forged" not in lender.stored()
