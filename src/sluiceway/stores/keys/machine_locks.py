"""The locks of keys for all processes that share a folder: files there that are locked (flock).

The kernel releases those of a process that dies. A file stands for many keys: there are few files.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager

from sluiceway.errors import StoreFailed
from sluiceway.pipe.cancellation import finish_or_undo
from sluiceway.pipe.descriptors import out_of_descriptors
from sluiceway.pipe.file_lock import try_lock_file
from sluiceway.stores.keys.locks import LOCK_TIMEOUT, KeyLocks, in_use

__all__ = ["MachineLocks"]

SLOTS = 1 << 10  # files; two keys of one slot wait for each other
FEW_SLOTS = 1 << 8  # where one upload may lock hundreds of keys: each takes a descriptor
LOOK_EVERY = 0.01  # seconds between looks whether another process has let go
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class MachineLocks(KeyLocks):
    """As `KeyLocks`, also between processes. The folder is made at the first use."""

    def __init__(self, folder: str, slots: int = SLOTS, timeout: float = LOCK_TIMEOUT) -> None:
        super().__init__(timeout)
        self._folder, self._slots = folder, slots

    @asynccontextmanager
    async def acquire(self, *keys: str) -> AsyncIterator[None]:
        """Raises Unavailable where others do not let go, here or in another process."""
        deadline, slots = self._deadline(), sorted({self._slot(key) for key in keys})
        async with self._by(deadline, slots):  # the tasks of this process do not wait by looking
            with ExitStack() as held:
                await self._lock(slots, held, deadline)
                yield

    # Inside

    async def _lock(self, slots: Sequence[str], held: ExitStack, deadline: float | None) -> None:
        clock, missing = asyncio.get_running_loop().time, list(slots)
        while missing:
            taken = await finish_or_undo(asyncio.to_thread(self._take, missing), _close)
            for lock in taken:
                held.callback(os.close, lock)
            del missing[: len(taken)]
            if missing:
                if deadline is not None and clock() > deadline:
                    raise in_use()
                await asyncio.sleep(LOOK_EVERY)

    def _take(self, slots: Iterable[str]) -> list[int]:
        """The descriptors of the files that are locked now: up to one that is not free."""
        with ExitStack() as opened:
            taken: list[int] = []
            for slot in slots:
                lock = self._open(slot)
                opened.callback(os.close, lock)
                if not try_lock_file(lock):
                    os.close(lock)
                    break
                taken.append(lock)
            opened.pop_all()
        return taken

    def _open(self, slot: str) -> int:
        path = os.path.join(self._folder, slot)
        try:
            try:
                return os.open(path, _FLAGS, 0o600)
            except FileNotFoundError:
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                return os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise out_of_descriptors(error) or StoreFailed(
                "The lock of a file cannot be opened"
            ).for_operator(f"{path} cannot be opened: {error.strerror}") from None

    def _slot(self, key: str) -> str:
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return f"{int.from_bytes(digest[:4]) % self._slots:03x}"


async def _close(locks: Iterable[int]) -> None:
    for lock in locks:
        os.close(lock)
