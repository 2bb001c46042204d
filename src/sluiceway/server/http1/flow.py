"""What a connection waits with, in few bytes: asyncio.Event and deque take 0.6 KiB each while they are empty, and uvicorn
has three of them for each upload, of which a thousand may be under way for hours.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Bell", "Flow", "SmallDeque"]


class Bell:
    """As asyncio.Event: `wait` returns once it is set."""

    __slots__ = ("_rung", "_waiting")

    def __init__(self) -> None:
        self._rung = False
        self._waiting: tuple[asyncio.Future[None], ...] = ()

    def set(self) -> None:
        self._rung = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting = ()

    def clear(self) -> None:
        self._rung = False

    async def wait(self) -> None:
        if self._rung:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting = (
            *(other for other in self._waiting if not other.done()),
            waiter,
        )  # without those that gave up
        await waiter


class Flow:
    """As uvicorn's FlowControl: whether a connection may be read from, and a wait until it may be written to."""

    read_paused: bool
    write_paused: bool
    full: bool  # so much lies ahead that nothing is read until some of it was used, whatever the request under way wants

    __slots__ = ("_transport", "_writable", "full", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._writable = transport, Bell()
        self.read_paused = self.write_paused = self.full = False

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


class SmallDeque(list[Any]):
    """Requests that came before their turn, none as a rule. uvicorn puts in at the left and takes out at the right."""

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)
