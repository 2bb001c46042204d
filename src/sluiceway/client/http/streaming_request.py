"""A request whose body is pushed: open it, write, then finish or abort. The opposite of `Body`, which is pulled.

An answer may come at any moment; from then on nothing is written, and whoever writes is told. Knows nothing of what the
bytes mean. Every wait has the transport's deadlines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluiceway.client.http.exchange import Head
from sluiceway.client.http.pulled_body import Write
from sluiceway.client.http.socket_progress import SocketProgress
from sluiceway.client.http.transport import OpenResponse, Transport
from sluiceway.errors import PeerFailed, PeerTimeout, SluiceError
from sluiceway.pipe.source import Buffer
from sluiceway.wire.urls import redact_url

__all__ = ["MOST_RESPONSE", "EarlyResponse", "Response", "StreamingRequest"]

MOST_RESPONSE = (
    1 << 20
)  # bytes of an answer that are passed on; an API's answer to an upload has a few hundred
LEAVE = 5.0  # seconds an aborted request may take to let go of its connection


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whole. `body` is None when it had more than MOST_SAID bytes."""

    head: Head
    body: bytes | None


class EarlyResponse(Exception):
    """The peer answered before it had the whole body: nothing more is written to it."""

    def __init__(self, said: Response) -> None:
        super().__init__(said.head.status)
        self.said = said


class StreamingRequest:
    """One request under way. `length` is that of the whole body in bytes; None sends it in chunks."""

    length: int | None
    repeatable = False

    def __init__(
        self,
        transport: Transport,
        method: str,
        url: str,
        headers: Mapping[str, str],
        length: int | None,
        *,
        expect: bool = False,
    ) -> None:
        self._transport, self._method, self._url, self._headers = transport, method, url, headers
        self.length, self._expect = length, expect
        self.started: bool = False
        self.handed: int = 0
        self.ended: float | None = None
        self.failure: SluiceError | None = None
        self.line: SocketProgress | None = None
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Write] = loop.create_future()  # the library wants the body
        self._whole: asyncio.Future[None] = loop.create_future()  # all of it was written
        self._request: asyncio.Task[Response] | None = None
        self._blocked: asyncio.Task[object] | None = None  # who stands in `write` now
        self._woken = False
        self._halted = False  # an answer came

    async def open(self) -> None:
        """Connect and send the head; with `expect`, wait until the peer wants the body. Raises Answered, PeerFailed."""
        self._request = asyncio.get_running_loop().create_task(self._ask())
        self._request.add_done_callback(self._wake)
        # An operator who asks for Expect wants the destination's word before the body: here is no impatient start.
        patience = self._transport.deadlines.idle if self._expect else None
        news: set[asyncio.Future[Any]] = {self._request, self._ready}
        await asyncio.wait(news, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if self._request.done():
            raise EarlyResponse(self._request.result())
        if not self._ready.done():
            raise PeerTimeout(
                f"{redact_url(self._url)} said neither 100 Continue nor no; it may not know Expect"
            )

    async def write(self, data: Buffer) -> None:
        """Hand on the next bytes; returns when the connection is ready for more. Raises Answered, PeerFailed."""
        request = self._asked
        if self._halted or request.done():
            raise EarlyResponse(await self._outcome())
        self.handed += len(data)
        self.started = True
        self._blocked = asyncio.current_task()
        try:
            await self._ready.result()(data)
        except asyncio.CancelledError:
            # Ours, because an answer came while the peer took nothing, unless somebody else cancelled as well.
            if not self._woken or (self._blocked is not None and self._blocked.uncancel() > 0):
                raise
        except (
            OSError,
            RuntimeError,
        ):  # the connection is gone: the request itself knows why, or has the answer
            pass
        else:
            return
        finally:
            self._blocked = None
        raise EarlyResponse(await self._outcome())

    async def finish(self) -> Response:
        """The body is whole: send its end and wait for the answer. Raises PeerFailed, PeerTimeout."""
        if not self._whole.done():
            self._whole.set_result(None)
        limits = self._transport.deadlines
        try:
            # The library's own clock begins anew with each byte of an answer's head, and stops at a 1xx.
            async with asyncio.timeout(limits.answer + 2 * limits.idle):
                return await self._outcome()
        except TimeoutError:
            raise PeerTimeout(
                f"{redact_url(self._url)} did not come to the end of its answer; try again later"
            ) from None

    async def abort(self) -> None:
        """Break off: the peer sees a body that never ends. Safe at any time, also twice."""
        request, self._request = self._request, None
        if request is None:
            return
        if not self._whole.done():
            self._whole.cancel()
        request.cancel()
        await asyncio.wait({request}, timeout=LEAVE)
        if request.done() and not request.cancelled():
            request.exception()  # seen: nobody asks for it any more

    @property
    def said(self) -> Response | None:
        """The answer where it is here already. Raises PeerFailed where there will be none."""
        request = self._request
        return (
            None
            if request is None or not request.done() or request.cancelled()
            else request.result()
        )

    @property
    def acknowledged(self) -> int:
        """Bytes of the body that the peer's kernel has."""
        return 0 if self.line is None else self.line.acknowledged

    # What the transport asks of a body

    async def send(self, write: Write) -> None:
        self._ready.set_result(write)
        await self._whole
        self.ended = time.monotonic()

    def halt(self) -> None:
        # Not the end of `send`: that would end the connection, and with it the rest of the answer.
        self._halted = True

    async def left(self) -> None:
        return

    # Inside

    @property
    def _asked(self) -> asyncio.Task[Response]:
        if self._request is None:
            raise PeerFailed("The request to the destination was broken off already")
        return self._request

    async def _ask(self) -> Response:
        never = self._transport.deadlines.idle * 2  # `open` gives up before
        async with self._transport.ask(
            self._method, self._url, self._headers, self, expect=self._expect, patience=never
        ) as answer:
            return await self._said(answer)

    async def _said(self, answer: OpenResponse) -> Response:
        try:
            return Response(answer.head, await answer.whole(MOST_RESPONSE))
        except PeerFailed:
            if answer.head.status < 400:
                raise  # half a yes is no yes
            return Response(
                answer.head, b""
            )  # an early refusal is often followed by a reset; its status is what counts

    def _wake(self, _: object) -> None:
        if self._blocked is not None:
            self._woken = True
            self._blocked.cancel()

    async def _outcome(self) -> Response:
        """The answer. The transport bounds the wait; the connection's loss ends it."""
        request = self._asked
        await asyncio.wait({request})
        if request.cancelled():
            raise PeerTimeout(f"{redact_url(self._url)} was given up")
        return request.result()
