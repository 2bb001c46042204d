"""Saves that wait at the same time share one transaction, and so one wait for the database's disk.

One that comes alone begins at once; those that come meanwhile are the next group. Knows no record:
the values of each save are made before.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.stores.postgres.pool import PostgresPool
from sluiceway.uploads.ledger.deadline import CallDeadline
from sluiceway.uploads.ledger.postgres_tables import SAVE

__all__ = ["GroupedSaves"]

MOST_TOGETHER = 64  # saves in one transaction
RUNNERS = 2  # connections: while one waits for the disk, the other one gathers

_Save = tuple[str, tuple[Any, ...]]  # the upload's id, and the values of SAVE


class GroupedSaves:
    """The saves of one process, for one event loop."""

    def __init__(self, pool: PostgresPool, within_deadline: CallDeadline) -> None:
        self._pool, self._within_deadline = pool, within_deadline
        self._waiting: list[tuple[_Save, asyncio.Future[bool]]] = []
        self._runners: set[asyncio.Task[None]] = set()

    async def save(self, save: _Save) -> bool:
        """Whether the row was as it should be, and is changed now, durably.

        A success stands also for a caller that is cancelled meanwhile. Raises what the database
        raises; then it is unknown.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((save, done))
        if len(self._runners) < RUNNERS:
            runner = loop.create_task(self._run())
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)
        return await shield_until_done(done)

    async def aclose(self) -> None:
        """Wait for the saves under way."""
        while self._runners:
            await asyncio.wait(self._runners)

    async def _run(self) -> None:
        while self._waiting:
            # In one order everywhere, so that no two transactions wait for each other.
            group = sorted(self._waiting[:MOST_TOGETHER], key=lambda item: item[0][0])
            del self._waiting[:MOST_TOGETHER]
            try:
                outcomes = await self._try_group([save for save, _ in group])
            except Exception as error:  # of these only: the next group must not wait for ever
                for _, done in group:
                    done.set_exception(error)
                continue
            for (_, done), outcome in zip(group, outcomes, strict=True):
                done.set_result(outcome)

    async def _try_group(self, group: list[_Save]) -> list[bool]:
        try:
            return await self._save_group(group)
        except StoreFailed:
            if len(group) == 1:
                raise
        # The database refused one of them, and so nothing was changed: each for itself.
        outcomes = []
        for save in group:
            try:
                outcomes += await self._save_group([save])
            except SluiceError:
                outcomes.append(False)
        return outcomes

    async def _save_group(self, group: list[_Save]) -> list[bool]:
        query = self._pool.query(SAVE)
        async with (
            self._within_deadline(),
            self._pool.connection() as connection,
            connection.pipeline(),
            connection.transaction(),
        ):
            results = [await connection.execute(query, values) for _, values in group]
            return [await result.fetchone() is not None for result in results]
