"""A download to standard output, a named pipe or a device. Nothing can be taken back."""

from __future__ import annotations

import os
from functools import partial

from sluiceway.client.local.daemon_thread import DaemonThread
from sluiceway.client.local.part_notes import Notes
from sluiceway.errors import StoreFailed
from sluiceway.pipe.source import Buffer

__all__ = ["OutputStream"]

STDOUT = 1


class OutputStream:
    """Has the methods of a PartialFile. A daemon thread writes: a reader may never come."""

    def __init__(self, path: str) -> None:
        self.target = path
        self.notes: Notes | None = None
        self.have: int = 0
        self._fd: int | None = STDOUT if path == "-" else None
        self._thread = DaemonThread("sluiceway-output")

    @property
    def kept(self) -> int:
        return self.have

    async def write(self, data: Buffer) -> None:
        """Raises StoreFailed, also when the reader of a pipe has left."""
        try:
            if self._fd is None:  # opening a named pipe waits for its reader
                self._fd = await self._thread.do(partial(os.open, self.target, os.O_WRONLY))
            await self._thread.do(partial(_write_all, self._fd, memoryview(data)))
        except BrokenPipeError as error:
            raise StoreFailed("The reader of the output has left") from error
        except OSError as error:
            raise StoreFailed(f"The output cannot be written: {error.strerror or error}") from error
        self.have += len(data)

    async def sync(self) -> int:
        return self.have

    async def finish_sync(self) -> None:
        """Nothing is ever under way here."""

    def restart(self, notes: Notes | None) -> None:
        """Raises StoreFailed when bytes were written already."""
        if self.have:
            raise StoreFailed(
                "The file changed at the server, or the server cannot send the rest, "
                "and the beginning has been written already; copy it to a file instead"
            )
        self.notes = notes

    def publish(self, force: bool) -> None:
        """Everything is written already."""

    def discard(self) -> None:
        """Nothing can be taken back."""

    def close(self) -> None:
        self._thread.close()
        if self._fd is not None and self._fd != STDOUT:
            os.close(self._fd)


def _write_all(fd: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(fd, data) :]
