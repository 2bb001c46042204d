"""The locks of keys for all processes that share a folder: files there that are locked (flock).

The kernel releases those of a process that dies. A file stands for many keys: there are few files.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from sluiceway.errors import Unavailable
from sluiceway.pipe.cancellation import finish_or_undo
from sluiceway.pipe.file_lock import try_lock_file
from sluiceway.stores.keys.locks import KeyLocks

__all__ = ["MachineLocks"]

SLOTS = 1 << 10  # files; two keys of one slot wait for each other
LOOK_EVERY = 0.01  # seconds between looks whether another process has let go
LOCK_TIMEOUT = 60.0  # seconds; it holds a lock while its destinations publish
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class MachineLocks(KeyLocks):
    """As `KeyLocks`, also between processes. The folder is made at the first use."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    @asynccontextmanager
    async def acquire(self, *keys: str) -> AsyncIterator[None]:
        """Raises Unavailable where another process does not let go."""
        slots = sorted({_slot(key) for key in keys})
        async with super().acquire(*slots):  # the tasks of this process do not wait by looking
            with ExitStack() as held:
                for slot in slots:
                    held.callback(os.close, await self._lock(slot))
                yield

    async def _lock(self, slot: str) -> int:
        until = asyncio.get_running_loop().time() + LOCK_TIMEOUT
        while (lock := await finish_or_undo(asyncio.to_thread(self._try, slot), _close)) < 0:
            if asyncio.get_running_loop().time() > until:
                raise Unavailable("Another upload is changing this file; try again later")
            await asyncio.sleep(LOOK_EVERY)
        return lock

    def _try(self, slot: str) -> int:
        """The descriptor of the file that is locked now; -1 where another process has it."""
        path = os.path.join(self._folder, slot)
        try:
            lock = os.open(path, _FLAGS, 0o600)
        except FileNotFoundError:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            lock = os.open(path, _FLAGS, 0o600)
        if try_lock_file(lock):
            return lock
        os.close(lock)
        return -1


def _slot(key: str) -> str:
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:4])
    return f"{number % SLOTS:03x}"


async def _close(lock: int) -> None:
    if lock >= 0:
        os.close(lock)
