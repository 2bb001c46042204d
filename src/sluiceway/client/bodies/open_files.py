"""Open files as bodies: of the system, in memory, a framework's upload, an archive's member.

Also files that are read with `await`. A file's abilities are tried, not looked up by type: many
objects that read like files are none. It is read from its current position, and again where it can
seek back.
"""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from sluiceway.client.local.believed_sizes import measured
from sluiceway.errors import BadRequest
from sluiceway.pipe.source import Buffer, SourceSpent

__all__ = [
    "SEND_PIECE",
    "TEXT",
    "AsyncFile",
    "AsyncReadable",
    "OpenFile",
    "Readable",
    "SentBytes",
    "read_pieces",
]

# Bytes. HTTP libraries send piece by piece; in smaller ones their own work costs more.
SEND_PIECE = 256 << 10
TEXT = "This file is open as text; open it with mode 'rb'"


@runtime_checkable
class Readable(Protocol):
    """A binary file, as far as it is needed."""

    def read(self, size: int, /) -> bytes: ...


class SentBytes(Protocol):
    """What wants to know how far a file was sent: `progress` of a file that somebody watches."""

    def sent(self, size: int) -> None:
        """An HTTP library has taken `size` more bytes."""
        ...

    def hand_on(self, size: int, kept: int) -> None:
        """A destination has taken the first `size` bytes, and acknowledged `kept` of them."""
        ...

    def keep(self, size: int) -> None:
        """A destination has confirmed that it keeps the first `size` bytes."""
        ...


class AsyncReadable(Protocol):
    """A binary file whose `read` is awaited."""

    async def read(self, size: int, /) -> bytes: ...


class OpenFile:
    """An open file, from its current position. One that can seek is read again from there.

    `metadata` is the object with its name and type, where that is another one. `expect_length`:
    whether the length that a file of a form has, if nothing follows it there, is relied on.
    """

    def __init__(
        self, file: Readable, metadata: object = None, *, expect_length: bool = True
    ) -> None:
        self._file: Any = file
        self._spent = False
        self.progress: SentBytes | None = _progress_of(file)
        if isinstance(file, io.TextIOBase):
            raise BadRequest(TEXT)
        self.name: str
        self.type: str | None
        self.name, self.type, length = _described(
            file if metadata is None else metadata, expect_length
        )
        self._start = _position(file)
        self.length: int | None = length
        if self._start is not None:
            self.length = self._measured(self._start)
        elif length is not None and _forward_only(file):
            tell = getattr(file, "tell", None)  # its `len` is of the whole file, where it has one
            self.length = length - (tell() if tell is not None else 0)
        self.repeatable: bool = self._start is not None

    def pieces(self) -> Iterator[Buffer]:
        if self._start is not None:
            self._file.seek(self._start)
        elif self._spent:
            raise SourceSpent("This file can be read only once")
        self._spent = True
        yield from read_pieces(self._file, self.length)
        if self.length is not None and (more := self._file.read(1)):
            yield more  # the caller counts, and reports that the file is longer than its length

    def _measured(self, start: int) -> int | None:
        """Bytes from here to the end; None for a file that is made up while it is read."""
        file = self._file
        file.seek(0, os.SEEK_END)
        length: int = max(0, file.tell() - start)
        file.seek(start)
        if isinstance(file, io.FileIO | io.BufferedReader | io.BufferedRandom):
            # Suppressed: the buffer may be around an object that is not a file of the system.
            with suppress(OSError, AttributeError):
                size = measured(file.fileno())[1]
                return None if size is None else length
        if not length:
            more = file.read(1)
            file.seek(start)
            return None if more else 0
        return length


class AsyncFile:
    """A file that is read with `await file.read(size)` or `async for`, by asynchronous clients."""

    def __init__(
        self, file: AsyncReadable | AsyncIterable[Buffer], *, expect_length: bool = True
    ) -> None:
        self._file: Any = file
        self._spent = False
        self.progress: SentBytes | None = _progress_of(file)
        self._start: int | None = None
        self.name: str
        self.type: str | None
        self.length: int | None
        self.name, self.type, self.length = _described(file, expect_length)
        self.repeatable: bool = all(
            callable(getattr(file, can, None)) for can in ("read", "seek", "tell")
        )

    def pieces(self) -> Iterator[Buffer]:
        raise BadRequest(
            f"{self.name or 'The source'} is read with await; "
            "send it with an asynchronous client (httpx: content=aiter(form))"
        )

    async def apieces(self) -> AsyncIterator[Buffer]:
        file = self._file
        if not self._spent:
            await self._remember()
        elif self._start is None:
            raise SourceSpent("This file can be read only once")
        else:
            await _awaited(file.seek(self._start))
        self._spent = True
        if not hasattr(file, "read"):
            async for piece in file:
                yield piece
            return
        left = self.length
        while left is None or left > 0:
            piece = await file.read(SEND_PIECE if left is None else min(SEND_PIECE, left))
            if not len(piece):
                return
            left = None if left is None else left - len(piece)
            yield piece
        if more := await file.read(1):
            yield more

    async def _remember(self) -> None:
        """Remember the current position, if the file can seek back to it."""
        try:
            start = await _awaited(self._file.tell())
            await _awaited(self._file.seek(start))
        except Exception:  # any error of a library there means no
            self.repeatable = False
        else:
            self._start = start


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def read_pieces(file: Readable, length: int | None) -> Iterator[Buffer]:
    """Yield the bytes to the end, or `length` of them."""
    left = length
    while left is None or left > 0:
        piece = file.read(SEND_PIECE if left is None else min(SEND_PIECE, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _progress_of(file: object) -> SentBytes | None:
    """Of a file of a form whose upload is watched."""
    progress = getattr(file, "progress", None)
    return progress if callable(getattr(progress, "sent", None)) else None


def _described(file: object, expect_length: bool) -> tuple[str, str | None, int | None]:
    """Name, type and bytes, as far as the file knows them.

    `filename` comes first: the `name` of a form's part is that of its field.
    """
    # GzipFile has both attributes, and warns when the second one is used.
    attribute = "name" if isinstance(file, io.IOBase) else "filename"
    name = getattr(file, attribute, getattr(file, "name", None))
    kind = getattr(file, "content_type", None)
    expected = expect_length or not _forward_only(file)  # to ask for `len` is to rely on it
    size = getattr(file, "len", getattr(file, "size", None)) if expected else None
    return (
        os.path.basename(name) if isinstance(name, str) else "",
        kind if isinstance(kind, str) and kind else None,
        size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
    )


def _forward_only(file: object) -> bool:
    """Whether it says that seeking has a price: a file of a form that still arrives would be
    spooled."""
    return getattr(file, "forward_only", False) is True


def _position(file: Any) -> int | None:
    """The current position; None where the file cannot seek back. Raises BadRequest for text.

    Seeking is tried: `seekable` may be missing or fail, and some files that claim it cannot seek.
    """
    if _forward_only(file):
        return None
    try:
        seekable = getattr(file, "seekable", None)
        if seekable is not None and not seekable():
            return None
        start = file.tell()
        file.seek(start)
        piece = file.read(1)
        file.seek(start)
    except Exception:  # any error of a library there means no
        return None
    if isinstance(piece, str):
        raise BadRequest(TEXT)
    return start if isinstance(start, int) else None
