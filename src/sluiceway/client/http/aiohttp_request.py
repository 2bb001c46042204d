"""The HTTP library's request and bodies, with what they lack: a bounded wait for 100 Continue, a
body that its sender pushes, an end that the peer notices at once, an end for peers that stall.

Uses private hooks of aiohttp, as `transport` does; hence the upper bound on its version.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.http_writer import StreamWriter

from sluiceway.client.http.aiohttp_errors import endless_head
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.socket_progress import SocketProgress
from sluiceway.errors import PeerTimeout
from sluiceway.pipe.descriptors import descriptor_of_its_own
from sluiceway.pipe.lending import readiness
from sluiceway.pipe.source import Buffer
from sluiceway.wire.urls import redact_url

__all__ = ["SEND_CHUNK", "ExpectingRequest", "PushedBody", "SentBody", "StallWatch", "WholeBody"]

# Bytes of a block that are handed to the transport at once: a peer that stalls leaves a copy there.
SEND_CHUNK = 64 << 10
TICK = 0.1  # seconds between looks at a transfer under way
LOOKS = 5  # turns of the event loop from bytes in the kernel to the response that they are


class SentBody(aiohttp.Payload):
    """A request's body as `Transport.ask` sends it.

    `length` is None for a body in chunks. `repeatable`: all of it can be sent once more, should the
    request be lost. With `expect`, the body waits for 100 Continue, at most `expect_timeout`
    seconds. `on_sent` gets the acknowledged bytes, about ten times a second.
    """

    def __init__(
        self,
        length: int | None,
        *,
        repeatable: bool,
        expect: bool,
        expect_timeout: float,
        on_sent: Callable[[int], None] | None,
    ) -> None:
        super().__init__(None)
        self.length: int | None = length
        self.repeatable: bool = repeatable
        self.expect: bool = expect
        self.expect_timeout: float = expect_timeout
        self.on_sent: Callable[[int], None] | None = on_sent
        self.progress: SocketProgress | None = None  # the connection, once it is asked for
        self.handed: int = 0  # bytes given to the connection, the piece under way included
        self.answered: bool = False  # the response began: nothing more is written
        self.finished: bool = False  # every byte was written
        self._transport: asyncio.Transport | None = None

    def tracker(self) -> aiohttp.UploadTracker | None:
        """Called before the request: what the library counts the body with. Sets `progress`."""
        raise NotImplementedError

    def connected(self, transport: asyncio.Transport | None) -> None:
        """Called by the request before it sends anything."""
        self._transport = transport
        if self.progress is not None and transport is not None:
            self.progress.socket = transport.get_extra_info("socket")

    @property
    def is_connected(self) -> bool:
        """Whether a connection was made."""
        return self.progress is not None and self.progress.socket is not None

    @property
    def head_waits(self) -> bool:
        """Whether the head leaves with the first bytes of the body, and not before."""
        return self.length == 0

    # What the library asks for

    @property
    def size(self) -> int | None:
        return self.length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("A streamed body has no text")

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await self.write(writer)


class WholeBody(SentBody):
    """A body in memory. It leaves with its head: a call less here, and a turn less at the peer."""

    handed: int
    progress: SocketProgress | None

    def __init__(
        self,
        data: Buffer,
        *,
        repeatable: bool,
        expect: bool,
        expect_timeout: float,
        on_sent: Callable[[int], None] | None,
        on_written: Callable[[], object],
    ) -> None:
        """`on_written` is called when all of it was written."""
        super().__init__(
            len(data),
            repeatable=repeatable,
            expect=expect,
            expect_timeout=expect_timeout,
            on_sent=on_sent,
        )
        self._data, self._on_written = data, on_written
        self.begun: bool = False  # the peer may have all of it

    def tracker(self) -> None:
        self.progress = SocketProgress(self._taken)

    def _taken(self) -> int:
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return max(0, self.handed - waiting)

    @property
    def head_waits(self) -> bool:
        return True

    @property
    def consumed(self) -> bool:
        return self.begun

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.begun, self.handed = True, len(self._data)
        await writer.write(self._data)
        self.finished = True
        self._on_written()


class PushedBody(SentBody):
    """A body that its sender pushes into the connection."""

    handed: int
    progress: SocketProgress | None

    def __init__(
        self,
        length: int | None,
        *,
        repeatable: bool,
        expect: bool,
        expect_timeout: float,
        on_sent: Callable[[int], None] | None,
    ) -> None:
        super().__init__(
            length,
            repeatable=repeatable,
            expect=expect,
            expect_timeout=expect_timeout,
            on_sent=on_sent,
        )
        self._by_thread = 0  # bytes that a thread sent beside the library
        self._waits_beside = False  # the last of these are still in the transport's buffer
        self._came: Callable[[float], object] | None = None  # whether the peer sent anything
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[StreamWriter] = loop.create_future()
        self.end: asyncio.Future[None] = loop.create_future()  # the sender has written all of it

    def tracker(self) -> aiohttp.UploadTracker:
        tracker = aiohttp.UploadTracker()
        self.progress = SocketProgress(lambda: tracker.bytes_written + self.taken_by_thread)
        return tracker

    async def push(self, data: Buffer) -> None:
        """Write the next bytes; returns when the kernel has them. Only after `ready`."""
        await self._read_what_came()
        self.handed += len(data)
        await self.ready.result().write(data)
        if self.handed == self.length and not self.end.done():
            # Now: a response that came before the sender says so would cost the connection.
            self.end.set_result(None)

    def plain_socket(self) -> socket.socket | None:
        """A descriptor of the connection's socket, for a thread; None where it cannot send.

        That is below TLS, while bytes wait in front, and without a free descriptor. The caller
        closes it.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return None
        sock = transport.get_extra_info("socket")
        if transport.get_extra_info("ssl_object") or transport.get_write_buffer_size() or not sock:
            return None
        # The library's tracker takes all that waits in the transport for its own bytes. Now that
        # none waits, it notes that its own are sent, before others come beside them.
        _ = self.progress and self.progress.taken
        return descriptor_of_its_own(sock)

    async def push_beside(self, data: Buffer, *, counts: bool) -> None:
        """Write what a thread left, in pieces of `SEND_CHUNK`; `counts`: it is not framing.

        They are copied: the transport may hold a piece for a caller that has left.
        """
        writer = self.ready.result()
        with memoryview(data) as view:
            for at in range(0, len(view), SEND_CHUNK):
                await self._read_what_came()
                if writer.transport is None or writer.transport.is_closing():
                    raise ConnectionResetError
                piece = bytes(view[at : at + SEND_CHUNK])
                self._waits_beside = counts
                writer.transport.write(piece)
                if counts:
                    self.sent_by_thread(len(piece))
                del piece  # the transport has a copy of its own
                await writer.drain()
                self._waits_beside = False

    async def _read_what_came(self) -> None:
        """Let the library read a response before the next write.

        The peer may have hung up behind it: a write that fails closes the connection at once, and
        the response in the kernel's buffer would be lost. Raises ConnectionResetError.
        """
        if self._came is None or not self._came(0):
            return
        for _ in range(LOOKS):
            await asyncio.sleep(0)
            if self.answered:
                raise ConnectionResetError

    def sent_by_thread(self, count: int) -> None:
        self.handed += count
        self._by_thread += count

    @property
    def taken_by_thread(self) -> int:
        """Bytes beside the library's that the kernel took."""
        waiting = 0
        if self._waits_beside and self._transport is not None:
            waiting = self._transport.get_write_buffer_size()
        return max(0, self._by_thread - waiting)

    def connected(self, transport: asyncio.Transport | None) -> None:
        super().connected(transport)
        if transport is None:
            return
        # A write returns when the kernel has all of it: a stalled peer leaves one piece here, not
        # two. Not 0: at that, asyncio's TLS pauses at an empty buffer and may never resume.
        transport.set_write_buffer_limits(high=1, low=0)
        if (sock := transport.get_extra_info("socket")) is not None:
            self._came = readiness(sock)

    @property
    def consumed(self) -> bool:
        """True stops the library from repeating a request by itself when its connection is dead."""
        return self.ready.done()

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.ready.set_result(cast("StreamWriter", writer))
        await self.end
        self.finished = True


