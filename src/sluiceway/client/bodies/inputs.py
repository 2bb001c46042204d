"""What a body can be made of: a path, an open file, bytes, an iterable, a URL, another form's part. For threads, not for loops.

Each knows its length where it can be known, and whether it can be read again: the condition for redirects and retries.
What promised a length gives exactly so many bytes or fails loudly.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import stat
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Protocol, TypeGuard, cast

from sluiceway.client.bodies.bridge import Bridge, BridgeReader, BridgeWriter
from sluiceway.client.bodies.open_files import (
    AsyncFile,
    AsyncReadable,
    OpenFile,
    Readable,
    read_pieces,
)
from sluiceway.client.local.believed_sizes import measured
from sluiceway.errors import BadRequest, PeerTimeout, SourceFailed
from sluiceway.pipe.source import Buffer, SourceSpent
from sluiceway.wire.urls import is_url, parse_address, redact_url

__all__ = ["BodyInput", "Content", "Readable", "material"]

PIECE = (
    256 << 10
)  # bytes; HTTP libraries send piece by piece, and below this their own work costs more than the bytes
MEETING = (
    600.0  # seconds for a URL to answer with its head; the connection's own limits end it before
)

Content = (
    str
    | os.PathLike[str]
    | Buffer
    | Readable
    | Iterable[Buffer]
    | AsyncReadable
    | AsyncIterable[Buffer]
)


class BodyInput(Protocol):
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


def material(given: Content, size: int | None = None) -> BodyInput:
    """Whatever was given, as something to send. `size`: bytes it will give, where it cannot tell itself.

    Text is a URL or a path, never content: content is bytes. What is read with `await` can be sent by asynchronous clients only.
    Raises BadRequest, SourceFailed, PeerFailed.
    """
    if isinstance(given, str) and is_url(given):
        made: BodyInput = _Remote(given)
    elif isinstance(given, str | os.PathLike):
        made = _Path(os.fspath(given))
    elif isinstance(given, bytes | bytearray | memoryview):
        made = _Bytes(given)
    elif inspect.iscoroutinefunction(getattr(given, "read", None)):
        # Starlette's UploadFile awaits, and has an ordinary file in it, which goes everywhere.
        inner = getattr(given, "file", None)
        made = OpenFile(inner, given) if _reads(inner) else AsyncFile(cast("AsyncReadable", given))
    elif isinstance(given, Readable):
        made = OpenFile(given)
    elif isinstance(given, AsyncIterable):
        made = AsyncFile(given)
    elif isinstance(given, Iterable):
        made = _Stream(given)
    else:
        raise BadRequest(
            f"A path, a URL, a binary file, bytes or an iterable of bytes can be sent, not {type(given).__name__}"
        )
    if size is not None:
        if size < 0 or made.length not in (None, size):
            raise BadRequest(f"The size is {size} bytes, and what was given has {made.length}")
        made.length = size
    return made


def _reads(inner: object) -> TypeGuard[Readable]:
    return isinstance(inner, Readable) and not inspect.iscoroutinefunction(inner.read)


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
        size: int | None = (
            None  # a device, a named pipe, or a file that is made up while it is read
        )
        try:
            self._seen = os.stat(path)
            if not stat.S_ISFIFO(self._seen.st_mode):  # opening one waits for its writer
                with open(
                    path, "rb"
                ) as file:  # what may not be read is told before anything is sent
                    if stat.S_ISREG(self._seen.st_mode):
                        self._seen, size = measured(file.fileno())
        except OSError as error:
            raise SourceFailed(
                f"{path} cannot be read ({error.strerror}); nothing was sent"
            ) from error
        self.length, self._size = size, size

    def pieces(self) -> Iterator[Buffer]:
        with open(self._path, "rb", buffering=0) as file:
            yield from read_pieces(file, self._size)
            now = os.fstat(file.fileno())
        if self._size is not None and (now.st_size, now.st_mtime_ns) != (
            self._seen.st_size,
            self._seen.st_mtime_ns,
        ):
            raise SourceFailed(f"{self._path} changed while it was sent; send it again")


class _Stream:
    """An iterable. A generator flows past once; a list, or an object that makes a new iterator each time, does not."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self.length: int | None = None
        self.name = ""
        self.type: str | None = None
        self._chunks, self._spent = chunks, False
        self._gave: int | None = None  # bytes, once it was read to its end
        self.again = iter(chunks) is not chunks if not isinstance(chunks, Iterator) else False

    def pieces(self) -> Iterator[Buffer]:
        if self._spent and not self.again:
            raise SourceSpent("This iterator flows past once and cannot be read again")
        self._spent, count = True, 0
        for chunk in self._chunks:
            count += len(chunk)
            yield chunk
        if self._gave and not count:
            raise SourceSpent(
                "This iterable gave bytes the first time and none now; it flows past once"
            )
        self._gave = count


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
            raise PeerTimeout(
                f"{redact_url(self._address.url)} did not answer; try again later"
            ) from None
        if error is not None:
            raise error
        return reader

    async def _flow(self, out: BridgeWriter, met: queue.SimpleQueue[BaseException | None]) -> None:
        from sluiceway.client.http.transport import Transport
        from sluiceway.client.remote_source import (
            RemoteSource,
        )  # late, with the HTTP library: forms without URLs need none

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
