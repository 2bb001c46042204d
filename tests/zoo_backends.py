"""Backends of every kind, each in a few lines: those that refuse, close, stall, trickle or lie."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from fix_gateway import takes
from fix_taking import noise
from raw_http import chunked
from rude_peer import Exchange

__all__ = [
    "ANSWER",
    "IDLE",
    "LARGE",
    "MEDIUM",
    "SMALL",
    "Act",
    "answers_in_chunks",
    "closes_at",
    "closes_in_its_answer",
    "closes_without_an_answer",
    "goes_on_late",
    "hints_and_falls_silent",
    "hints_first",
    "needs_length",
    "never_answers",
    "never_goes_on",
    "never_reads",
    "reads_slowly",
    "refuses",
    "refuses_chunks",
    "refuses_midway",
    "refuses_slowly",
    "resets_in_its_answer",
    "speaks_http_1_0",
    "stalls_in_its_answer",
    "talks_garbage",
    "thanks_too_early",
    "trickles",
    "wants_upload",
]


# seconds, the timeouts of these gateways; the defaults are a minute and ten
IDLE, ANSWER = 1.2, 2.0


LARGE = noise(24 << 20)  # more than the kernel buffers between two processes hold


MEDIUM = LARGE[: 3 << 20]  # bytes read and dropped after an early response, so that no client waits


SMALL = noise(1000)


GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


Act = Callable[[Exchange], None]


def needs_length(exchange: Exchange) -> None:
    if "content-length" not in exchange.headers:
        exchange.reply(411, body=b"how long?")
    else:
        takes(exchange)


def refuses_chunks(exchange: Exchange) -> None:
    if "transfer-encoding" in exchange.headers:
        exchange.reply(501, body=b"no chunks")
    else:
        takes(exchange)


def wants_upload(exchange: Exchange) -> None:
    if b'name="upload"; filename=' in exchange.read_body():
        exchange.reply(201, body=b"thanks")
    else:
        exchange.reply(400, body=b"the field is called upload")


def refuses(status: int, headers: dict[str, str] | None = None) -> Act:
    """Answers right after the head, and reads no byte of the body."""

    def act(exchange: Exchange) -> None:
        exchange.reply(
            status, {"Content-Type": "text/plain", **(headers or {})}, b"no: %d" % status
        )

    return act


def refuses_slowly(exchange: Exchange) -> None:
    """Sends the head of its refusal, and the body a moment later."""
    exchange.head(413, {"Content-Length": "4"})
    time.sleep(IDLE / 3)
    exchange.send(b"slow")


def refuses_midway(exchange: Exchange) -> None:
    exchange.take(1 << 20)
    exchange.reply(413, body=b"enough")


def closes_at(count: int) -> Act:
    def act(exchange: Exchange) -> None:
        exchange.take(count)
        exchange.reset()

    return act


def closes_without_an_answer(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.sock.close()


def never_answers(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.recv()


def never_reads(exchange: Exchange) -> None:
    time.sleep(8 * IDLE)


def resets_in_its_answer(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.head(200, {"Content-Length": "1000"})
    exchange.send(b"half")
    time.sleep(0.1)
    exchange.reset()


def closes_in_its_answer(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.head(201, {"Content-Length": "1000"})
    exchange.send(b"half")
    exchange.sock.close()


def stalls_in_its_answer(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.head(200, {"Content-Length": "1000"})
    exchange.send(b"half")
    exchange.recv()


def trickles(exchange: Exchange) -> None:
    """Sends one byte of its response head each half second, without end."""
    exchange.read_body()
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    for _ in range(60):
        exchange.send(b"x")
        time.sleep(IDLE / 2)


def talks_garbage(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n\0\1\2")


def thanks_too_early(exchange: Exchange) -> None:
    exchange.reply(200, body=b"got it")


def speaks_http_1_0(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.send(b"HTTP/1.0 201 Created\r\nContent-Type: text/plain\r\n\r\nold but fine")
    exchange.sock.close()


def answers_in_chunks(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.send(
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(b"piece by piece", 3)
    )


def hints_first(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    exchange.reply(201, body=b"ok")


def hints_and_falls_silent(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    exchange.recv()


def reads_slowly(exchange: Exchange) -> None:
    """Reads 1 MB/s in small steps; in all it takes longer than any single timeout."""
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    left = int(exchange.headers["content-length"])
    while left:
        piece = exchange.take(min(50_000, left))
        left -= piece
        time.sleep(piece / 1e6)
    exchange.reply(201, body=b"at last")


def goes_on_late(exchange: Exchange) -> None:
    time.sleep(IDLE / 2)
    exchange.send(GO_ON)
    takes(exchange)


def never_goes_on(exchange: Exchange) -> None:
    exchange.recv()  # a client that waits for the 100 sends nothing
