"""What the drafts of all databases do alike: bytes gather into rows, and a few are in flight.

The connection of a fast sender is lent to a thread, which fills blocks; a block becomes some rows.
A row that fails makes every later call fail. Knows no driver: each kind sends its own rows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.budget import Block, Budget
from sluiceway.pipe.cancellation import finish_all
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.stores.block_buffer import BlockBuffer
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace
from sluiceway.stores.lent_block import LentBlock

__all__ = ["RENEW_EVERY", "RowsDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

RENEW_EVERY = 60.0  # seconds after which a draft says again that it is alive


class RowsDraft(ABC):
    """Some rows are in flight while the next one gathers. A faster client gets larger rows."""

    def __init__(
        self, budget: Budget, drafts: set[Draft], largest_row: int, rows_in_flight: int
    ) -> None:
        """`drafts` are those under way in this process; a draft leaves them when it ends."""
        # What was written gathers in the one, what was drawn in the other: never in both at once.
        self._row = BlockBuffer(budget, largest_row, rows_in_flight + 1)
        self._drawn = LentBlock(budget)
        self._drafts, self._rows_in_flight = drafts, rows_in_flight
        self._sent = 0  # bytes given to the database
        self._kept = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None  # of a row; every later call raises it
        self._ended = False
        self.replaced: bool = False  # whether `publish` replaced an object

    @property
    def written(self) -> int:
        return self._sent + self._row.size + self._drawn.filled

    @property
    def kept(self) -> int:
        return self._kept

    @property
    def failure(self) -> SluiceError | None:
        """Why the database did not take a row: a sender that pauses learns it too."""
        if self._ended or not isinstance(self._failure, SluiceError):
            return None
        return self._failure

    @abstractmethod
    async def sync(self) -> int: ...

    @abstractmethod
    async def truncate(self, offset: int) -> None: ...

    @abstractmethod
    async def publish(
        self, key: str, metadata: Metadata, replace: Replace = Replace()
    ) -> Entry: ...

    async def write(self, data: Buffer) -> None:
        self._check()
        if self._drawn.filled:
            await self._flush_drawn()
        self._row.append(data)
        if self._row.is_full:
            await self._flush()

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, into the block that gathers."""
        began = time.monotonic()
        if self._row.size or self._row.memory:
            await self._flush_all()
            self._row.release()
        if not await self._begin_block():
            return False
        waited = time.monotonic() - began
        try:
            await self._drawn.draw(lent, update)
            began = time.monotonic()
            if self._drawn.is_full or (lent.ended and self._drawn.filled):
                await self._flush_drawn()
            waited += time.monotonic() - began
        finally:
            lent.destination_wait += waited
            if lent.ended:  # a sender that paused holds no memory
                self._drawn.release()
        return True

    async def read(self, start: int, size: int) -> bytes:
        await self._flush_all()
        most = min(size, max(0, self._sent - start))
        return await self._read_chunk(start, most) if most else b""

    async def pause(self) -> None:
        """Send what is held and give back the memory, while other files of the form arrive."""
        await self._flush_all()
        self._row.release()
        self._drawn.release()

    async def discard(self) -> None:
        if not await self._stop():
            return
        try:
            await self._delete()
        except SluiceError as error:
            log.warning("A draft stays in the database until it is swept: %s", error.detail)

    async def _stop(self) -> bool:
        """End it in this process. Whether it had not ended before."""
        if self._ended:
            return False
        self._ended = True
        try:
            await finish_all(self._in_flight)
        finally:
            self._end()
        return True

    @abstractmethod
    async def _send_row(self, at: int, data: memoryview) -> None:
        """Write the bytes at this offset, in rows of at most `largest_row` bytes."""

    @abstractmethod
    async def _read_chunk(self, start: int, size: int) -> bytes: ...

    @abstractmethod
    async def _delete(self) -> None:
        """Delete what the database has of the draft. May raise SluiceErrors."""

    async def _flush_all(self) -> None:
        """Wait until the database has everything that was written."""
        self._check()
        await self._flush_drawn()
        await self._flush()
        await self._wait_for_rows()

    async def _flush(self) -> None:
        """Send what has gathered as one row, as soon as few enough are in flight."""
        if not self._row.size:
            return
        await self._wait_for_rows(self._rows_in_flight - 1)
        self._submit(self._row.take())

    async def _begin_block(self) -> bool:
        """Have a block that a thread may fill. False when others hold all memory."""
        self._check()
        while not self._drawn.begin():
            if not self._in_flight:
                return False
            await self._wait_for_rows(len(self._in_flight) - 1)
        return True

    async def _flush_drawn(self) -> None:
        """Send the block that threads filled, as soon as few enough are in flight."""
        if not self._drawn.filled:
            return
        await self._wait_for_rows(min(self._rows_in_flight, self._drawn.share) - 1)
        block, data = self._drawn.take()
        self._submit(data, block)

    def _submit(self, data: memoryview, block: Block | None = None) -> None:
        at, self._sent = self._sent, self._sent + len(data)
        task = asyncio.get_running_loop().create_task(self._try_row(at, data, block))
        self._in_flight.add(task)

    async def _try_row(self, at: int, data: memoryview, block: Block | None) -> None:
        try:
            await self._send_row(at, data)
        except Exception as error:
            self._failure = self._failure or error
        finally:
            if block is not None:
                data.release()
                self._drawn.back(block)

    async def _wait_for_rows(self, still_in_flight: int = 0) -> None:
        """Wait until at most so many rows are in flight. Raises the failure of a row."""
        while len(self._in_flight) > still_in_flight:
            _, self._in_flight = await asyncio.wait(
                self._in_flight, return_when=asyncio.FIRST_COMPLETED
            )
        self._check()

    def _end(self) -> None:
        self._ended = True
        self._row.clear()
        self._drawn.release()
        self._drafts.discard(self)

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure
