"""An object of a database held open: the rows of its bytes, read one after the other.

Its lease keeps the bytes, in any process, whatever happens to the key. Knows no driver.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.readahead import read_ahead
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry

__all__ = ["ChunkReader", "LeasingDatabase"]

RENEW_EVERY = 60.0  # seconds after which a reader renews its lease


class LeasingDatabase(Protocol):
    """What a reader asks of its database. Ids are of the driver's own type."""

    @property
    def budget(self) -> Budget: ...

    async def read_chunk(self, chunks: Any, start: int, size: int) -> bytes:
        """The bytes from `start` to the end of their row, at most `size` of them."""
        ...

    async def renew_lease(self, lease: Any) -> None: ...

    async def end_lease(self, lease: Any) -> None: ...


class ChunkReader:
    """The bytes `chunks` of one object, in rows of up to `largest_row` bytes.

    Without a lease another process may free them; reading then raises StoreFailed.
    """

    reopenable = True

    def __init__(
        self,
        database: LeasingDatabase,
        chunks: object,
        entry: Entry,
        lease: object | None,
        largest_row: int,
    ) -> None:
        self._database, self._chunks, self._lease = database, chunks, lease
        self._largest_row = largest_row
        self._renewed = time.monotonic()
        self.entry: Entry = entry
        self.length: int | None = entry.size
        self._open = True

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        budget = self._database.budget
        blocks = read_ahead(self._read, start, end, budget, most=self._largest_row)
        async with aclosing(blocks):
            async for block in blocks:
                yield block
                del block

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            if self._lease is not None:
                await self._database.end_lease(self._lease)

    async def _read(self, at: int, size: int) -> bytes:
        if self._lease is not None and time.monotonic() - self._renewed > RENEW_EVERY:
            self._renewed = time.monotonic()
            await self._database.renew_lease(self._lease)
        data = await self._database.read_chunk(self._chunks, at, size)
        if not data:
            raise StoreFailed(f"{self.entry.key!r} was deleted while it was read")
        return data
