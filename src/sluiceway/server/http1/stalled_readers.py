"""Drops readers that take nothing of a response: JSON, a page, a file, an event stream.

One timer looks at all connections of a server, closing ones too: a connection closes only when its
last bytes are out, so a client that does not read would hold it for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol
from weakref import WeakSet

from sluiceway.server.http1 import sendfile

__all__ = ["Reader", "StalledReaders", "open_connections"]

log: logging.Logger = logging.getLogger("sluiceway")

LOOK_EVERY = 1.0  # seconds between two looks, each 1 ms for 5,000 connections


class Reader(Protocol):
    """A connection."""

    # bytes that the client has to take, and since when it took none of them
    unread: tuple[int, float] | None

    def waits_for_reader(self) -> int:
        """Bytes that wait for the client while nothing is added to them, or 0."""

    def look_for_leaving(self) -> None:
        """Notice a client that left while reading is paused."""

    def drop(self) -> str:
        """End it at once. Returns the client's address."""


_all: WeakSet[StalledReaders] = WeakSet()


def open_connections() -> int:
    """Connections of all servers of this process."""
    return sum(len(each._readers) for each in list(_all))


class StalledReaders:
    """Looks while there are connections."""

    def __init__(self, readers: Collection[Reader]) -> None:
        self._readers = readers
        _all.add(self)
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Safe to call again and again."""
        if self._timer is None:
            self._timer = loop.call_later(LOOK_EVERY, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for reader in list(self._readers):
            reader.look_for_leaving()
            size = reader.waits_for_reader()
            if not size:
                reader.unread = None
            elif reader.unread is None or size != reader.unread[0]:
                # more bytes are a sign as well: there was room to add them
                reader.unread = (size, now)
            elif now - reader.unread[1] >= sendfile.READER_TIMEOUT:
                log.info(
                    "%s took nothing of its answer for %g seconds and was dropped",
                    reader.drop(),
                    sendfile.READER_TIMEOUT,
                )
        if self._readers:
            self.start(loop)
