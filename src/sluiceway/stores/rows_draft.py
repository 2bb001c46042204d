"""What the drafts of all databases do alike: bytes gather into rows, and a few are in flight.

A row that fails makes every later call fail. Knows no driver: each kind sends its own rows.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.block_buffer import BlockBuffer
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace

__all__ = ["RENEW_EVERY", "RowsDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

RENEW_EVERY = 60.0  # seconds after which a draft says again that it is alive


class RowsDraft(ABC):
    """Some rows are in flight while the next one gathers. A faster client gets larger rows."""

    def __init__(
        self, budget: Budget, drafts: set[Draft], largest_row: int, rows_in_flight: int
    ) -> None:
        """`drafts` are those under way in this process; a draft leaves them when it ends."""
        self._row = BlockBuffer(budget, largest_row, rows_in_flight + 1)
        self._drafts, self._rows_in_flight = drafts, rows_in_flight
        self._sent = 0  # bytes given to the database
        self._kept = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None  # of a row; every later call raises it
        self._ended = False

    @property
    def written(self) -> int:
        return self._sent + self._row.size

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
        self._row.append(data)
        if self._row.is_full:
            await self._flush()

    async def read(self, start: int, size: int) -> bytes:
        await self._flush_all()
        most = min(size, max(0, self._sent - start))
        return await self._read_chunk(start, most) if most else b""

    async def pause(self) -> None:
        """Send what is held and give back the memory, while other files of the form arrive."""
        await self._flush_all()
        self._row.release()

    async def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        self._end()
        try:
            await self._delete()
        except SluiceError as error:
            log.warning("A draft stays in the database until it is swept: %s", error.detail)

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
        await self._flush()
        await self._wait_for_rows()

    async def _flush(self) -> None:
        """Send what has gathered as one row, as soon as few enough are in flight."""
        if not self._row.size:
            return
        await self._wait_for_rows(self._rows_in_flight - 1)
        data, at = self._row.take(), self._sent
        self._sent += len(data)
        self._in_flight.add(asyncio.get_running_loop().create_task(self._try_row(at, data)))

    async def _try_row(self, at: int, data: memoryview) -> None:
        try:
            await self._send_row(at, data)
        except Exception as error:
            self._failure = self._failure or error

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
        self._drafts.discard(self)

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure
