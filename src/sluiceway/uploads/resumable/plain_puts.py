"""PUTs of whole files that are being received, by the id of the upload they would become if cut.

They are written down nowhere. A client whose PUT was cut may ask where it goes on before the server
has read what it sent. Knows the requests of its own process only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sluiceway.errors import Locked

__all__ = ["PlainPuts"]

# Seconds in which a cut shows. A PUT that runs for longer, and whose client is there, is another
# client's: it goes on, and so does the question.
MOMENT = 2.0


class _PlainPut:
    def __init__(self, has_left: Callable[[], bool]) -> None:
        self.has_left = has_left
        self.ended = asyncio.Event()


class PlainPuts:
    """Those under way in this process."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds to wait for one whose client has left."""
        self._patience = patience
        self._running: dict[str, list[_PlainPut]] = {}

    @contextmanager
    def running(self, upload: str, has_left: Callable[[], bool]) -> Iterator[None]:
        """Until the end of the block, in which what was cut is kept. `has_left`: its client."""
        put = _PlainPut(has_left)
        self._running.setdefault(upload, []).append(put)
        try:
            yield
        finally:
            self._running[upload].remove(put)
            if not self._running[upload]:
                del self._running[upload]
            put.ended.set()

    async def settle(self, upload: str) -> None:
        """Wait until what a cut PUT brought is kept. Raises Locked where that takes too long."""
        puts = list(self._running.get(upload, ()))
        await _wait(puts, MOMENT)
        left = [put for put in puts if not put.ended.is_set() and put.has_left()]
        await _wait(left, self._patience)
        if any(not put.ended.is_set() for put in left):
            raise Locked("The PUT that was cut is still being kept; try again")


async def _wait(puts: list[_PlainPut], seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for put in puts:
                await put.ended.wait()
