"""What a body can be made of: a path, an open file, bytes, an iterable, a URL, another form's part. For threads, not for loops.

Each knows its length where it can be known, and whether it can be read again: the condition for redirects and retries.
What promised a length gives exactly so many bytes or fails loudly.
"""

from __future__ import annotations

import asyncio
import io
import os
import queue
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

from sluiceway.client.address import is_url, parse_address, shown
from sluiceway.errors import BadRequest, PeerTimeout, SourceFailed
from sluiceway.pipe.bridge import Bridge, BridgeReader, BridgeWriter
from sluiceway.pipe.source import Buffer, SourceSpent

__all__ = ["Given", "Material", "OnSent", "Readable", "Sized", "counted", "each", "exact", "material"]

PIECE = 256 << 10  # bytes; HTTP libraries send piece by piece, and below this their own work costs more than the bytes
MEETING = 600.0  # seconds for a URL to answer with its head; the connection's own limits end it before


@runtime_checkable
class Readable(Protocol):
    """A binary file as far as it is needed."""

    def read(self, size: int, /) -> bytes: ...


Given = str | os.PathLike[str] | Buffer | Readable | Iterable[Buffer]
OnSent = Callable[[int, int | None], object]


class Material(Protocol):
    """`length` in bytes, None when nobody can know; `name` and `type` where the source tells them."""

    length: int | None
    name: str
    type: str | None

    @property
    def again(self) -> bool:
        """Whether `pieces` may be called once more."""
        ...

    def pieces(self) -> Iterator[Buffer]:
        """The bytes. Raises SourceFailed, and SourceSpent where they flowed past already."""
        ...


def material(given: Given, size: int | None = None) -> Material:
    """Whatever was given, as something to send. `size`: bytes it will give, where it cannot tell itself.

    Text is a URL or a path, never content: content is bytes. Raises BadRequest, SourceFailed, PeerFailed.
    """
    if isinstance(given, str) and is_url(given):
        made: Material = _Remote(given)
    elif isinstance(given, str | os.PathLike):
        made = _Path(os.fspath(given))
    elif isinstance(given, bytes | bytearray | memoryview):
        made = _Bytes(given)
    elif isinstance(given, Readable):
        made = _File(given)
    elif isinstance(given, Iterable):
        made = _Stream(given)
    else:
        raise BadRequest(f"A path, a URL, a binary file, bytes or an iterable of bytes can be sent, not {type(given).__name__}")
    if size is not None:
        if size < 0 or made.length not in (None, size):
            raise BadRequest(f"The size is {size} bytes, and what was given has {made.length}")
        made.length = size
    return made


def exact(pieces: Iterable[Buffer], length: int | None, what: str) -> Iterator[bytes]:
    """The pieces, counted, as bytes: not every HTTP library takes views.

    Raises SourceFailed for one byte more or less than `length`.
    """
    count = 0
    for piece in pieces:
        count += len(piece)
        if length is not None and count > length:
            raise SourceFailed(f"{what} gives more than the {length} bytes it was said to have; nothing more is sent")
        if len(piece):
            yield piece if isinstance(piece, bytes) else bytes(piece)
    if length is not None and count < length:
        raise SourceFailed(f"{what} ended after {count} of {length} bytes; what was sent is not the whole")


async def each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same for an event loop: each piece is made in a thread."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


class Sized:
    """A body of `size` bytes from anything, also from what cannot tell its length, sent with Content-Length and without chunks.

    Give it to requests (`data=`), httpx (`content=`), urllib3 (`body=`) or aiohttp (`data=`), with its `headers`. A source
    that gives more or less raises SourceFailed, so that the request fails instead of hanging or passing for whole.
    """

    def __init__(self, source: Given, size: int, on_progress: OnSent | None = None) -> None:
        self._material, self._on_progress = material(source, size), on_progress
        self.len = size  # where requests looks
        # Requests takes a length of 0 for none and sends chunks; a Content-Length beside them would contradict them.
        self.headers: dict[str, str] = {"Content-Length": str(size)} if size else {}

    def __iter__(self) -> Iterator[bytes]:
        return counted(exact(self._material.pieces(), self.len, self._material.name or "The source"), self.len, self._on_progress)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return each(iter(self))


def counted(pieces: Iterator[bytes], length: int | None, tell: OnSent | None) -> Iterator[bytes]:
    """The pieces; `tell` hears how many bytes the HTTP library has asked for beyond."""
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        if tell is not None:
            tell(sent, length)


class _Bytes:
    again = True

    def __init__(self, data: Buffer) -> None:
        self.name = ""
        self.type: str | None = None
        self._data = bytes(data)
        self.length: int | None = len(self._data)

    def pieces(self) -> Iterator[Buffer]:
        for at in range(0, len(self._data), PIECE):
            yield self._data[at : at + PIECE]


