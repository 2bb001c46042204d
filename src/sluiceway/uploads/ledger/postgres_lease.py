"""The life of this process in a ledger in PostgreSQL: it is seen, and hears what others ask for.

A session of its own holds an advisory lock and listens; the database ends both with the process.
Behind a pooler that gives each transaction another session, the rows alone count: they are renewed
and read more often.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.stores.monitored import skew_of_time
from sluiceway.stores.postgres.pool import PostgresPool
from sluiceway.uploads.ledger.deadline import CallDeadline
from sluiceway.uploads.ledger.postgres_tables import CLOCK, RENEW

__all__ = ["ProcessLease"]

log: logging.Logger = logging.getLogger("sluiceway")

RENEW_EVERY = 0.4  # seconds; less than half of ALIVE_FOR
LOOK_EVERY = 0.1  # seconds between looks for what others ask for, without a session
HEARD_WITHIN = 1.0  # seconds in which a session hears itself, where it is one
STAYS_FOR = 30.0  # seconds for which a process is seen after it let go of its last upload
RETRY_AFTER = 0.2  # seconds from a lost session to the next one


class ProcessLease:
    """A name among the holders."""

    def __init__(
        self,
        pool: PostgresPool,
        look: Callable[[], Awaitable[list[tuple[str, int]]]],
        within_deadline: CallDeadline,
    ) -> None:
        """`look` reads which uploads others ask for, with their epochs."""
        self._pool, self._look, self._within_deadline = pool, look, within_deadline
        self.name: str = secrets.token_hex(8)
        self.let_go: Callable[[str, int], None] | None = None
        self._lock = int.from_bytes(secrets.token_bytes(8), "big", signed=True)
        self._has_session = False
        self._seen = self._used = -LOOK_EVERY * 1000  # by the monotonic clock
        self._held: set[str] = set()  # uploads, and events of files that are being published
        self._task: asyncio.Task[None] | None = None

        # Seconds by which the database's clock is ahead of ours, as far as what it took to ask does
        # not explain them; None before the first answer.
        self.skew: float | None = None

    @property
    def channel(self) -> str:
        return self.channels + self.name

    @property
    def channels(self) -> str:
        """What the channels of all processes of this ledger begin with."""
        return f"{self._pool.table[:30]}:"

    async def compare_clocks(self, connection: Any) -> None:
        asked = time.time()
        self._read_clock(await (await connection.execute(CLOCK)).fetchall(), asked)

    async def be_seen(self) -> None:
        """An upload is going to be held. Raises Unavailable, StoreFailed."""
        self._used = time.monotonic()
        if self._used - self._seen > 2 * RENEW_EVERY:
            await self._renew()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._live())

    def hold(self, *ids: str) -> None:
        """The process is seen until these are dropped: it may take days to receive one upload."""
        self._held.update(ids)

    def drop(self, *ids: str) -> None:
        self._held.difference_update(ids)

    async def aclose(self) -> None:
        """Give up the name."""
        if self._task is not None:
            self._held.clear()
            self._used = -STAYS_FOR
            await end_task(self._task)
            self._task = None
            with suppress(SluiceError):
                async with self._within_deadline():
                    await self._pool.rows("DELETE FROM {t_processes} WHERE name = %s", self.name)

    def _is_used(self) -> bool:
        now = time.monotonic()
        if self._held:
            self._used = now
        return now - self._used < STAYS_FOR

    async def _live(self) -> None:
        is_lost = False
        while self._is_used():
            try:
                async with self._pool.connect_once() as session:
                    if is_lost:
                        log.info("The ledger can be reached again")
                    is_lost = False
                    await self._live_with(session)
            except SluiceError as error:
                if not is_lost:
                    log.warning("The ledger cannot be reached; it is tried again: %s", error)
                is_lost = True
                await asyncio.sleep(RETRY_AFTER)
            finally:
                self._has_session = False

    async def _live_with(self, session: Any) -> None:
        async with self._within_deadline():
            await session.execute("SELECT pg_advisory_lock(%s)", (self._lock,))
            await session.execute(f'LISTEN "{self.channel}"'.encode())
            await self._pool.rows("SELECT pg_notify(%s, '')", self.channel)
            async for heard in session.notifies(timeout=HEARD_WITHIN, stop_after=1):
                self._hear(heard.payload)
        if self._has_session:  # from now on its end is seen by its lock
            await self._renew()
        while self._is_used():
            if time.monotonic() - self._seen > RENEW_EVERY:
                await self._renew()
            async with self._within_deadline():
                asked = await self._look()
            for upload, epoch in asked:
                self._ask(upload, epoch)
            wait = RENEW_EVERY if self._has_session else LOOK_EVERY
            async for heard in session.notifies(timeout=wait):
                self._hear(heard.payload)
                if time.monotonic() - self._seen > RENEW_EVERY:
                    break

    def _hear(self, payload: str) -> None:
        self._has_session = True
        epoch, _, upload = payload.partition(" ")
        if upload and epoch.isdigit():
            self._ask(upload, int(epoch))

    def _ask(self, upload: str, epoch: int) -> None:
        if self.let_go is not None:
            self.let_go(upload, epoch)

    async def _renew(self) -> None:
        async with self._within_deadline():
            began, asked = time.monotonic(), time.time()
            lock = self._lock if self._has_session else None
            self._read_clock(await self._pool.rows(RENEW, self.name, lock), asked)
            self._seen = began

    def _read_clock(self, rows: Sequence[tuple[float]], asked: float) -> None:
        ((now,),) = rows
        self.skew = skew_of_time(now, asked)