class ExpectingRequest(aiohttp.ClientRequest):
    """A request that does not wait for 100 Continue without end: many servers never send one.

    A body that ends early ends its connection at once: a plain close would first push all buffered
    bytes into a peer that may have stopped reading.
    """

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        # Kept here: a connection that was given back forgets its transport.
        waiting, transport = self._continue, conn.transport
        body = self.body if isinstance(self.body, SentBody) else None
        timer = None
        if body is not None:
            body.connected(transport)
            if waiting is not None:
                timer = self.loop.call_later(body.expect_timeout, _stop_waiting, waiting)
            # The head of an empty body is the whole request: it leaves once the source was read
            # and found to be empty. Any other head but that of a whole body leaves now and not with
            # the first bytes, so that a peer can refuse by it alone.
            if transport is not None and not transport.is_closing() and not body.head_waits:
                writer.send_headers()
        try:
            # A reset before the first byte is reported to the code that waits for the response.
            with suppress(aiohttp.ClientConnectionResetError):
                await super().write_bytes(writer, conn, content_length)
        finally:
            if timer is not None:
                timer.cancel()
            if body is not None and not body.finished and transport is not None:
                _reset(transport)


class StallWatch:
    """Around the wait for a response: `with StallWatch(url, body, deadlines): ...`, within a task.

    Looks each TICK and at the end how far the body is. Raises PeerTimeout when the peer takes
    nothing for too long, and when the head of its response has no end: the library's own timer
    restarts with each byte of it, and stops at a 1xx. A task, and a timeout, beside it took a tenth
    of a small file's time.
    """

    def __init__(self, url: str, body: SentBody, deadlines: Deadlines) -> None:
        self._url, self._body, self._deadlines = url, body, deadlines
        self._last = (-1, time.monotonic())
        self._finished_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0  # of the task, before ours
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None  # of a look: the peer stalls, or a report failed

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancellations = 0 if self._task is None else self._task.cancelling()
        self._timer = self._loop.call_later(TICK, self._tick)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        cancelled = kind is asyncio.CancelledError
        if self._error is not None and self._task is not None:
            others = self._task.uncancel() > self._cancellations
            if cancelled and not others:
                raise self._error from None
        if not cancelled and self._body.on_sent is not None:
            self._look()

    def _tick(self) -> None:
        try:
            self._look()
        except Exception as error:
            self._error = error
            if self._task is not None:
                self._task.cancel()
        else:
            self._timer = self._loop.call_later(TICK, self._tick)

    def _look(self) -> None:
        progress = self._body.progress
        if progress is None:
            return
        now, taken, acknowledged = time.monotonic(), progress.taken, progress.acknowledged
        # Acknowledged bytes count as well: our kernel may hold megabytes for a slow peer, and then
        # takes nothing for a long time.
        moved = taken + acknowledged
        if moved != self._last[0] or taken >= self._body.handed:
            self._last = (moved, now)  # it moves, or there is nothing to take
        elif now - self._last[1] > self._deadlines.idle:
            raise PeerTimeout(
                f"{redact_url(self._url)} took nothing for {self._deadlines.idle:.0f} seconds; "
                "try again later"
            )
        if self._body.finished:
            self._finished_at = self._finished_at or now
            if now - self._finished_at > self._deadlines.answer + 2 * self._deadlines.idle:
                raise endless_head(self._url)
        if self._body.on_sent is not None:
            self._body.on_sent(acknowledged)


def _reset(transport: asyncio.Transport) -> None:
    """End a connection now: a plain end reaches a stalled peer only behind all buffered bytes."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        # It has ended. asyncio's abort() fails on a transport that was closed while bytes waited
        # and has sent them since.
        return
    with suppress(OSError, ValueError):  # the peer ended it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _stop_waiting(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(True)
