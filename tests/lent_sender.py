"""A source whose connection a pump may lend, in this process: `lent_ways` says how.

sender = LentSender(data, RANDOM, size=1000)   # its peer leaves after 1000 bytes
await pump(sender, draft); sender.lent         # bytes that went round the event loop
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

from lent_ways import OFF, RANDOM
from sluiceway.pipe.lending import LentConnection, LentSocket
from sluiceway.pipe.source import Buffer

__all__ = ["LentSender"]


class LentSender:
    """The source of a connection that brings `size` bytes of `data`, lent in one of the ways.

    The sender then leaves; if it `stays`, it leaves when this is closed.
    """

    reopenable = False

    def __init__(self, data: bytes, way: str, size: int | None = None, stays: bool = False) -> None:
        self._way, self._chance = way, random.Random(1)
        self.length: int | None = len(data)
        self.lent = 0  # bytes
        self._left = len(data)
        theirs, self._sock = socket.socketpair()
        self._sock.setblocking(False)
        self._closed = threading.Event()
        if not stays:
            self._closed.set()
        self._thread = threading.Thread(target=self._send, args=(theirs, data[:size]), daemon=True)
        self._thread.start()

    def _send(self, sock: socket.socket, data: bytes) -> None:
        with sock, suppress(OSError):
            sock.sendall(data)
            self._closed.wait(30)

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        loop = asyncio.get_running_loop()
        while self._left:
            data = await loop.sock_recv(self._sock, min(64 << 10, self._left))
            if not data:
                return
            self._left -= len(data)
            yield data

    def lend(self) -> LentConnection | None:
        most = self._chance.randint(1, 3 << 20) if self._way == RANDOM else 1 << 60
        most = 0 if self._way == OFF else min(most, self._left - 1)
        return LentSocket(self._sock.dup(), most, self._back) if most > 0 else None

    def _back(self, taken: int) -> None:
        self._left -= taken
        self.lent += taken

    def close(self) -> None:
        self._closed.set()
        self._sock.close()
        self._thread.join(30)
