"""An object on disk held open for reading: its bytes stay the same, whatever happens to its key.

Reads run ahead in a thread. Knows nothing of keys and folders.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.readahead import read_ahead
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Entry
from sluiceway.stores.disk.errors import map_error

__all__ = ["DiskReader"]


class DiskReader:
    """A file held open. `open` may be called more than once; `aclose` ends it."""

    reopenable = True

    def __init__(self, entry: Entry, fd: int, budget: Budget, readers: Executor) -> None:
        self.entry = entry
        self.length: int | None = entry.size
        self._fd = fd
        self._budget = budget
        self._readers = readers

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        return read_ahead(self._read, start, end, self._budget)

    def fileno(self) -> int:
        return self._fd

    async def aclose(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _read(self, at: int, size: int) -> bytes:
        try:
            data = await in_thread(lambda: os.pread(self._fd, size, at), self._readers)
        except OSError as error:
            raise map_error(error, self.entry.key) from None
        if not data:
            raise StoreFailed(f"{self.entry.key!r} became shorter while it was read")
        return data
