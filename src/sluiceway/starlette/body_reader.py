"""Who gets a request's body: the walk over its form, and nothing that runs beside it.

Starlette's StreamingResponse asks for messages, too, to hear of a client that leaves, and forgets
those with bytes: of a file that is read while the response is sent, pieces were missing. Knows ASGI
messages; it must not know forms.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from starlette.types import Message, Receive

__all__ = ["SharedReceive", "as_body_reader"]

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
