"""The probes: each sends one request through the chain and returns what came back.

None stores anything: bodies go to /doctor, which counts them, or announce a size and are not sent.
Each is bounded: at most 2 MiB are sent, and no wait is longer than its deadline.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace

from sluiceway.client.doctor.exchange import ProbeConnection, ProbeResponse
from sluiceway.client.doctor.target import Target
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE
from sluiceway.wire.resumable import VERSION_FIELD

__all__ = [
    "LARGE",
    "STEPS",
    "SlowBody",
    "announce",
    "ask",
    "ask_events",
    "ask_expect",
    "ask_interim",
    "ask_preflight",
    "find_cap",
    "greet",
    "send_large",
    "send_malformed",
    "send_paused",
    "send_slowly",
]

DOCTOR = "/doctor"
TIMEOUT = 20.0  # seconds that a response may take beyond what a probe itself waits
HEAD_TIMEOUT = 3.0  # seconds for a response to a head alone
STEPS, STEP_SIZE = 24, 4 << 10  # of a slow body; Apache and haproxy hold the first 16 KiB back
LARGE = 2 << 20  # bytes: more than nginx's default of 1 MiB
HUGE_EXPONENT, LEAST_EXPONENT = 40, 12  # 1 TiB; a hop that takes less than 4 KiB takes nothing
MALFORMED = b"GET / HTTP/1.1\r\nHost: %s\r\nBad Header: x\r\nConnection: close\r\n\r\n"
INTERIM_VERSION = "8"
GZIP = 31  # zlib's number for a gzip head and its largest window
MOST_EVENTS = 64 << 10  # bytes


@dataclass(frozen=True, slots=True)
class SlowBody:
    """A body sent in steps: `size` bytes, the first and last step `spread` seconds apart.

    `early` is whether the response came before the end of the body.
    """

    response: ProbeResponse
    size: int
    spread: float
    early: bool


def ask(
    target: Target, path: str = DOCTOR, *fields: tuple[str, str], wait: float = 0.0
) -> ProbeResponse:
    """A GET; `wait` is how long the server will take."""
    with ProbeConnection(target, TIMEOUT + wait) as connection:
        connection.begin("GET", path, fields)
        connection.end()
        return connection.response()


def greet(target: Target) -> ProbeResponse:
    """The first request, as of a client that would take 104."""
    return ask(target, DOCTOR, (VERSION_FIELD, INTERIM_VERSION))


def send_malformed(target: Target) -> bytes:
    """What the first hop says to a request that is not HTTP: its name is in the wording."""
    with ProbeConnection(target.without_secret(), HEAD_TIMEOUT) as connection:
        return connection.raw(MALFORMED % target.authority.encode("latin-1"), HEAD_TIMEOUT)


def send_slowly(
    target: Target, seconds: float, path: str = DOCTOR, *, chunked: bool = False
) -> SlowBody:
    """A body of 96 KiB that takes so many seconds."""
    size = STEPS * STEP_SIZE
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    with ProbeConnection(target, TIMEOUT) as connection:
        connection.begin("POST", path, [framing])
        began = time.monotonic()
        for step in range(STEPS):
            due = began + seconds * step / (STEPS - 1)
            if connection.has_response(max(0.0, due - time.monotonic())):
                spread = time.monotonic() - began
                return SlowBody(connection.response(), step * STEP_SIZE, spread, early=True)
            connection.send(bytes(STEP_SIZE))
        spread = time.monotonic() - began
        connection.end()
        return SlowBody(connection.response(), size, spread, early=False)


def send_paused(target: Target, seconds: float) -> SlowBody:
    """A body whose two halves are so many seconds apart."""
    half = STEPS * STEP_SIZE // 2
    with ProbeConnection(target, TIMEOUT) as connection:
        connection.begin("POST", DOCTOR, [("Content-Length", str(2 * half))])
        connection.send(bytes(half))
        if connection.has_response(seconds):
            return SlowBody(connection.response(), half, seconds, early=True)
        connection.send(bytes(half))
        connection.end()
        return SlowBody(connection.response(), 2 * half, seconds, early=False)


def send_large(target: Target) -> ProbeResponse:
    """2 MiB as fast as they are taken: some hops count what comes, not what is announced."""
    with ProbeConnection(target, TIMEOUT) as connection:
        connection.begin("POST", DOCTOR, [("Content-Length", str(LARGE))])
        for _ in range(LARGE >> 16):
            if connection.is_broken or connection.has_response():
                return connection.response()
            connection.send(bytes(1 << 16))
        connection.end()
        return connection.response()


def announce(target: Target, size: int, path: str = f"{DOCTOR}?read=no") -> ProbeResponse:
    """The head of a body of `size` bytes, none of which is sent."""
    fields = [("Content-Length", str(size)), ("Expect", "100-continue")]
    with ProbeConnection(target, HEAD_TIMEOUT) as connection:
        connection.begin("POST", path, fields)
        return connection.response()


def find_cap(target: Target, path: str = f"{DOCTOR}?read=no") -> tuple[int, ProbeResponse] | None:
    """The largest power of two that may be announced, and the refusal of the next one; None where
    1 TiB is not refused."""
    huge = announce(target, 1 << HUGE_EXPONENT, path)
    if huge.status != 413:
        return None
    taken, refused = LEAST_EXPONENT, HUGE_EXPONENT
    while refused - taken > 1:
        middle = (taken + refused) // 2
        if announce(target, 1 << middle, path).status == 413:
            refused = middle
        else:
            taken = middle
    return 1 << taken, huge


def ask_expect(target: Target) -> tuple[int, ProbeResponse]:
    """`Expect: 100-continue`: the status that came before the body, 0 for none, and the final
    response."""
    fields = [("Content-Length", "1024"), ("Expect", "100-continue")]
    with ProbeConnection(target, TIMEOUT) as connection:
        connection.begin("POST", DOCTOR, fields)
        first = connection.next_status(HEAD_TIMEOUT)
        if first in (0, 100):
            connection.send(bytes(1024))
            connection.end()
        return first, connection.response()


def ask_events(target: Target) -> ProbeResponse:
    """An event stream as a browser asks for it; a hop that compresses it may hold it back."""
    fields = [("Accept", EVENT_STREAM_TYPE), ("Accept-Encoding", "gzip")]
    found = ask(target, f"{DOCTOR}?as=events", *fields)
    if found.get("content-encoding") != "gzip":
        return found
    try:
        body = zlib.decompressobj(GZIP).decompress(found.body, MOST_EVENTS)
    except zlib.error:
        body = b""
    return replace(found, body=body)


def ask_interim(target: Target) -> ProbeResponse:
    """The server sends 104 and then 200."""
    path = f"{DOCTOR}?interim=104"
    return ask(target, path, (VERSION_FIELD, INTERIM_VERSION), ("Upload-Complete", "?0"))


def ask_preflight(target: Target, origin: str) -> ProbeResponse:
    """What a browser asks before a page of `origin` sends a piece of a file."""
    fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "PATCH"),
        ("Access-Control-Request-Headers", "authorization, upload-offset, content-type"),
    ]
    with ProbeConnection(target.without_secret(), TIMEOUT) as connection:
        connection.begin("OPTIONS", "/files", fields)
        connection.end()
        return connection.response()
