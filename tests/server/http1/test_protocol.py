"""The connection: deadlines, pipelining, upgrades and half-closes.

Other servers lose such requests, or keep such connections for ever.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest

from fix_server import RunningServer
from fix_taking import Hasty, eventually, noise
from raw_http import LAST_CHUNK, Wire, chunk, chunked, head, talk
from resumable_requests import ask, create
from tus_by_hand import OFFSET_STREAM, Tus

HEALTH = head("GET", "/healthz")
UPGRADE = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
)


def test_pipelined_requests_are_answered_in_order(taker: RunningServer) -> None:
    """The client sends uploads and reads at once, without waiting."""
    requests = [
        head("PUT", f"/files/pipe/{number}", "Content-Length: 3") + b"%03d" % number
        for number in range(50)
    ]
    requests += [head("PUT", "/files/pipe/c", "Transfer-Encoding: chunked") + chunked(noise(5000))]
    requests += [head("GET", f"/files/pipe/{number}") for number in range(50)]
    with Wire(taker.port) as wire:
        wire.send(b"".join(requests))
        puts = [wire.answer() for _ in range(51)]
        gets = [wire.answer() for _ in range(50)]

    assert {response.status for response in puts} == {201}
    assert [response.body for response in gets] == [b"%03d" % number for number in range(50)]


def test_a_request_behind_an_upload_waits_its_turn(taker: RunningServer) -> None:
    """The next request arrives with the end of a large body, in the same packet."""
    data = noise(3 << 20)
    with Wire(taker.port) as wire:
        wire.send(
            head("PUT", "/files/before", f"Content-Length: {len(data)}")
            + data
            + head("GET", "/files/before")
        )

        assert wire.answer().status == 201
        assert wire.answer().body == data


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_an_upload_with_an_upgrade_keeps_its_body(taker: RunningServer, cut: int) -> None:
    """curl --http2 and Java's client offer h2c with every upload.

    The server ignores the offer and loses no byte.
    """
    data = noise(100_000)
    for framing, body in (
        (f"Content-Length: {len(data)}", data),
        ("Transfer-Encoding: chunked", chunked(data, 999)),
    ):
        message = (
            head("PUT", "/files/upgrade", framing, *UPGRADE)
            + body
            + head("GET", "/files/upgrade", *UPGRADE)
            + HEALTH
        )
        with Wire(taker.port) as wire:
            wire.send(message[: len(message) // cut])
            wire.send(message[len(message) // cut :])

            assert wire.answer().status in (200, 201)
            assert wire.answer().body == data
            assert wire.answer().body == b"ok\n"
    with Wire(taker.port) as wire:
        wire.send(head("PUT", f"/files/empty-{cut}", "Content-Length: 0", *UPGRADE) + HEALTH)
        assert (wire.answer().status, wire.answer().body) == (201, b"ok\n")


def test_an_http_1_0_client_is_answered_and_closed(taker: RunningServer) -> None:
    """An HTTP/1.0 client sends no Host; the response has no chunks and no keep-alive."""
    with Wire(taker.port) as wire:
        wire.send(b"PUT /files/old HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
        response = wire.answer()

        assert (response.status, response.headers["connection"]) == (201, "close")
        assert wire.closed()


def test_a_client_that_closed_its_half_reads_all_its_answers(taker: RunningServer) -> None:
    """Each of several pipelined uploads before a half-close is answered."""
    requests = [
        head("PUT", f"/files/half/{number}", "Content-Length: 3") + b"abc" for number in range(10)
    ]
    with Wire(taker.port) as wire:
        wire.send(b"".join(requests))
        wire.half_close()

        assert [wire.answer().status for _ in range(10)] == [201] * 10
        assert wire.closed()


def test_a_slow_head_times_out(hasty: Hasty) -> None:
    """A head that arrives byte by byte for ever is answered 408, and the connection closed.

    A connection on which no head begins is closed without a response.
    """
    server = hasty(HEAD_TIMEOUT=0.5)
    with Wire(server.port) as slow, Wire(server.port) as silent:
        try:
            for byte in head("GET", "/healthz", "X: " + "y" * 400):
                slow.send(bytes([byte]))
                time.sleep(0.01)  # this is the attack
        except ConnectionError:
            pass  # the server closed first
        response = slow.answer()

        assert (response.status, response.code) == (408, "too-slow")
        assert slow.closed()
        assert silent.closed()


def test_a_slow_head_on_a_used_connection_times_out(hasty: Hasty) -> None:
    """The deadline applies to the second request, too."""
    server = hasty(HEAD_TIMEOUT=0.5)
    with Wire(server.port) as wire:
        wire.send(HEALTH)
        assert wire.answer().status == 200
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")

        assert wire.answer().status == 408
        assert wire.closed()


def test_a_slow_head_behind_an_answer_times_out(hasty: Hasty) -> None:
    """Half a head that arrived during the response before it has a deadline, too."""
    server = hasty(HEAD_TIMEOUT=0.5)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/x", "Content-Length: 5") + b"helloGET /healthz HTTP/1.1\r\n")
        assert wire.answer().status == 201

        assert wire.answer().status == 408
        assert wire.closed()


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_stalled_body_times_out(hasty: Hasty, framing: str) -> None:
    """408, nothing stored, connection closed: an idle upload must not hold its slot for ever."""
    server = hasty(IDLE=0.5)
    with Wire(server.port) as wire:
        wire.send(
            head("PUT", "/files/idle", framing)
            + (chunk(b"some") if "chunked" in framing else b"some")
        )
        response = wire.answer()

        assert (response.status, response.code, response.headers["connection"]) == (
            408,
            "too-slow",
            "close",
        )
        assert wire.closed()
    assert server.stored() == {}
    eventually(lambda: server.drafts() == [], "the draft is gone")


def test_a_stalled_piece_is_kept(hasty: Hasty) -> None:
    """In each dialect the client is at fault, and goes on where it was. The clients of tus would
    give up after a 408; 423 they send again."""
    server = hasty(IDLE=0.5)
    tus = Tus(server.url)
    url = tus.create(100)
    other = create(server, None, b"", "Upload-Length: 100", target="/files").headers["location"]
    stream, partial = f"Content-Type: {OFFSET_STREAM}", "Content-Type: application/partial-upload"
    length, offset = "Content-Length: 100", "Upload-Offset: 0"
    with tus.session, Wire(server.port) as one, Wire(server.port) as two:
        path = urlsplit(url).path
        one.send(head("PATCH", path, "Tus-Resumable: 1.0.0", offset, stream, length) + b"some")
        two.send(head("PATCH", other, "Upload-Complete: ?1", offset, partial, length) + b"some")
        for wire, status in ((one, 423), (two, 408)):
            response = wire.answer()
            assert (response.status, response.code) == (status, "too-slow"), response.body
            assert wire.closed()
        assert tus.offset(url) == 4
    assert ask(server, None, other).headers["upload-offset"] == "4"


def test_a_slow_upload_succeeds(hasty: Hasty) -> None:
    """The deadline limits one pause, not the whole: ten pieces take longer than it."""
    server = hasty(IDLE=3.0)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/slow", "Transfer-Encoding: chunked"))
        for _ in range(10):
            time.sleep(0.35)  # this is the slowness
            wire.send(chunk(b"piece"))
        wire.send(LAST_CHUNK)

        assert wire.answer().status == 201
    assert (server.root / "slow").read_bytes() == b"piece" * 10


def test_a_refused_client_is_disconnected_after_the_drain_time(hasty: Hasty) -> None:
    """The server drains it for DRAIN_TIMEOUT, although it neither closes nor stops sending."""
    server = hasty("--token", "long-enough-token", DRAIN_TIMEOUT=0.5, DRAIN_BYTES=1 << 30)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/x", f"Content-Length: {10 << 30}"))
        assert wire.answer().status == 401
        sent = 0
        try:
            while sent < 6000:
                wire.send(b"x")
                sent += 1
                time.sleep(0.005)  # slow, so that the time ends it and not the bytes
        except ConnectionError:
            pass  # disconnected

    assert sent < 6000


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost:81/healthz", 200),
        ("http:///", 400),
        ("elsewhere:80", 400),
        ("/files/\xff", 400),
        ("/a#b", 404),
        ("//", 404),
    ],
)
def test_targets_of_all_forms_are_answered(taker: RunningServer, target: str, status: int) -> None:
    """Absolute, authority and malformed forms get a response, never a crash."""
    line = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(
        "latin-1"
    )

    assert talk(taker.port, line).status == status
