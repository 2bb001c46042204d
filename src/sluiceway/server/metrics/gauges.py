"""Writes how this process is now into its part of the totals, about once a second.

Every process of a server does, so whichever answers a scrape has the numbers of all.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import end_task
from sluiceway.server.http1.connection_limit import ConnectionLimit
from sluiceway.server.http1.stalled_readers import open_connections
from sluiceway.uploads.progress import ProgressTable

__all__ = ["GaugeWriter"]

WRITE_EVERY = 1.0  # seconds
# Of these, a look at the descriptors is one in so many: the kernel lists each, 1 ms for 5,000.
LOOK_AT_DESCRIPTORS = 5
DESCRIPTORS = Path("/proc/self/fd")


class GaugeWriter:
    """The task that writes, for one event loop."""

    def __init__(self, table: ProgressTable, budget: Budget) -> None:
        self._table, self._budget = table, budget
        self._task: asyncio.Task[None] | None = None
        self._limit = ConnectionLimit()

    def start(self) -> None:
        """Write from now on until the end."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Stop, and say that this process has nothing any more."""
        if self._task is not None:
            await end_task(self._task)
            self._task = None
            self._table.count_running()
            self._table.totals.alive_at = 0.0

    def write(self) -> None:
        """Write what costs nothing to find out."""
        totals = self._table.totals
        self._table.count_running()
        totals.running = self._table.running
        totals.connections = open_connections()
        totals.budget, totals.budget_used = self._budget.limit, self._budget.used
        totals.pool = self._budget.warm
        totals.alive_at = time.monotonic()

    async def _run(self) -> None:
        count = 0
        while True:
            if count % LOOK_AT_DESCRIPTORS == 0:
                self._table.totals.most_descriptors = self._limit.limit
                with suppress(OSError):  # another system than Linux, or none is free
                    self._table.totals.descriptors = len(os.listdir(DESCRIPTORS))
            self.write()
            count += 1
            await asyncio.sleep(WRITE_EVERY)
