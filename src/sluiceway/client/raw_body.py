"""The rest of a response's body, read from its connection beside the HTTP library.

A known number of plain bytes: no chunks, no TLS. So the connection may be lent to threads
(`pipe/lending.py`), and it carries nothing else afterwards. The library keeps its socket, paused.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from typing import Any

from sluiceway.pipe import lending
from sluiceway.pipe.descriptors import descriptor_of_its_own
from sluiceway.pipe.lending import LentConnection, LentSocket

__all__ = ["RawBody", "take_over"]

PIECE = 256 << 10  # bytes received at once on the event loop


class RawBody:
    """`missing` bytes, of which the library has read `rest` already. Close it at the end."""

    def __init__(self, sock: socket.socket, rest: bytes, missing: int, idle: float) -> None:
        """`sock` is a descriptor of our own; `idle`: seconds in which a byte has to come."""
        self._sock, self._rest, self._missing, self._idle = sock, rest, missing, idle

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come. Raises OSError and TimeoutError."""
        while self._missing:
            chunk, self._rest = self._rest or await self._receive(), b""
            self._missing -= len(chunk)
            yield chunk

    def lend(self) -> LentConnection | None:
        """The connection behind the chunk that was yielded last."""
        if self._rest or self._missing < max(1, lending.LEAST):
            return None
        sock = descriptor_of_its_own(self._sock)
        return None if sock is None else LentSocket(sock, self._missing, self._handed_back)

    def close(self) -> None:
        self._sock.close()

    def _handed_back(self, taken: int) -> None:
        self._missing -= taken

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._idle):
            chunk = await loop.sock_recv(self._sock, min(PIECE, self._missing))
        if not chunk:
            raise ConnectionError("the connection closed within the body")
        return chunk


def take_over(response: Any, idle: float) -> RawBody | None:
    """Take the rest of the body out of the library's hands; None where it must stay there.

    `response` is the library's own.
    """
    length, connection, content = response.content_length, response.connection, response.content
    transport = None if connection is None else connection.transport
    # Without poll this is Windows, whose event loop reads ahead even while it is paused.
    if not hasattr(select, "poll") or response.method == "HEAD":
        return None
    if length is None or transport is None or "Transfer-Encoding" in response.headers:
        return None
    sock = transport.get_extra_info("socket")
    plain = transport.get_extra_info("sslcontext") is None
    if sock is None or not plain or length - content.total_bytes < lending.LEAST:
        return None
    if (own := descriptor_of_its_own(sock)) is None:
        return None
    protocol, pieces = content._protocol, list[bytes]()
    # Reading makes a paused library go on with what its parser holds; it ends with neither.
    while content._buffer:
        pieces.append(content._read_nowait(-1))
    read = b"".join(pieces)
    protocol.pause_reading()  # its timer stops, too
    return RawBody(own, read, length - content.total_bytes + len(read), idle)
