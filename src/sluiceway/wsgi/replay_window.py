"""The first bytes of a file that is read live, kept so that its reader can go back to them.

One budget bounds the memory of all windows of the process; what it does not grant is kept in a
temporary file. Knows bytes only.
"""

from __future__ import annotations

import io
import tempfile
import threading
from typing import IO

from sluiceway.pipe.budget import Budget

__all__ = ["WINDOW", "ReplayWindow"]

WINDOW = 1 << 20  # bytes of a file that are kept: enough for its head, small beside a transfer
WINDOWS = 64 << 20  # bytes of memory that all windows of the process take together

_budget, _lock = Budget(WINDOWS), threading.Lock()


class ReplayWindow:
    """Up to WINDOW bytes, from the first byte of a file. Pair with `close`."""

    def __init__(self) -> None:
        self.file: IO[bytes] = io.BytesIO()
        self._counted = 0

    def append(self, data: bytes) -> None:
        """Keep these bytes behind the others."""
        if self._in_memory and not self._count(len(data)):
            self._move_to_disk()
        self.file.seek(0, io.SEEK_END)
        self.file.write(data)

    def close(self) -> None:
        """Forget all of it. May be called twice."""
        self.file.close()
        self._return()

    @property
    def _in_memory(self) -> bool:
        return isinstance(self.file, io.BytesIO)

    def _count(self, size: int) -> bool:
        with _lock:
            granted = _budget.acquire(size)
        self._counted += size if granted else 0
        return granted

    def _return(self) -> None:
        with _lock:
            _budget.release(self._counted)
        self._counted = 0

    def _move_to_disk(self) -> None:
        kept = self.file
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        kept.seek(0)
        self.file.write(kept.read(WINDOW))
        kept.close()
        self._return()
