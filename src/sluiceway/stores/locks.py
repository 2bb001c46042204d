"""One lock per key, for the stores whose destination has none that holds between two requests.

Within this process only, and for one event loop. Knows nothing of stores: a key is a text.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from weakref import WeakValueDictionary

__all__ = ["KeyLocks"]


class KeyLocks:
    """A lock for each key in use. A lock that no task holds or waits for is forgotten.

    Example:
        async with locks.acquire("album/a.jpg"):
            ...  # no other task is here with this key
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def acquire(self, key: str) -> AbstractAsyncContextManager[None]:
        """The lock of `key`, for one `async with`; tasks get it in the order of their requests."""
        return self._locks.setdefault(key, asyncio.Lock())

    def __len__(self) -> int:
        """The number of keys in use."""
        return len(self._locks)
