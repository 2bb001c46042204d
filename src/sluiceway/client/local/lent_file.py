"""A file as a lent connection: threads read its middle, and hash and send what they read at once.

Reads at its own offset, and does not move that of the file. Knows nothing of where the bytes go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sluiceway.pipe.budget import Block
from sluiceway.pipe.lending import LentSocket

__all__ = ["CAN_LEND", "LentLocalFile"]

CAN_LEND = hasattr(os, "preadv")  # not on Windows


class LentLocalFile(LentSocket):
    """Up to `most` bytes from `offset` on. `handed_back` gets the number that was taken."""

    __slots__ = ()

    def __init__(self, fd: int, offset: int, most: int, handed_back: Callable[[int], None]) -> None:
        super().__init__(_FileBytes(fd, offset), most, handed_back)

    def fill(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        began = time.monotonic()
        try:
            return super().fill(buffer, start, stop)
        finally:
            self._waited_since(began)


class _FileBytes:
    """What a lent connection needs of a socket. The descriptor stays its owner's."""

    def __init__(self, fd: int, offset: int) -> None:
        self._fd, self._offset = fd, offset

    def fileno(self) -> int:
        return self._fd

    def recv_into(self, view: memoryview, /) -> int:
        """0 at the end of the file. Raises OSError."""
        size = os.preadv(self._fd, [view], self._offset)
        self._offset += size
        return size

    def shutdown(self, how: int, /) -> None:
        """A read from a file ends by itself."""

    def close(self) -> None:
        self._fd = -1