class _Path:
    """A file by its path, opened anew for each reading; one that changes meanwhile is an error."""

    again = True

    def __init__(self, path: str) -> None:
        self.type: str | None = None
        self._path, self.name = path, os.path.basename(path)
        try:
            self._seen = os.stat(path)
            with open(path, "rb"):
                pass  # what may not be read is told before anything is sent
        except OSError as error:
            raise SourceFailed(f"{path} cannot be read ({error.strerror}); nothing was sent") from error
        regular = os.path.isfile(path)
        self.length: int | None = self._seen.st_size if regular else None  # a device or a named pipe

    def pieces(self) -> Iterator[Buffer]:
        with open(self._path, "rb", buffering=0) as file:
            yield from _read(file, self.length)
            now = os.fstat(file.fileno())
        if self.length is not None and (now.st_size, now.st_mtime_ns) != (self._seen.st_size, self._seen.st_mtime_ns):
            raise SourceFailed(f"{self._path} changed while it was sent; send it again")


class _File:
    """An open file from where it stands. One that can seek is read again from there."""

    def __init__(self, file: Readable) -> None:
        self._file, self._spent = file, False
        if isinstance(file, io.TextIOBase):
            raise BadRequest("This file is open as text; open it with mode 'rb'")
        # A part of a form that is being read has a name of its own: its field's. It knows its length, perhaps.
        name, kind = getattr(file, "filename", getattr(file, "name", None)), getattr(file, "content_type", None)
        self.name = os.path.basename(name) if isinstance(name, str) else ""
        self.type: str | None = kind if isinstance(kind, str) else None
        told = getattr(file, "len", getattr(file, "size", None))
        self.length: int | None = told if isinstance(told, int) else None
        self._start: int | None = None
        if isinstance(file, io.IOBase) and file.seekable():
            self._start = file.tell()
            self.length = max(0, file.seek(0, os.SEEK_END) - self._start)
            file.seek(self._start)
        self.again = self._start is not None

    def pieces(self) -> Iterator[Buffer]:
        if self._start is not None and isinstance(self._file, io.IOBase):
            self._file.seek(self._start)
        elif self._spent:
            raise SourceSpent("This file flows past once and cannot be read again")
        self._spent = True
        yield from _read(self._file, self.length)


class _Stream:
    """An iterable. A generator flows past once; a list, or an object that makes a new iterator each time, does not."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self.length: int | None = None
        self.name = ""
        self.type: str | None = None
        self._chunks, self._spent = chunks, False
        self.again = iter(chunks) is not chunks if not isinstance(chunks, Iterator) else False

    def pieces(self) -> Iterator[Buffer]:
        if self._spent and not self.again:
            raise SourceSpent("This iterator flows past once and cannot be read again")
        self._spent = True
        yield from self._chunks


class _Remote:
    """A file at another server. Its head is asked for at once, for the length; its body flows when it is read."""

    again = True

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._ready: BridgeReader | None = None
        self.length: int | None = None
        self.name = ""
        self.type: str | None = None
        self._ready = self._asked()

    def pieces(self) -> Iterator[Buffer]:
        reader, self._ready = self._ready or self._asked(), None
        with reader:
            yield from reader

    def _asked(self) -> BridgeReader:
        met: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        reader = Bridge.feed(lambda out: asyncio.run(self._flow(out, met)))
        try:
            error = met.get(timeout=MEETING)
        except queue.Empty:
            raise PeerTimeout(f"{shown(self._address.url)} did not answer; try again later") from None
        if error is not None:
            raise error
        return reader

    async def _flow(self, out: BridgeWriter, met: queue.SimpleQueue[BaseException | None]) -> None:
        from sluiceway.client.remote import RemoteSource  # late, with the HTTP library: forms without URLs need none
        from sluiceway.client.transport import Transport

        proof = self._address.authorization
        headers = {} if proof is None else {"authorization": proof}
        async with Transport() as transport:
            source = RemoteSource(transport, self._address.url, headers)
            try:
                try:
                    await source.meet()
                except BaseException as error:
                    met.put(error)
                    raise
                self.length, self.name, self.type = source.length, source.name, source.type
                met.put(None)
                async for chunk in source.open():
                    out.write(chunk)  # may wait for the reader: this thread has nothing else to do
            finally:
                await source.aclose()


def _read(file: Readable, length: int | None) -> Iterator[Buffer]:
    """To the end, or `length` bytes and a look whether there is more."""
    left = length
    while left is None or left > 0:
        piece = file.read(PIECE if left is None else min(PIECE, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece
