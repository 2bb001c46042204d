"""A request's body as a source, with a deadline on every wait and no silent end.

A body that stops before its end raises BodyCut, whatever the server reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self
from weakref import WeakKeyDictionary

from starlette.requests import Request

from sluiceway.errors import (
    BadRequest,
    BodyCut,
    ExpectationFailed,
    LengthRequired,
    TooSlow,
    Unsupported,
)
from sluiceway.pipe.lending import LentConnection
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import SourceSpent
from sluiceway.pipe.stages import CLIENT, Stages
from sluiceway.server.door.indexed_request import is_ordinary
from sluiceway.server.http1.peer_gone import PROTOCOL, WHY
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "BROKEN",
    "IDLE",
    "MIN_RATE",
    "BodySource",
    "body_chunks",
    "check_body",
    "content_length",
    "small_body",
]

IDLE = 60.0  # seconds without a byte from the client; tusd and nginx wait as long
# Seconds of waiting for the client after which its rate is checked. Time that a slow destination
# takes is not counted.
PACE = 60.0
# In an ASGI scope: bytes a second that a body must bring at least, from --min-rate
MIN_RATE = "sluiceway.min_rate"
BROKEN = "sluiceway.broken"  # in an ASGI scope: what was wrong with the body itself, or None
LENGTH = "sluiceway.length"  # in an ASGI scope: what `content_length` found


def check_body(request: Request, *, may_lack: bool = False) -> None:
    """Refuse, before the first byte, what this server could only store wrongly.

    `may_lack`: the body may be missing; it then has no bytes. Raises ExpectationFailed,
    Unsupported, LengthRequired.
    """
    if is_ordinary(request):
        _check_framed(request, may_lack=may_lack)
        return
    expect = request.headers.get("expect", "100-continue").lower()
    if expect != "100-continue":
        raise ExpectationFailed(
            f"This server knows only Expect: 100-continue, not {expect!r}; leave the header out"
        )
    coding = request.headers.get("content-encoding", "").strip(" \t,").lower()
    if coding not in ("", "identity"):  # a list of codings may be empty (RFC 9110 5.6.1)
        raise Unsupported(
            f"The body is encoded as {coding!r}. Send the file as it is, without Content-Encoding: "
            "this server stores exactly the bytes that arrive",
            accept_encoding="identity",
        )
    _check_framed(request, may_lack=may_lack)


def _check_framed(request: Request, *, may_lack: bool) -> None:
    if not may_lack and "content-length" not in request.headers and not _is_framed(request):
        # RFC 9112 6.3: such a request has no body. Its sender meant one, and would take the 201 of
        # an empty file for that of its own.
        raise LengthRequired(
            "The request has neither Content-Length nor Transfer-Encoding, so it has no body; "
            "nothing was stored. Send the file with its length (curl -T FILE does); an empty file "
            "has Content-Length: 0"
        )


def _is_framed(request: Request) -> bool:
    """Whether the head says where the body ends. HTTP/2 and later end it by frames."""
    headers = request.headers
    return (
        "content-length" in headers
        or "transfer-encoding" in headers
        or not request.scope.get("http_version", "1.1").startswith("1")
    )


def content_length(request: Request) -> int | None:
    """Bytes of the body, None if it is chunked. Raises BadRequest for anything but plain digits."""
    scope = request.scope
    if LENGTH not in scope:
        scope[LENGTH] = _read_length(request)
    length: int | None = scope[LENGTH]
    return length


def _read_length(request: Request) -> int | None:
    values = request.headers.getlist("content-length")
    if not values:
        return None if _is_framed(request) else 0
    if len(values) > 1:
        raise BadRequest("Content-Length was sent more than once")
    return ascii_uint(values[0], "Content-Length")


class BodySource:
    """The raw body, of known or unknown length. Between two chunks its connection may be lent."""

    reopenable = False

    def __init__(self, request: Request, stages: Stages) -> None:
        self._request, self._stages, self._is_spent = request, stages, False
        self._watch: _IdleWatch | None = None
        self.length: int | None = content_length(request)

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        if self._is_spent or start or stop is not None:
            raise SourceSpent("A request's body can be read once, from its beginning")
        self._is_spent, request = True, self._request
        self._watch = _idle_watch(request)
        return _chunks(request, self._stages, self._watch)

    def at_hand(self) -> bytes | None:
        """All of a small body that came with its head: it needs no stream and no deadline. None
        where there is more to come."""
        cycle = None if self._is_spent else self._own_cycle()
        if cycle is None or not cycle.has_whole_body:
            return None
        self._is_spent = True
        body: bytes = cycle.take_body()
        return body

    def lend(self) -> LentConnection | None:
        """Only where the server itself is asked for bytes: a middleware that wraps `receive` sees
        all of them."""
        if self._own_cycle() is None or self._watch is None:
            return None
        lent: LentConnection | None = self._request.scope[PROTOCOL].lend(self._watch.count)
        return lent

    def _own_cycle(self) -> Any:
        """What our own protocol receives the request with; None where another one is asked."""
        protocol = self._request.scope.get(PROTOCOL)
        if protocol is None or self._request.receive != protocol.cycle.receive:
            return None
        return protocol.cycle


def body_chunks(
    request: Request, stages: Stages, idle: float | None = None, pace: float | None = None
) -> AsyncIterator[bytes]:
    """The body's bytes as they arrive. Raises BodyCut and TooSlow."""
    return _chunks(request, stages, _idle_watch(request, idle, pace))


