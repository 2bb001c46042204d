"""The one response that is made while it is sent, and the watch for a client that leaves meanwhile.

No server reports a client that left by failing a `send`, so a task listens for it. Knows nothing of
what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import cast

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.server.door.counted_send import CountedSend
from sluiceway.server.http1.sendfile import ZEROCOPY, reader_deadline

__all__ = ["StreamedResponse", "on_client_leaving", "raw_headers", "send_response", "start_message"]

SEND_CHUNK = 64 << 10  # bytes of one send, for which a slow client has READER_TIMEOUT seconds

Body = Callable[[Scope], AsyncIterator[Buffer | Message]]


class StreamedResponse(Response):
    """A response whose body is an async generator.

    `body` gets the ASGI scope, and yields bytes or whole ASGI messages. It is not run for HEAD. If
    `headers` is None it runs for HEAD as well, and yields the start message itself. Chunks longer
    than `split` bytes are sent in several messages; None sends them as they are.

    When the client leaves, `body` is cancelled where it waits. An error in `body` breaks the
    response off, so that a part never passes for the whole. `close` runs at the end in any case.
    Raises what `body` raises, and TooSlow for a client that takes nothing for READER_TIMEOUT
    seconds.
    """

    def __init__(
        self,
        body: Body,
        headers: Mapping[str, str] | None,
        status: int = 200,
        *,
        split: int | None = SEND_CHUNK,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status_code = status
        self.background: BackgroundTask | None = None
        self.body = b""
        self.raw_headers: list[tuple[bytes, bytes]] = raw_headers(headers or {})
        self._stream, self._starts_itself = body, headers is None
        self._split, self._close = split, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with _until_client_leaves(receive) as gone:
                await self._send_all(scope, send, gone)
        finally:
            if self._close is not None:
                await self._close()

    async def _send_all(self, scope: Scope, send: Send, gone: asyncio.Future[None]) -> None:
        if not self._starts_itself:
            await send(start_message(self.status_code, self.raw_headers))
        if self._starts_itself or scope["method"] != "HEAD":
            chunks = self._stream(scope)
            try:
                async for chunk in chunks:
                    for message in self._messages(chunk):
                        if gone.done():
                            return
                        await _send_in_time(send, message)
            finally:
                await close_stream(chunks)
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _messages(self, chunk: Buffer | Message) -> Iterator[Message]:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            yield chunk
        elif self._split is None or len(chunk) <= self._split:
            yield _body_message(chunk)
        else:
            for at in range(0, len(chunk), self._split):
                yield _body_message(chunk[at : at + self._split])


async def send_response(
    response: Response, scope: Scope, receive: Receive, send: CountedSend
) -> None:
    """Send any response. One that is whole goes out in one write where the server can."""
    if isinstance(response, StreamedResponse) or response.background is not None:
        await response(scope, receive, send)
    else:
        await send.whole(response.status_code, response.raw_headers, bytes(response.body))


def start_message(status: int, headers: list[tuple[bytes, bytes]]) -> Message:
    """The ASGI message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body_message(data: Buffer) -> Message:
    """An ASGI message with a part of a body."""
    return {"type": "http.response.body", "body": data, "more_body": True}


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI takes them."""
    return [
        (_field_name(name), value.encode("latin-1", "replace")) for name, value in headers.items()
    ]


@lru_cache(256)
def _field_name(name: str) -> bytes:
    return name.lower().encode("latin-1")


async def _send_in_time(send: Send, message: Message) -> None:
    """Raises TooSlow. A stretch of a file may take a slow client hours: its sender has a deadline
    of its own for each step."""
    if message["type"] == ZEROCOPY:
        await send(message)
        return
    async with reader_deadline():
        await send(message)


@contextmanager
def on_client_leaving(receive: Receive, act: Callable[[], None]) -> Iterator[asyncio.Future[None]]:
    """Within the block, call `act` once if the client of a request without a (further) body leaves.

    Yields a future that is done from then on.
    """

    def left(gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            act()

    gone = asyncio.ensure_future(_wait_until_gone(receive))
    gone.add_done_callback(left)
    try:
        yield gone
    finally:
        gone.remove_done_callback(left)
        gone.cancel()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def _until_client_leaves(receive: Receive) -> AsyncIterator[asyncio.Future[None]]:
    """Cancel the block when the client leaves, and go on behind it.

    A cancellation from elsewhere is raised as always.
    """
    task = cast("asyncio.Task[object]", asyncio.current_task())  # an ASGI app runs in a task
    others, ours = task.cancelling(), False

    def cancel() -> None:
        nonlocal ours
        ours = True
        task.cancel()

    try:
        with on_client_leaving(receive, cancel) as gone:
            yield gone
    except asyncio.CancelledError:
        if not ours:
            raise
        ours = False
        if task.uncancel() > others:
            raise
    finally:
        if ours:  # the block ended with another outcome although it was cancelled
            task.uncancel()
