"""A live upload as an ordinary binary file, for code that runs in a thread: `upload.file`.

Each read asks the event loop, which reads the connection. In the event loop's own thread it would
wait for itself, so there it is an error that says what to do.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from sluiceway.uploads.view_progress import FileProgress

__all__ = ["AsyncUpload", "BlockingFile"]

BUFFER = 256 << 10  # bytes that one question to the event loop brings

T = TypeVar("T")


class AsyncUpload(Protocol):
    """What a file reads from."""

    progress: FileProgress | None

    @property
    def position(self) -> int: ...
    @property
    def left(self) -> int | None: ...
    async def read_some(self, size: int | None = None) -> bytes: ...
    async def seek(self, offset: int, whence: int = 0) -> int: ...


class _Raw(io.RawIOBase):
    def __init__(self, upload: AsyncUpload, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._upload, self._loop, self._thread = upload, loop, thread

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if (progress := self._upload.progress) is not None:
            # Here, not in the event loop: here it is seen which HTTP library reads.
            progress.begin_read(self._upload.position)
        data = self._run(self._upload.read_some(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._run(self._upload.seek(offset, whence))

    def tell(self) -> int:
        return self._upload.position

    def _run(self, ask: Coroutine[Any, Any, T]) -> T:
        if threading.get_ident() == self._thread:
            ask.close()
            raise io.UnsupportedOperation(
                "This file still arrives, and a blocking read in the event loop would wait for "
                "itself. Use `await file.read()`, or `await file.spool()` before `file.file`; in a "
                "view with plain `def`, `file.file` works as it is"
            )
        return asyncio.run_coroutine_threadsafe(ask, self._loop).result()


class BlockingFile(io.BufferedReader):
    """The file, buffered, so that lines are read quickly."""

    def __init__(self, upload: AsyncUpload, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        super().__init__(_Raw(upload, loop, thread), BUFFER)
        self._upload = upload

    @property
    def len(self) -> int:
        """Bytes that are left to read. `requests` looks for it, and sends chunks without it.

        Raises:
            AttributeError: The size is unknown.
        """
        if self._upload.left is None:
            raise AttributeError("The length of this file is unknown")
        return self._upload.left + (self._upload.position - self.tell())