def _idle_watch(
    request: Request, idle: float | None = None, pace: float | None = None
) -> _IdleWatch:
    return _IdleWatch(idle or IDLE, pace or PACE, request.scope.get(MIN_RATE, 0))


async def _chunks(request: Request, stages: Stages, watch: _IdleWatch) -> AsyncIterator[bytes]:
    receive = request.receive
    with watch:
        while True:
            watch.begin()
            before = stages.enter(CLIENT)
            try:
                message = await receive()
            except asyncio.CancelledError:
                if watch.expired():
                    raise TooSlow(
                        f"{watch.reason}; send it again, or what is missing of it"
                    ) from None
                raise
            watch.end(len(message.get("body", b"")))
            stages.enter(before)
            if message["type"] == "http.disconnect":
                cut = BodyCut(
                    "The connection ended before the body did; nothing was stored. Send it again"
                )
                request.scope[BROKEN] = why = message.get(WHY)
                raise why or cut
            body, more = message.get("body", b""), message.get("more_body", False)
            del message
            if body:
                yield body
            if not more:
                return
            del body  # freed before the next read: 256 KiB for each running upload


class _IdleWatch:
    """A deadline on each of many waits, and a minimum rate over all of them.

    A timer for each wait took a seventh of the event loop's time. A common one looks four times
    within the limit, so a wait ends at most a quarter of the limit late.
    """

    def __init__(self, idle: float, pace: float, min_rate: int) -> None:
        self._idle, self._pace, self._min_rate = idle, pace, min_rate
        self._interval = min(idle, pace) / 4
        self._loop = asyncio.get_running_loop()
        self._watches = _watches_of(self._loop, self._interval)
        self._since: float | None = None  # when the running wait began
        self._task: asyncio.Task[object] | None = None
        self._waited, self._received = 0.0, 0  # seconds and bytes since the last check of the rate
        self._expired = False
        self.reason: str = ""

    def __enter__(self) -> Self:
        self._watches.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watches.discard(self)

    def begin(self) -> None:
        # a view may read its body in several tasks, one after the other
        self._task = asyncio.current_task()
        self._since = self._loop.time()

    def end(self, received: int) -> None:
        if self._since is not None:
            self._waited += self._loop.time() - self._since
        self._since = None
        self.count(received)

    def count(self, received: int) -> None:
        self._received += received

    def expired(self) -> bool:
        """Whether this watch caused the cancellation that just arrived; then it is taken back."""
        if self._expired and self._task is not None:
            return self._task.uncancel() == 0  # above 0: it was cancelled elsewhere as well
        return False

    def look(self) -> None:
        """End a wait that is too long."""
        if self._since is not None and self._task is not None:
            wait = self._loop.time() - self._since
            if wait >= self._idle:
                self.reason = f"No byte arrived for {self._idle:g} seconds"
            elif self._waited + wait >= self._pace:
                if self._received < self._min_rate * self._pace:
                    self.reason = (
                        f"Fewer than {self._min_rate} bytes a second arrived over {self._pace:g} "
                        "seconds"
                    )
                self._waited, self._received = -wait, 0  # the running wait counts from now on
            if self.reason:
                self._expired = True
                self._task.cancel()
                self._watches.discard(self)


class _Watches(set[_IdleWatch]):
    """All watches with one interval: one timer looks at them while there are any.

    To start and stop a timer for each body took a hundredth of a small one's time.
    """

    def __init__(self, interval: float) -> None:
        super().__init__()
        self._interval, self._runs = interval, False

    def add(self, watch: _IdleWatch) -> None:
        super().add(watch)
        if not self._runs:
            self._runs = True
            asyncio.get_running_loop().call_later(self._interval, self._look)

    def _look(self) -> None:
        for watch in list(self):
            watch.look()
        self._runs = bool(self)
        if self._runs:
            asyncio.get_running_loop().call_later(self._interval, self._look)


_all_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Watches]]
_all_watches = WeakKeyDictionary()


def _watches_of(loop: asyncio.AbstractEventLoop, interval: float) -> _Watches:
    of_loop = _all_watches.setdefault(loop, {})
    if interval not in of_loop:
        of_loop[interval] = _Watches(interval)
    return of_loop[interval]


async def small_body(request: Request, most: int) -> bytes | None:
    """The whole body; None where it has more than `most` bytes.

    One that says so is left unread. Raises as `check_body` and `body_chunks`.
    """
    check_body(request)
    if (content_length(request) or 0) > most:
        return None
    body, chunks = bytearray(), body_chunks(request, Stages())
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                return None
    finally:
        await close_stream(chunks)
    return bytes(body)
