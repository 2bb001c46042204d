"""The HTTP library's request with what it lacks: a bounded wait for 100 Continue, a body of ours, an end felt at once.

Private hooks of aiohttp are used here and in `transport`, which is why its version has an upper bound.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from sluiceway.client.http.outgoing import Outgoing

__all__ = ["ExpectingRequest", "StreamedBody"]


class ExpectingRequest(aiohttp.ClientRequest):
    """aiohttp waits for 100 Continue without end, and many servers never send one: go on after EXPECT_WAIT.

    And a body that ends early ends its connection at once: a plain close would first push what is buffered into a peer
    that may have stopped reading.
    """

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        waiting, transport = (
            self._continue,
            conn.transport,
        )  # kept: a connection that was given back forgets it
        payload = self.body if isinstance(self.body, StreamedBody) else None
        timer = None
        if payload is not None:
            payload.connected(transport)
            if waiting is not None:
                timer = self.loop.call_later(payload.patience, _go_on, waiting)
            # An empty body's head is the whole request: it leaves when the source was read and found to be empty.
            if transport is not None and not transport.is_closing() and payload.size != 0:
                # It would wait for the first bytes of the body; a peer that says no by the head alone shall say so before.
                writer.send_headers()
        try:
            with suppress(
                aiohttp.ClientConnectionResetError
            ):  # before the first byte: who waits for the answer is told, nobody here
                await super().write_bytes(writer, conn, content_length)
        finally:
            if timer is not None:
                timer.cancel()
            if payload is not None and not payload.ended and transport is not None:
                _reset(transport)


def _reset(transport: asyncio.Transport) -> None:
    """End a connection now: a peer that takes nothing would learn of a plain end only behind all that waits for it."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return  # it has ended; asyncio's abort() fails on one that was closed while bytes waited and has sent them since
    with suppress(OSError, ValueError):  # the peer ended it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _go_on(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(True)


class StreamedBody(aiohttp.Payload):
    """Our body as the library's: its length when known (else the library sends chunks), its bytes by `send`."""

    def __init__(self, body: Outgoing, patience: float) -> None:
        super().__init__(body)
        self._sluice_body = body
        self.patience: float = patience

    def connected(self, transport: asyncio.Transport | None) -> None:
        if transport is None:
            return
        # A write returns when the kernel has all of it: what a stalled peer does not take is one piece, not two.
        # Not 0: at that, asyncio's TLS pauses at an empty buffer, and whether it ever goes on is left to chance.
        transport.set_write_buffer_limits(high=1, low=0)
        if self._sluice_body.line is not None:
            self._sluice_body.line.socket = transport.get_extra_info("socket")

    @property
    def size(self) -> int | None:
        return self._sluice_body.length

    @property
    def consumed(self) -> bool:
        """The library itself repeats idempotent requests that found a dead connection: never behind the plan's back."""
        return self._sluice_body.started

    @property
    def ended(self) -> bool:
        """Every byte was written."""
        return self._sluice_body.ended is not None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("A streamed body has no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self._sluice_body.send(writer.write)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await self._sluice_body.send(writer.write)
