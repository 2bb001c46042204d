"""Who gets a request's body: the walk over its form, and nothing that runs beside it.

Starlette's StreamingResponse asks for messages, too, to hear of a client that leaves, and forgets
those with bytes: of a file that is read while the response is sent, pieces were missing. Knows ASGI
messages; it must not know forms. At the end, what a client still sends is read for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar

from starlette.types import Message, Receive, Scope, Send

from sluiceway.server.forms.walk import MOST_SKIPPED

__all__ = ["DRAIN_TIMEOUT", "SharedReceive", "as_body_reader"]

# Seconds that an answered client may go on sending. Where the connection ends with the answer, a
# server that closes it with unread bytes resets it, and the client may lose the answer.
DRAIN_TIMEOUT = 2.0

_READS_BODY: ContextVar[bool] = ContextVar("sluiceway.reads_body", default=False)


def as_body_reader(receive: Receive) -> Receive:
    """The same, and SharedReceive knows that what asks here wants the bytes."""

    async def receive_body() -> Message:
        token = _READS_BODY.set(True)
        try:
            return await receive()
        finally:
            _READS_BODY.reset(token)

    return receive_body


class SharedReceive:
    """The messages of one request, for its body's reader and for those that wait for its end.

    From the reader's first message on, everything else gets only `http.disconnect`. At most one
    message is held: the server is asked for the next one when the reader has taken it.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = as_body_reader(receive)  # there may be another one outside of this
        self._has_reader = False
        self._ended = False  # the body, or the connection
        self._message: Message | None = None
        self._one_asks = asyncio.Lock()
        self._taken = asyncio.Event()

    async def receive(self) -> Message:
        if _READS_BODY.get():
            self._has_reader = True
            return await self._next_for_reader()
        if self._has_reader:
            return await self._wait_for_disconnect()
        return await self._receive()

    async def _next_for_reader(self) -> Message:
        message = await self._peek()
        self._ended = not message.get("more_body", False)
        if message["type"] != "http.disconnect":
            self._message = None
            self._taken.set()
        return message

    async def _wait_for_disconnect(self) -> Message:
        while (message := await self._peek())["type"] != "http.disconnect":
            self._taken.clear()
            await self._taken.wait()
        return message

    async def _peek(self) -> Message:
        async with self._one_asks:
            if self._message is None:
                self._message = await self._receive()
            return self._message

    def before_the_end(self, scope: Scope, send: Send) -> Send:
        """`send` for the request: what the client still sends is read before the connection ends.

        Only of a body that has a reader: other views are answered as without this library.
        """
        closes = _closes(scope["headers"]) or scope.get("http_version") == "1.0"

        async def send_and_read(message: Message) -> None:
            nonlocal closes
            if message["type"] == "http.response.start":
                closes = closes or _closes(message.get("headers", ()))
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if last and closes and self._has_reader and not self._ended:
                await send({**message, "more_body": True})
                await self._drain()
                message = {"type": "http.response.body"}
            await send(message)

        return send_and_read

    async def _drain(self) -> None:
        skipped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                while not self._ended and skipped <= MOST_SKIPPED:
                    skipped += len((await self._next_for_reader()).get("body", b""))


def _closes(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the connection ends with the answer."""
    return any(
        name.lower() == b"connection" and b"close" in value.lower() for name, value in headers
    )
