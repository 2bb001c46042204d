"""Open files as bodies: of the system, in memory, a framework's upload, a member of an archive, and those read with `await`.

What a file can do is tried, not looked up: many things that are read like files are none by type. It is read from where it
stands, and again where it can go back.
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

__all__ = ["AsyncFile", "AsyncReadable", "OpenFile", "Readable", "read_pieces"]

PIECE = (
    256 << 10
)  # bytes; HTTP libraries send piece by piece, and below this their own work costs more than the bytes
TEXT = "This file is open as text; open it with mode 'rb'"


@runtime_checkable
class Readable(Protocol):
    """A binary file as far as it is needed."""

    def read(self, size: int, /) -> bytes: ...


class AsyncReadable(Protocol):
    """The same for `await`."""

    async def read(self, size: int, /) -> bytes: ...


class OpenFile:
    """An open file from where it stands. One that can seek is read again from there. `about` tells its name and type."""

    def __init__(self, file: Readable, metadata: object = None) -> None:
        self._file: Any = file
        self._spent = False
        if isinstance(file, io.TextIOBase):
            raise BadRequest(TEXT)
        self.name: str
        self.type: str | None
        self.name, self.type, told = _described(file if metadata is None else metadata)
        self._start = _position(file)
        self.length: int | None = told
        if self._start is not None:
            self.length = self._measured(self._start)
        self.again: bool = self._start is not None

    def pieces(self) -> Iterator[Buffer]:
        if self._start is not None:
            self._file.seek(self._start)
        elif self._spent:
            raise SourceSpent("This file flows past once and cannot be read again")
        self._spent = True
        yield from read_pieces(self._file, self.length)
        if self.length is not None and (more := self._file.read(1)):
            yield more  # somebody counts, and says that it is more than was told

    def _measured(self, start: int) -> int | None:
        """Bytes from here to the end. A file of the system may be made up while it is read, and say something else."""
        file = self._file
        file.seek(0, os.SEEK_END)
        length: int = max(0, file.tell() - start)
        file.seek(start)
        if isinstance(file, io.FileIO | io.BufferedReader | io.BufferedRandom):
            with suppress(
                OSError, AttributeError
            ):  # over something that is no file of the system's
                size = measured(file.fileno())[1]
                return None if size is None else length
        if not length:
            more = file.read(1)
            file.seek(start)
            return None if more else 0
        return length


class AsyncFile:
    """What is read with `await file.read(size)`, or by `async for`. Only asynchronous clients can send it."""

    def __init__(self, file: AsyncReadable | AsyncIterable[Buffer]) -> None:
        self._file: Any = file
        self._spent = False
        self._start: int | None = None
        self.name: str
        self.type: str | None
        self.length: int | None
        self.name, self.type, self.length = _described(file)
        self.again: bool = all(
            callable(getattr(file, can, None)) for can in ("read", "seek", "tell")
        )

    def pieces(self) -> Iterator[Buffer]:
        raise BadRequest(
            f"{self.name or 'The source'} is read with await; send it with an asynchronous client (httpx: content=aiter(form))"
        )

    async def apieces(self) -> AsyncIterator[Buffer]:
        file = self._file
        if not self._spent:
            await self._remember()
        elif self._start is None:
            raise SourceSpent("This file flows past once and cannot be read again")
        else:
            await _awaited(file.seek(self._start))
        self._spent = True
        if not hasattr(file, "read"):
            async for piece in file:
                yield piece
            return
        left = self.length
        while left is None or left > 0:
            piece = await file.read(PIECE if left is None else min(PIECE, left))
            if not len(piece):
                return
            left = None if left is None else left - len(piece)
            yield piece
        if more := await file.read(1):
            yield more

    async def _remember(self) -> None:
        """Where it stands, if it can come back there."""
        try:
            start = await _awaited(self._file.tell())
            await _awaited(self._file.seek(start))
        except Exception:  # whatever a library raises there: it means no
            self.again = False
        else:
            self._start = start


async def _awaited(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


def read_pieces(file: Readable, length: int | None) -> Iterator[Buffer]:
    """To the end, or `length` bytes."""
    left = length
    while left is None or left > 0:
        piece = file.read(PIECE if left is None else min(PIECE, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _described(file: object) -> tuple[str, str | None, int | None]:
    """Name, type and bytes, as far as it tells. A part of a form that is being read has a name of its own: its field's."""
    known = (
        "name" if isinstance(file, io.IOBase) else "filename"
    )  # GzipFile has both, and warns of the second
    name = getattr(file, known, getattr(file, "name", None))
    kind, told = (
        getattr(file, "content_type", None),
        getattr(file, "len", getattr(file, "size", None)),
    )
    return (
        os.path.basename(name) if isinstance(name, str) else "",
        kind if isinstance(kind, str) and kind else None,
        told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None,
    )


def _position(file: Any) -> int | None:
    """Where it stands, None where it cannot go back. Raises BadRequest for one that gives text.

    Going there is tried: a `seekable` that fails or is missing says nothing, and some that say yes cannot.
    """
    try:
        seekable = getattr(file, "seekable", None)
        if seekable is not None and not seekable():
            return None
        start = file.tell()
        file.seek(start)
        piece = file.read(1)
        file.seek(start)
    except Exception:  # whatever a library raises there: it means no
        return None
    if isinstance(piece, str):
        raise BadRequest(TEXT)
    return start if isinstance(start, int) else None
