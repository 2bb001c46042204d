"""What a connection waits with, in few bytes.

asyncio.Event takes 0.6 KiB, and uvicorn has two of them for each upload, of which a thousand may be
under way for hours.
"""

from __future__ import annotations

import asyncio

__all__ = ["FlowControl", "SmallEvent"]


class SmallEvent:
    """As asyncio.Event: `wait` returns once it is set."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    def set(self) -> None:
        self._set = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = ()

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        if self._set:
            return
        waiter = asyncio.get_running_loop().create_future()
        # without those that gave up
        self._waiters = (*(other for other in self._waiters if not other.done()), waiter)
        await waiter


class FlowControl:
    """As uvicorn's: whether a connection may be read from, and a wait until it may be written to.

    While `full`, nothing is read, whatever the request under way asks for: enough requests are
    held behind it. `reads_ahead`: whether the app may have one chunk in hand and the next read.
    """

    read_paused: bool
    write_paused: bool
    full: bool
    reads_ahead: bool

    __slots__ = (
        "_transport",
        "_writable",
        "full",
        "read_paused",
        "reads_ahead",
        "write_paused",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._writable = transport, SmallEvent()
        self.read_paused = self.write_paused = self.full = False
        self.reads_ahead = True

    async def drain(self) -> None:
        if self.write_paused:
            await self._writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused and not self.full:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._writable.set()
