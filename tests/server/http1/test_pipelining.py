"""Requests sent before the answer to the one before: bounded in memory, and everyone hears when the client leaves."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fix_server import RunningServer
from fix_taking import Hasty, eventually, noise
from raw_http import LAST_CHUNK, Wire, chunk, chunked, head

HEALTH = head("GET", "/healthz")
EVENTS = ("Accept: text/event-stream",)
MIB = 1 << 20


def resident(server: RunningServer) -> int:
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def send_what_it_takes(wire: Wire, data: bytes, seconds: float = 0.3) -> int:
    """How much of it a server that is not read from takes."""
    wire.sock.settimeout(seconds)
    sent = 0
    try:
        while sent < len(data):
            sent += wire.sock.send(data[sent : sent + 65536])
    except (TimeoutError, ConnectionError):
        pass
    return sent


def test_pipelined_requests_cost_as_many_bytes_as_they_have(taker: RunningServer) -> None:
    """Twenty clients send a quarter of a megabyte of requests each and read nothing: a few MiB, not a hundred."""
    with Wire(taker.port) as wire:  # loads what is loaded late
        wire.send(head("GET", "/"))
        assert wire.answer().status == 200
    before = resident(taker)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(taker.port)) for _ in range(20)]
        for wire in wires:
            wire.send(head("GET", "/uploads/" + "x" * 22, *EVENTS))
        for wire in wires:
            send_what_it_takes(wire, head("GET", "/") * 6000, 0.1)
        time.sleep(0.5)

        assert resident(taker) - before < 24 * MIB


def test_an_answer_that_is_not_read_stops_the_reading_of_requests(hasty: Hasty) -> None:
    """Who reads nothing cannot send requests without end either."""
    server = hasty(READER_TIMEOUT=60.0)
    with Wire(server.port, send_buffer=1 << 16) as wire:
        assert send_what_it_takes(wire, HEALTH * 500_000, 1) < 8 * MIB


@pytest.mark.parametrize(
    "behind",
    [b"", HEALTH, HEALTH * 5, HEALTH * 20_000],
    ids=["none", "one", "five", "more than is kept"],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_whoever_waits_hears_that_the_client_left(
    taker: RunningServer, behind: bytes, how: str
) -> None:
    """An event stream with other requests behind it ends when its connection does, without a word of trouble in the log."""
    before = taker.log().count("GET /uploads/...")  # written at its end, without the id
    wire = Wire(taker.port)
    wire.send(head("GET", "/uploads/" + "w" * 22, *EVENTS))
    assert wire.sock.recv(10, socket.MSG_PEEK)
    send_what_it_takes(wire, behind)
    wire.close() if how == "close" else wire.reset()

    eventually(
        lambda: taker.log().count("GET /uploads/...") > before, "the stream's line in the log"
    )
    assert "Traceback" not in taker.log()


def test_requests_behind_an_upload_that_is_cut_are_not_run(taker: RunningServer) -> None:
    """A client that is reset while its upload runs gets nothing of what it sent behind."""
    wire = Wire(taker.port)
    wire.send(head("PUT", "/files/cut", "Transfer-Encoding: chunked") + chunk(b"some"))
    wire.reset()

    with Wire(taker.port) as other:
        other.send(HEALTH)
        assert other.answer().status == 200
    assert not (taker.root / "cut").exists()


def bodies() -> Iterator[tuple[str, bytes, bytes]]:
    blank = b"a line\r\n\r\n0\r\n\r\nb: c\r\n\r\n\r\n\r\n"
    for size in (1, 2, 3, 5, 1000):
        yield f"chunks of {size} with blank lines", chunked(blank, size), blank
    yield "an extension", b"5;a=b\r\nhello\r\n000;c\r\n\r\n", b"hello"
    yield "trailers", chunk(b"hello") + b"0\r\nX: y\r\nZ: w\r\n\r\n", b"hello"
    yield "noise", chunked(noise(20_000), 777), noise(20_000)
    yield "nothing", LAST_CHUNK, b""


@pytest.mark.parametrize(
    ("body", "data"),
    [(body, data) for _, body, data in bodies()],
    ids=[name for name, _, _ in bodies()],
)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100_000])
def test_the_end_of_a_chunked_body_is_found_wherever_it_is_cut(
    taker: RunningServer, body: bytes, data: bytes, step: int
) -> None:
    """The requests behind it are answered one by one, however the bytes arrive."""
    if len(body) > 1000 and step < 7:
        step = 1999
    message = (
        (head("PUT", "/files/ends", "Transfer-Encoding: chunked") + body) * 2
        + head("GET", "/files/ends")
        + HEALTH
    )
    with Wire(taker.port) as wire:
        for at in range(0, len(message), step):
            wire.send(message[at : at + step])

        assert wire.answer().status in (200, 201)
        assert wire.answer().status in (200, 201)
        assert wire.answer().body == data
        assert wire.answer().body == b"ok\n"


def test_a_text_with_blank_lines_is_not_slow(taker: RunningServer) -> None:
    """Every blank line could be the end of the chunks: it is not looked at as if it were."""
    text, other = b"paragraph after paragraph\r\n\r\n" * 150_000, noise(4_350_000)

    def seconds(data: bytes) -> float:
        message = head("PUT", "/files/text", "Transfer-Encoding: chunked") + chunked(data, 1 << 20)
        best = 60.0
        for _ in range(3):
            with Wire(taker.port) as wire:
                began = time.monotonic()
                wire.send(message)
                assert wire.answer().status in (200, 201)
                best = min(best, time.monotonic() - began)
        return best

    assert seconds(text) < 5 * seconds(other)


@pytest.mark.parametrize("zero", ["0", "00", "0000000000000000000000"])
def test_an_upgrade_with_an_empty_body_is_answered(taker: RunningServer, zero: str) -> None:
    """A length is a number, however it is written."""
    upgrade = ("Connection: Upgrade", "Upgrade: h2c")
    with Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/zero{len(zero)}", f"Content-Length: {zero}", *upgrade) + HEALTH
        )

        assert wire.answer().status == 201
        assert wire.answer().body == b"ok\n"
    with Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/five{len(zero)}", f"Content-Length: {zero}5", *upgrade)
            + b"hello"
            + HEALTH
        )

        assert wire.answer().status == 201
        assert wire.answer().body == b"ok\n"
    assert (taker.root / f"five{len(zero)}").read_bytes() == b"hello"


def test_a_reader_with_half_a_body_makes_no_noise(taker: RunningServer) -> None:
    """GET with a body that is cut: nothing in the log but its own line."""
    (taker.root / "noise.bin").write_bytes(noise(3 * MIB))
    for target in ("/files/noise.bin", "/files?as=zip", "/files", "/", "/uploads/" + "y" * 22):
        for cut in (True, False):
            wire = Wire(taker.port)
            wire.send(head("GET", target, "Content-Length: 5", *EVENTS) + b"he")
            wire.half_close() if cut else wire.reset()
            if cut:
                wire.rest()
                wire.close()
    with Wire(taker.port) as wire:
        wire.send(head("GET", "/files/last-of-all"))
        assert wire.answer().status == 404
    eventually(lambda: "/files/last-of-all" in taker.log())
    time.sleep(0.2)
    for word in ("ASGI callable", "Traceback", "ERROR", "handler is closed"):
        assert word not in taker.log()
