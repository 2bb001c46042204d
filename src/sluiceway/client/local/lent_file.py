"""A file as a lent connection: threads read its middle, and hash and send what they read at once.

Where no digest is counted, the kernel sends it (sendfile). Reads at its own offset, and does not
move that of the file. Knows nothing of where the bytes go.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from sluiceway.pipe.budget import Block
from sluiceway.pipe.lending import LentSocket

__all__ = ["CAN_LEND", "LentLocalFile"]

CAN_LEND = hasattr(os, "preadv")  # not on Windows
SEND_CHUNK = 4 << 20  # bytes of one system call: a burst ends in time although the peer is fast


class LentLocalFile(LentSocket):
    """Up to `most` bytes from `offset` on. `handed_back` gets the number that was taken."""

    __slots__ = ("_file",)

    # Of LentSocket; for the type checkers of projects that use this one.
    ended: bool
    taken: int

    def __init__(self, fd: int, offset: int, most: int, handed_back: Callable[[int], None]) -> None:
        self._file: _FileBytes = _FileBytes(fd, offset)
        super().__init__(self._file, most, handed_back)

    def fill(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        began = time.monotonic()
        try:
            return super().fill(buffer, start, stop)
        finally:
            self._waited_since(began)

    def send_to(self, sock: socket.socket) -> int:
        began = time.monotonic()
        try:
            size = self._file.send_to(sock, min(SEND_CHUNK, self._left))
        finally:
            self._waited_since(began)
        self.taken += size
        self._left -= size
        self.ended = self.ended or not size or not self._left
        return size


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

    def send_to(self, sock: socket.socket, most: int) -> int:
        """0 at the end of the file. Raises OSError."""
        size = os.sendfile(sock.fileno(), self._fd, self._offset, most)
        self._offset += size
        return size

    def shutdown(self, how: int, /) -> None:
        """A read from a file ends by itself."""

    def close(self) -> None:
        self._fd = -1
