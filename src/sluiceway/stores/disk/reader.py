"""An object on disk held open for reading: the bytes stay those of its entry, whatever happens to the key meanwhile.

Reads run ahead in a thread. The block grows while the reader keeps up and shrinks when it does not, so that a fast download
has large blocks and a thousand slow ones stay small.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry
from sluiceway.stores.disk.errors import map_error

__all__ = ["DiskReader"]

SMALLEST = 64 << 10  # bytes; the first block, and every block of a slow reader
LARGEST = 1 << 20  # bytes; larger blocks gained nothing
SLOW = 0.05  # seconds a reader may take for a block before the next one is smaller


class DiskReader:
    """A file held open. `open` may be called more than once; `aclose` ends it."""

    reopenable = True

    def __init__(self, entry: Entry, fd: int, budget: Budget, readers: Executor) -> None:
        self.entry = entry
        self.length: int | None = entry.size
        self._fd = fd
        self._budget = budget
        self._readers = readers

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        loop = asyncio.get_running_loop()
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        size, at = SMALLEST, start
        ahead: asyncio.Future[bytes] | None = None
        in_hand = lent = (
            0  # bytes of the budget for the block the reader has, and for the one that is read
        )
        try:
            while at < end:
                if ahead is None:
                    lent = self._lend(min(size, end - at))
                    ahead = self._read(at, min(lent or SMALLEST, end - at))
                data = await ahead
                ahead, in_hand, lent = None, lent, 0
                if not data:
                    raise StoreFailed(f"{self.entry.key!r} became shorter while it was read")
                at += len(data)
                next_size = min(size, end - at)
                # Only a reader that keeps up is read ahead for: whoever is slow holds one small block.
                if next_size and size > SMALLEST and (lent := self._lend(next_size)):
                    ahead = self._read(at, next_size)
                asked = loop.time()
                yield data
                del data
                self._budget.settle(in_hand)
                in_hand = 0
                size = min(size * 2, LARGEST) if loop.time() - asked < SLOW else SMALLEST
                if ahead is not None:
                    size = max(size, next_size)
        except OSError as error:
            raise map_error(error, self.entry.key) from None
        finally:
            self._budget.settle(in_hand + lent)
            if ahead is not None:
                await asyncio.wait([ahead])  # it reads from our descriptor

    def fileno(self) -> int:
        return self._fd

    async def aclose(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lend(self, size: int) -> int:
        """`size` when the budget has so much to spare, else 0. A reader may stall with a large block in hand, many of them at
        once: half the budget stays for the uploads."""
        return size if self._budget.lend(size, within=0.5) else 0

    def _read(self, at: int, size: int) -> asyncio.Future[bytes]:
        return asyncio.get_running_loop().run_in_executor(
            self._readers, os.pread, self._fd, size, at
        )
