"""Pipelined requests: their memory is bounded, and each handler learns that the client left."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
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
    """The bytes that a server takes from a client that reads nothing."""
    wire.sock.settimeout(seconds)
    sent = 0
    try:
        while sent < len(data):
            sent += wire.sock.send(data[sent : sent + 65536])
    except (TimeoutError, ConnectionError):
        pass
    return sent


def test_held_pipelined_requests_cost_little_memory(taker: RunningServer) -> None:
    """Twenty clients send 250 kB of requests each and read nothing.

    This costs a few MiB, not a hundred.
    """
    with Wire(taker.port) as wire:  # the first request loads modules
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


def test_the_server_stops_reading_from_a_client_that_reads_nothing(hasty: Hasty) -> None:
    """So such a client cannot send requests without end."""
    server = hasty(READER_TIMEOUT=60.0)
    with Wire(server.port, send_buffer=1 << 16) as wire:
        assert send_what_it_takes(wire, HEALTH * 500_000, 1) < 8 * MIB


@pytest.mark.parametrize(
    "behind",
    [b"", HEALTH, HEALTH * 5, HEALTH * 20_000],
    ids=["none", "one", "five", "more than is kept"],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_event_stream_ends_when_the_client_leaves(
    taker: RunningServer, behind: bytes, how: str
) -> None:
    """It ends with its connection, also with other requests behind it. The log shows no error."""
    before = taker.log().count("GET /uploads/...")  # the line is written at the end, without the id
    wire = Wire(taker.port)
    wire.send(head("GET", "/uploads/" + "w" * 22, *EVENTS))
    assert wire.sock.recv(10, socket.MSG_PEEK)
    send_what_it_takes(wire, behind)
    wire.close() if how == "close" else wire.reset()

    eventually(
        lambda: taker.log().count("GET /uploads/...") > before, "the stream's line in the log"
    )
    assert "Traceback" not in taker.log()


def test_requests_behind_a_truncated_upload_are_not_run(taker: RunningServer) -> None:
    """The connection is reset during the upload, so the requests behind it have no effect."""
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
def test_the_end_of_a_chunked_body_is_found_however_it_is_split(
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


def test_a_body_with_many_blank_lines_is_fast(taker: RunningServer) -> None:
    """Every blank line could end the chunks; the search must not begin anew at each."""
    text, other = b"paragraph after paragraph\r\n\r\n" * 150_000, noise(4_350_000)

    process = psutil.Process(taker.pid)

    def used() -> float:
        return process.cpu_times().user + process.cpu_times().system

    def seconds(data: bytes) -> float:
        """The server's processor time: a busy machine does not change it much."""
        message = head("PUT", "/files/text", "Transfer-Encoding: chunked") + chunked(data, 1 << 20)
        best = 60.0
        for _ in range(3):
            began = used()
            for _ in range(5):  # the kernel counts in hundredths of a second
                with Wire(taker.port) as wire:
                    wire.send(message)
                    assert wire.answer().status in (200, 201)
            best = min(best, used() - began)
        return best

    # A search that begins anew at each blank line is quadratic: far beyond this bound.
    assert seconds(text) < 5 * seconds(other)


@pytest.mark.parametrize("zero", ["0", "00", "0000000000000000000000"])
def test_an_upgrade_with_an_empty_body_is_answered(taker: RunningServer, zero: str) -> None:
    """`0` and `000` are the same length."""
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


def test_a_get_with_a_truncated_body_logs_no_error(taker: RunningServer) -> None:
    """The log has only the line of the request."""
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
    for word in ("The app returned", "Traceback", "ERROR", "handler is closed"):
        assert word not in taker.log()
