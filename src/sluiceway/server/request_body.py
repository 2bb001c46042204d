"""A request's body as a source: what arrives from an ASGI server, with a deadline on every wait and no silent end.

A body that stops before its end raises BodyCut, whatever the server says about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from starlette.requests import Request

from sluiceway.errors import BadRequest, BodyCut, ExpectationFailed, TooSlow, Unsupported
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import CLIENT, Stages
from sluiceway.server.http1.peer_gone import WHY
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "IDLE",
    "MIN_RATE",
    "body_chunks",
    "body_source",
    "check_body",
    "check_whole",
    "content_length",
]

IDLE = 60.0  # seconds without a byte from the client; tusd and nginx wait as long
PACE = 60.0  # seconds of waiting for the client after which its pace is looked at; what a slow destination takes is not counted
MIN_RATE = "sluiceway.min_rate"  # in an ASGI scope: bytes a second a body must bring at least, by --min-rate


def check_body(request: Request) -> None:
    """Refuse, before the first byte, what this server could only store wrongly."""
    expect = request.headers.get("expect", "100-continue").lower()
    if expect != "100-continue":
        raise ExpectationFailed(
            f"This server knows only Expect: 100-continue, not {expect!r}; leave the header out"
        )
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise Unsupported(
            f"The body is coded as {coding!r}. Send the file as it is, without Content-Encoding: what is stored is "
            "what arrives, byte for byte"
        )


def check_whole(request: Request) -> None:
    """Refuse a piece of a file: each would be a file of its own here, and its sender would take it for the whole."""
    headers = request.headers
    partial = [name for name in ("Content-Range", "Tus-Resumable") if name in headers]
    if headers.get("upload-complete", "?1").strip() == "?0":
        partial.append("Upload-Complete: ?0")
    if headers.get("upload-offset", "0").strip() != "0":
        partial.append("Upload-Offset")
    if partial:
        raise BadRequest(
            f"A file is stored whole here, and not in pieces ({partial[0]}); send the whole file in one request"
        )


def content_length(request: Request) -> int | None:
    """Bytes of the body, None when it is chunked. Raises BadRequest for anything but plain digits."""
    values = request.headers.getlist("content-length")
    if not values:
        chunked = "transfer-encoding" in request.headers
        return None if chunked or request.scope.get("http_version", "1.1").startswith("2") else 0
    if len(values) > 1:
        raise BadRequest("Content-Length was sent more than once")
    return ascii_uint(values[0], "Content-Length")


def body_source(request: Request, stages: Stages) -> PassingSource:
    """The raw body as a source of known or unknown length."""
    return PassingSource(body_chunks(request, stages), content_length(request))


async def body_chunks(
    request: Request, stages: Stages, idle: float = IDLE, pace: float = PACE
) -> AsyncIterator[bytes]:
    """The body's bytes as they arrive. Raises BodyCut and TooSlow."""
    receive = request.receive
    with _IdleWatch(idle, pace, request.scope.get(MIN_RATE, 0)) as watch:
        while True:
            watch.begin()
            before = stages.enter(CLIENT)
            try:
                message = await receive()
            except asyncio.CancelledError:
                if watch.expired():
                    raise TooSlow(f"{watch.why}; nothing was stored. Send it again") from None
                raise
            watch.end(len(message.get("body", b"")))
            stages.enter(before)
            if message["type"] == "http.disconnect":
                cut = BodyCut(
                    "The connection ended before the body did; nothing was stored. Send it again"
                )
                raise message.get(WHY) or cut
            body, more = message.get("body", b""), message.get("more_body", False)
            del message
            if body:
                yield body
            if not more:
                return
            del body  # let go of it before the next one is read: 256 KiB for each upload under way


class _IdleWatch:
    """A deadline on each of many waits and a least pace over them, with one timer for all: a timer for each took a seventh of
    the event loop's time.

    Looks four times within the limit, so a wait ends at most a quarter late.
    """

    def __init__(self, idle: float, pace: float, least: int) -> None:
        self._idle, self._pace, self._least = idle, pace, least
        self._every = min(idle, pace) / 4
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None  # when the wait under way began
        self._waited, self._came = 0.0, 0  # seconds and bytes since the pace was looked at
        self._expired = False
        self.why: str = ""

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = self._loop.call_later(self._every, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def begin(self) -> None:
        self._since = self._loop.time()

    def end(self, came: int) -> None:
        if self._since is not None:
            self._waited += self._loop.time() - self._since
        self._came += came
        self._since = None

    def expired(self) -> bool:
        """Whether the cancellation that just arrived was ours; if so it is taken back."""
        if self._expired and self._task is not None:
            return self._task.uncancel() == 0  # somebody else cancelled as well: theirs counts
        return False

    def _look(self) -> None:
        if self._since is not None and self._task is not None:
            wait = self._loop.time() - self._since
            if wait >= self._idle:
                self.why = f"No byte arrived for {self._idle:g} seconds"
            elif self._waited + wait >= self._pace:
                if self._came < self._least * self._pace:
                    self.why = f"Fewer than {self._least} bytes a second arrived over {self._pace:g} seconds"
                self._waited, self._came = -wait, 0  # the wait under way counts from now on
            if self.why:
                self._expired = True
                self._task.cancel()
                return
        self._timer = self._loop.call_later(self._every, self._look)
