"""Heads, chunk extensions, trailers and pipelined heads have a bound, so memory does not grow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
from starlette.types import Message

from fix_server import RunningServer
from fix_taking import Hasty, noise
from raw_http import Answer, Wire, chunk, head
from sluiceway.server.app import Sluiceway
from sluiceway.server.settings.checked import Settings
from sluiceway.wsgi.bridge import WsgiService

MOST = 64 << 10  # bytes of a head
# Bytes of memory a flood may cost: buffers of the kernel's reads, never the flood.
GROWTH = 24 << 20
FLOOD = 96 << 20  # bytes each flood tries to send
SEND_CHUNK = 32 << 10


def headers(size: int) -> Iterator[bytes]:
    """Header lines without end."""
    yield b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    for number in range(size // SEND_CHUNK):
        yield b"X-%d: " % number + b"a" * (SEND_CHUNK - 20) + b"\r\n"


def one_line(size: int) -> Iterator[bytes]:
    yield b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
    for _ in range(size // SEND_CHUNK):
        yield b"a" * SEND_CHUNK


def one_target(size: int) -> Iterator[bytes]:
    yield b"GET /"
    for _ in range(size // SEND_CHUNK):
        yield b"a" * SEND_CHUNK


def trailers(size: int) -> Iterator[bytes]:
    yield head("PUT", "/files/flood", "Transfer-Encoding: chunked") + chunk(b"hello") + b"0\r\n"
    for number in range(size // SEND_CHUNK):
        yield b"X-%d: " % number + b"a" * (SEND_CHUNK - 20) + b"\r\n"


def one_trailer(size: int) -> Iterator[bytes]:
    yield head("PUT", "/files/flood", "Transfer-Encoding: chunked") + chunk(b"hello") + b"0\r\nX: "
    for _ in range(size // SEND_CHUNK):
        yield b"a" * SEND_CHUNK


def one_extension(size: int) -> Iterator[bytes]:
    yield head("PUT", "/files/flood", "Transfer-Encoding: chunked") + b"5;"
    for _ in range(size // SEND_CHUNK):
        yield b"a" * SEND_CHUNK


def extensions(size: int) -> Iterator[bytes]:
    """Two thousand bytes of extension for each byte of body."""
    yield head("PUT", "/files/flood", "Transfer-Encoding: chunked")
    for _ in range(size // SEND_CHUNK):
        yield b"".join(b"1;" + b"a" * 2000 + b"\r\nx\r\n" for _ in range(16))


def head_behind_a_waiting_answer(size: int) -> Iterator[bytes]:
    """An event stream waits for a minute; the head of the next request never ends."""
    yield head("GET", "/uploads/" + "x" * 22, "Accept: text/event-stream")
    yield from headers(size)


FLOODS = {
    "header lines": headers,
    "one header line": one_line,
    "one target": one_target,
    "trailers": trailers,
    "one trailer": one_trailer,
    "one chunk extension": one_extension,
    "chunk extensions": extensions,
    "a head behind a waiting answer": head_behind_a_waiting_answer,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_refused_and_costs_no_memory(hasty: Hasty, flood: str) -> None:
    """The server stops the sender long before its end, and its memory does not grow with it."""
    server = hasty(DRAIN_TIMEOUT=0.3)
    with Wire(server.port) as wire:  # the first request loads modules
        wire.send(head("PUT", "/files/first", "Content-Length: 5") + b"hello")
        assert wire.answer().status == 201
    before = resident(server)
    sent = 0
    with Wire(server.port, send_buffer=1 << 16) as wire:
        wire.sock.settimeout(2)  # the server may stop reading instead of closing
        try:
            for piece in FLOODS[flood](FLOOD):
                sent += wire.sock.send(piece)
        except (ConnectionError, TimeoutError):
            pass  # stopped

    assert sent < FLOOD // 2
    assert resident(server) - before < GROWTH
    assert list(server.stored()) == ["first"]
    assert server.drafts() == []


def resident(server: RunningServer) -> int:
    """Bytes of memory of the server's process."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def ask(server: RunningServer, size: int, *, at_once: bool) -> Answer:
    """A request whose head has about `size` bytes, in one packet or in many."""
    data = head(
        "GET",
        "/healthz",
        "Connection: close",
        *(f"X-{number:05}: " + "a" * 989 for number in range(size // 1000)),
    )
    with Wire(server.port) as wire:
        try:
            for at in range(0, len(data), len(data) if at_once else 1000):
                wire.send(data[at : at + (len(data) if at_once else 1000)])
        except ConnectionError:
            pass  # refused before its end
        return wire.answer()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_beyond_64_kib_is_refused(taker: RunningServer, at_once: bool) -> None:
    """60 kB pass; 70 kB and 200 kB get a readable 431, in one packet or in many."""
    assert ask(taker, 60_000, at_once=at_once).status == 200
    for size in (70_000, 200_000):
        response = ask(taker, size, at_once=at_once)

        assert (response.status, response.code, response.json()["limit"]) == (
            431,
            "head-too-large",
            MOST,
        )


def test_a_client_that_still_sends_reads_the_refusal_of_its_head(taker: RunningServer) -> None:
    """A head of megabytes gets a response, not a reset."""
    for _ in range(5):
        with Wire(taker.port) as wire:
            try:
                for piece in headers(8 << 20):
                    wire.send(piece)
            except ConnectionError:
                pass  # the server closed while we sent
            assert wire.answer().status == 431


def test_tiny_chunks_are_accepted(taker: RunningServer) -> None:
    """Chunks of one byte cost five bytes more for each."""
    data = noise(50_000)
    with Wire(taker.port) as wire:
        body = b"".join(chunk(data[at : at + 1]) for at in range(len(data))) + b"0\r\n\r\n"
        wire.send(head("PUT", "/files/tiny", "Transfer-Encoding: chunked") + body)

        assert wire.answer().status in (200, 201)
    assert (taker.root / "tiny").read_bytes() == data


def test_many_pipelined_requests_are_answered(taker: RunningServer) -> None:
    """Thousands of small requests sent without waiting are all answered."""
    one = head("GET", "/healthz")
    with Wire(taker.port) as wire:
        for _ in range(30):
            wire.send(one * 100)
            assert [wire.answer().body for _ in range(100)] == [b"ok\n"] * 100


@pytest.mark.parametrize("fields", [129, 12_000])
def test_a_head_with_too_many_fields_is_refused(taker: RunningServer, fields: int) -> None:
    """12,000 short lines would block the event loop for seconds; the 129th is refused."""
    lines = b"A: \r\n" * (fields - 1)
    with Wire(taker.port) as wire:
        wire.send(b"GET /files HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")
        response = wire.answer()

        assert (response.status, response.code, response.json()["limit"]) == (
            431,
            "head-too-large",
            128,
        )
        assert wire.closed()


def test_a_head_with_as_many_fields_as_allowed_passes(taker: RunningServer) -> None:
    """Also when all of them are conditions that the server joins."""
    lines = b"".join(b'If-None-Match: "%d"\r\n' % number for number in range(127))
    (taker.root / "lines").write_bytes(b"x")
    with Wire(taker.port) as wire:
        wire.send(b"GET /files/lines HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")

        assert wire.answer().status == 200
    (taker.root / "lines").unlink()


def test_the_app_limits_the_fields_on_other_servers(tmp_path: Path) -> None:
    """Under ASGI and under WSGI the app refuses a head that the server accepted."""
    app = Sluiceway(to=str(tmp_path / "asgi"))

    async def status(fields: int) -> int:
        headers = [(b"host", b"localhost"), *[(b"a", b"b")] * (fields - 1)]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/files",
            "raw_path": b"/files",
        }
        scope |= {
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return int(sent[0]["status"])

    assert [asyncio.run(status(129)), asyncio.run(status(128))] == [431, 200]
    asyncio.run(app.aclose())
    service = WsgiService(Settings(to=(str(tmp_path / "wsgi"),)))
    environ: dict[str, object] = {}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    responses = []
    for count in (200, 50):
        names = {f"HTTP_X_{number}": "y" for number in range(count)}
        here = {**environ, "PATH_INFO": "/files", "HTTP_HOST": "localhost", **names}
        pieces = service(here, lambda status, _: statuses.append(status))
        responses.append(b"".join(pieces))
        pieces.close()  # type: ignore[attr-defined]
    assert [status[:3] for status in statuses] == ["431", "200"]
    assert b"head-too-large" in responses[0]
