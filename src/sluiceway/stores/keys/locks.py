"""One lock per key, for the stores whose destination has none that holds between two requests.

Within this process only, and for one event loop. Knows nothing of stores: a key is a text.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from sluiceway.errors import Unavailable

__all__ = ["LOCK_TIMEOUT", "KeyLocks", "in_use"]

LOCK_TIMEOUT = 60.0  # seconds; who has a lock publishes at several places, or asks an app


class KeyLocks:
    """A lock for each key in use. A lock that no task holds or waits for is forgotten.

    `timeout`: seconds for all locks of one request together; None waits for ever.

    Example:
        async with locks.acquire("album/a.jpg"):
            ...  # no other task is here with this key
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()  # tasks that hold a key's lock or wait for it

    @asynccontextmanager
    async def acquire(self, *keys: str) -> AsyncIterator[None]:
        """Holds the locks of `keys` inside the block; tasks get one in the order of their requests.

        In the order of the keys, so that two that need the same ones never wait for each other.
        Raises Unavailable where others hold them for too long.
        """
        async with self._by(self._deadline(), keys):
            yield

    # Inside

    def _deadline(self) -> float | None:
        """By the clock of the event loop."""
        if self._timeout is None:
            return None
        return asyncio.get_running_loop().time() + self._timeout

    @asynccontextmanager
    async def _by(self, deadline: float | None, keys: Iterable[str]) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for key in sorted(set(keys)):
                await held.enter_async_context(self._one(key, deadline))
            yield

    @asynccontextmanager
    async def _one(self, key: str, deadline: float | None) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] += 1
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    await lock.acquire()
            except TimeoutError:
                raise in_use() from None
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

    @property
    def count(self) -> int:
        """The number of keys that are held or waited for."""
        return len(self._locks)


def in_use() -> Unavailable:
    """The error of one that waited too long."""
    return Unavailable("Another upload is changing this file; try again later")
