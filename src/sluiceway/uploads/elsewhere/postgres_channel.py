"""The channel of servers that share a ledger in PostgreSQL: LISTEN and NOTIFY.

It has a session of its own. Behind a pooler that gives each transaction another session nothing is
heard, and watchers see what the ledger knows.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.uploads.elsewhere.channel import Word
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase

__all__ = ["PostgresChannel"]

log: logging.Logger = logging.getLogger("sluiceway")

MOST_BYTES = 7500  # of one notification; PostgreSQL takes 8000
HEARD_WITHIN = 2.0  # seconds in which a session hears what another one says
RETRY_AFTER = 0.5  # seconds from a lost session to the next one


class PostgresChannel:
    """See `Channel`."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self._name = f"{database.pool.table[:40]}:live"

    def start(self, hear: Callable[[Word], None]) -> None:
        """Begin to listen, once. `hear` also gets what this process says."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen(hear))

    async def say(self, words: Iterable[Word]) -> None:
        """Raises Unavailable, StoreFailed."""
        texts, size = list[str](), 0
        for text in map(json.dumps, words):
            if size + len(text) > MOST_BYTES:
                await self._notify(texts)
                texts, size = [], 0
            texts.append(text)
            size += len(text) + 1
        await self._notify(texts)

    async def is_heard(self) -> bool:
        """Whether a session hears what is said: not behind a pooler that lends sessions for single
        transactions. Raises Unavailable, StoreFailed."""
        async with self._database.pool.connect_once() as session:
            await session.execute(f'LISTEN "{self._name}:check"'.encode())
            await self._database.pool.rows("SELECT pg_notify(%s, '')", f"{self._name}:check")
            async for _ in session.notifies(timeout=HEARD_WITHIN, stop_after=1):
                return True
        return False

    async def aclose(self) -> None:
        """Listen no more."""
        if self._task is not None:
            await end_task(self._task)
            self._task = None

    async def _notify(self, texts: list[str]) -> None:
        if texts:
            text = "\n".join(texts)
            await self._database.rows("SELECT pg_notify(%s, %s)", self._name, text)

    async def _listen(self, hear: Callable[[Word], None]) -> None:
        while True:
            try:
                async with self._database.pool.connect_once() as session:
                    await session.execute(f'LISTEN "{self._name}"'.encode())
                    async for heard in session.notifies():
                        for line in heard.payload.splitlines():
                            self._pass_on(line, hear)
            except SluiceError as error:
                log.debug("other servers are not heard now: %s", error)
            await asyncio.sleep(RETRY_AFTER)

    @staticmethod
    def _pass_on(line: str, hear: Callable[[Word], None]) -> None:
        try:
            word = json.loads(line)
        except ValueError:
            return  # another version's, or another program's
        if isinstance(word, dict):
            hear(word)
