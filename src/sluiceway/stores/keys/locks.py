"""One lock per key, for the stores whose destination has none that holds between two requests.

Within this process only, and for one event loop. Knows nothing of stores: a key is a text.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

__all__ = ["KeyLocks"]


class KeyLocks:
    """A lock for each key in use. A lock that no task holds or waits for is forgotten.

    Example:
        async with locks.acquire("album/a.jpg"):
            ...  # no other task is here with this key
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()  # tasks that hold a key's lock or wait for it

    @asynccontextmanager
    async def acquire(self, *keys: str) -> AsyncIterator[None]:
        """Holds the locks of `keys` inside the block; tasks get one in the order of their requests.

        In the order of the keys, so that two that need the same ones never wait for each other.
        """
        if len(keys) == 1:
            async with self._one(keys[0]):
                yield
            return
        async with AsyncExitStack() as locked:
            for key in sorted(set(keys)):
                await locked.enter_async_context(self._one(key))
            yield

    @asynccontextmanager
    async def _one(self, key: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

    def __len__(self) -> int:
        """The number of keys in use."""
        return len(self._locks)
