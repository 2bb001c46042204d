"""What was read of a file that still arrives, kept so that code can seek back: memory, then a file.

The first MiB stays in memory while the budget allows it. A spool takes all or the rest and can be
read at any place from where it begins. Knows nothing of forms and requests.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import IO
from weakref import WeakKeyDictionary

from sluiceway.pipe.budget import Budget

__all__ = ["REPLAY_BYTES", "REPLAY_MEMORY", "Replay", "Spool"]

REPLAY_BYTES = 1 << 20  # of each file; Starlette, too, keeps so much of a file in memory
REPLAY_MEMORY = 64 << 20  # bytes that the replays of all files of an event loop hold together

_budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, Budget] = WeakKeyDictionary()


class Replay:
    """The window: every byte of a file from its beginning, until there are too many.

    Attributes:
        complete: Whether all bytes that came are here.
        ends: Bytes that came.
    """

    complete: bool
    ends: int

    def __init__(self) -> None:
        self.complete, self.ends = True, 0
        self._window = bytearray()
        self._reserved = 0
        self._budget: Budget | None = None  # of the event loop that reads the file

    def take(self, data: bytes) -> None:
        """Keep `data`, the next bytes; or forget all if the window cannot hold them."""
        self.ends += len(data)
        if self.complete and self._fits(len(data)):
            self._window += data
        else:
            self.close()

    def read(self, at: int, size: int) -> bytes:
        """At most `size` bytes at this place of the file."""
        with memoryview(self._window) as view:
            return bytes(view[at : at + size])

    def close(self) -> None:
        """Forget all, and return the memory. May be called twice."""
        self.complete = False
        self._window = bytearray()
        if self._budget is not None:
            self._budget.release(self._reserved)
        self._reserved = 0

    def __del__(self) -> None:
        self.close()  # a view may drop a file without a word

    def _fits(self, size: int) -> bool:
        if len(self._window) + size > REPLAY_BYTES:
            return False
        if self._budget is None:
            self._budget = _budget()
        if not self._budget.acquire(size):
            return False
        self._reserved += size
        return True


class Spool:
    """The bytes of a file from `begins` on, in memory up to 1 MiB, then in a temporary file.

    As Starlette's own: the file has no name and disappears with the process. `file` is an ordinary
    binary file whose places count from `begins`.
    """

    file: IO[bytes]

    def __init__(self, begins: int, file: IO[bytes] | None = None) -> None:
        self.begins = begins
        self.file = file or tempfile.SpooledTemporaryFile(max_size=REPLAY_BYTES)  # noqa: SIM115

    async def write(self, data: bytes) -> None:
        """Write the next bytes. Raises OSError."""
        await asyncio.to_thread(self.file.write, data)

    async def read(self, size: int) -> bytes:
        """At most `size` bytes, all if it is negative. Raises OSError, and ValueError if closed."""
        return await asyncio.to_thread(self.file.read, size)

    async def seek(self, offset: int, whence: int) -> int:
        """As a file's; `offset` and the result count from the beginning of the upload."""
        at = offset - self.begins if whence == 0 else offset
        return self.begins + await asyncio.to_thread(self.file.seek, at, whence)

    def __del__(self) -> None:
        self.file.close()


def _budget() -> Budget:
    """The budget of this event loop: a budget is used from one loop only."""
    loop = asyncio.get_running_loop()
    if loop not in _budgets:
        _budgets[loop] = Budget(REPLAY_MEMORY)
    return _budgets[loop]
